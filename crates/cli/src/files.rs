//! Files that hold secrets: for their owner alone, and whole or not there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::Path;

/// Writes a file that only its owner may read, replacing one that was there; that one's owner stays its owner.
pub fn write_secret(path: &Path, content: impl AsRef<[u8]>) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    if let Some(dir) = dir {
        fs::create_dir_all(dir)?;
    }
    let mut part = path.as_os_str().to_owned();
    part.push(format!(".{}.part", std::process::id()));
    // What an earlier process of this number left there, cut off while it wrote.
    match fs::remove_file(&part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&part)?;
    let written = as_before(&file, path)
        .and_then(|()| file.write_all(content.as_ref()))
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&part, path))
        .and_then(|()| File::open(dir.unwrap_or(Path::new(".")))?.sync_all());
    if written.is_err() {
        // The first error says why; what is left of the part says nothing more.
        let _ = fs::remove_file(&part);
    }
    written
}

/// Gives a file to whom the one in its place belongs to.
fn as_before(file: &File, path: &Path) -> io::Result<()> {
    let (Ok(before), now) = (fs::symlink_metadata(path), file.metadata()?) else {
        return Ok(());
    };
    match before.is_file() && (before.uid(), before.gid()) != (now.uid(), now.gid()) {
        true => fchown(file, Some(before.uid()), Some(before.gid())),
        false => Ok(()),
    }
}
