//! Small files that must be whole or not there at all, readable by their owner alone.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Writes a file whole: beside, synced, renamed, folder synced. Its folder is made when it is missing.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".tmp");
    let beside = Path::new(&beside);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    rename(beside, path)
}

/// Renames and makes it durable.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    sync_folder_of(to)
}

/// Makes a folder that is its owner's alone.
pub fn make_private(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Takes a file, or a folder with all that is in it, away from everybody but its owner. Where links lead to stays as it
/// is.
pub fn restrict(path: &Path) -> io::Result<()> {
    let kind = fs::symlink_metadata(path)?.file_type();
    if kind.is_dir() {
        fs::set_permissions(path, Permissions::from_mode(0o700))?;
        for entry in fs::read_dir(path)? {
            restrict(&entry?.path())?;
        }
    } else if kind.is_file() {
        fs::set_permissions(path, Permissions::from_mode(0o600))?;
    }
    Ok(())
}

/// Overwrites a file's bytes, then removes it.
pub fn wipe(path: &Path) -> io::Result<()> {
    let length = fs::metadata(path)?.len();
    let mut file = OpenOptions::new().write(true).open(path)?;
    io::copy(&mut io::Read::take(io::repeat(0), length), &mut file)?;
    file.sync_all()?;
    drop(file);
    fs::remove_file(path)?;
    sync_folder_of(path)
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Everything under a path that somebody else than its owner may read, write or enter.
    pub(crate) fn open_to_others(path: &Path) -> Vec<String> {
        let about = fs::symlink_metadata(path).unwrap();
        let mode = about.permissions().mode() & 0o777;
        let wanted = if about.is_dir() { 0o700 } else { 0o600 };
        let mut open = Vec::new();
        if mode != wanted && !about.is_symlink() {
            open.push(format!("{} {mode:o}", path.display()));
        }
        if about.is_dir() {
            for entry in fs::read_dir(path).unwrap() {
                open.extend(open_to_others(&entry.unwrap().path()));
            }
        }
        open
    }

    #[test]
    fn what_is_restricted_is_its_owners_alone_and_links_lead_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("kept/inside")).unwrap();
        for name in ["kept/a", "kept/inside/b", "theirs"] {
            fs::write(at(name), name).unwrap();
            fs::set_permissions(at(name), Permissions::from_mode(0o644)).unwrap();
        }
        std::os::unix::fs::symlink(at("theirs"), at("kept/link")).unwrap();
        assert!(open_to_others(&at("kept")).len() >= 2);
        restrict(&at("kept")).unwrap();
        assert_eq!(open_to_others(&at("kept")), Vec::<String>::new());
        let theirs = fs::metadata(at("theirs")).unwrap().permissions().mode();
        assert_eq!(theirs & 0o777, 0o644);

        make_private(&at("new/deep")).unwrap();
        assert_eq!(open_to_others(&at("new")), Vec::<String>::new());
    }
}
