//! The durable mark: up to which revision everything was once on the disk. Kept outside of the store, so that
//! a store that lost its tail is found out.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

const NAME: &str = "durable";

/// Reads the mark; none was set in a new archive. What was changed afterwards is told, and not believed.
pub(super) fn read(dir: &Path) -> io::Result<Result<u64, String>> {
    let path = dir.join(NAME);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Ok(0)),
        Err(error) => return Err(error),
    };
    let text = String::from_utf8_lossy(&bytes);
    let read = text
        .trim_end_matches('\n')
        .split_once(' ')
        .and_then(|(revision, sum)| {
            let is_whole = sum == sum_of(revision);
            is_whole.then(|| revision.parse().ok()).flatten()
        });
    Ok(read.ok_or_else(|| {
        format!(
            "{} is damaged: its {} bytes have another sum",
            path.display(),
            bytes.len()
        )
    }))
}

/// Sets the mark; it is on the disk when this returns.
pub(super) fn write(dir: &Path, revision: u64) -> io::Result<()> {
    let temporary = dir.join(format!("{NAME}.tmp"));
    let mut file = File::create(&temporary)?;
    let revision = revision.to_string();
    writeln!(file, "{revision} {}", sum_of(&revision))?;
    file.sync_all()?;
    fs::rename(&temporary, dir.join(NAME))?;
    File::open(dir)?.sync_all()
}

fn sum_of(revision: &str) -> String {
    format!("{:08x}", crc32c::crc32c(revision.as_bytes()))
}
