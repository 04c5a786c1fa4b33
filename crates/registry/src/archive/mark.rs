//! The durable mark: up to which revision everything was once on the disk. Kept outside of the store, so that
//! a store that lost its tail is found out.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

const NAME: &str = "durable";

/// Reads the mark; none was set in a new archive.
pub(super) fn read(dir: &Path) -> io::Result<u64> {
    let text = match fs::read_to_string(dir.join(NAME)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    text.trim()
        .parse()
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "the durable mark is no number"))
}

/// Sets the mark; it is on the disk when this returns.
pub(super) fn write(dir: &Path, revision: u64) -> io::Result<()> {
    let temporary = dir.join(format!("{NAME}.tmp"));
    let mut file = File::create(&temporary)?;
    writeln!(file, "{revision}")?;
    file.sync_all()?;
    fs::rename(&temporary, dir.join(NAME))?;
    File::open(dir)?.sync_all()
}
