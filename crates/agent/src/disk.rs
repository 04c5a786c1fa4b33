//! Files that are whole or not there: written beside, fsynced, renamed, the folder fsynced.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// How the name of a file ends that is being written.
const DRAFT: &str = ".draft";

/// Replaces a file by one with these bytes, readable by its owner alone. A link in its place is replaced, too, and what
/// it leads to stays as it is.
pub fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) => Path::new("."),
        None => return Err(io::Error::other("a file needs a folder")),
    };
    fs::create_dir_all(folder)?;
    let draft = folder.join(format!(".{:032x}{DRAFT}", rand::random::<u128>()));
    if let Err(error) = fill(&draft, bytes).and_then(|()| fs::rename(&draft, path)) {
        // What cannot be removed either is swept away at the next start.
        let _ = fs::remove_file(&draft);
        return Err(error);
    }
    File::open(folder)?.sync_all()
}

/// Writes a file that nobody has laid out before: its name cannot be foreseen, and what is there already is not opened.
fn fill(draft: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(draft)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Removes what was being written when an earlier process was cut off. For folders that are this agent's own.
pub fn sweep(folder: &Path) -> io::Result<()> {
    for path in drafts(folder)? {
        fs::remove_file(path)?;
    }
    Ok(())
}

fn drafts(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_draft = name.as_encoded_bytes().ends_with(DRAFT.as_bytes());
        if is_draft && !entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// The bytes of a file, or none when it is not there.
pub fn read_if_there(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn links_that_somebody_laid_out_lead_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("theirs"), "theirs").unwrap();
        // Where the file will be, and where drafts were that could be foreseen.
        for laid in ["vn-1.records", "vn-1.draft", "vn-1.records.tmp"] {
            symlink(at("theirs"), at(laid)).unwrap();
        }
        write_durably(&at("vn-1.records"), b"ours").unwrap();
        assert_eq!(fs::read(at("theirs")).unwrap(), b"theirs");
        assert_eq!(fs::read(at("vn-1.records")).unwrap(), b"ours");
        assert!(fs::symlink_metadata(at("vn-1.records")).unwrap().is_file());
        assert_eq!(mode(&at("vn-1.records")), 0o600);
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            4,
            "no draft is left"
        );
    }

    #[test]
    fn a_draft_is_never_one_that_is_there_already() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("theirs"), "theirs").unwrap();
        symlink(at("theirs"), at("draft")).unwrap();
        let refused = fill(&at("draft"), b"ours").unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(at("theirs")).unwrap(), b"theirs");
    }

    #[test]
    fn two_files_of_one_stem_do_not_share_a_draft_and_a_failure_leaves_none() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::thread::scope(|scope| {
            for end in ["crt", "key"] {
                let path = at("agent").with_extension(end);
                scope.spawn(move || {
                    (0..50).for_each(|_| write_durably(&path, end.repeat(1_000).as_bytes()).unwrap());
                });
            }
        });
        for end in ["crt", "key"] {
            let bytes = fs::read(at("agent").with_extension(end)).unwrap();
            assert_eq!(bytes, end.repeat(1_000).as_bytes());
        }
        fs::create_dir(at("full")).unwrap();
        fs::write(at("full/x"), "").unwrap();
        assert!(write_durably(&at("full"), b"").is_err());
        assert!(drafts(folder.path()).unwrap().is_empty());
    }

    #[test]
    fn what_was_cut_off_is_swept_away_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in [".0123.draft", "old.draft", "fence.json", "draft"] {
            fs::write(at(name), "").unwrap();
        }
        sweep(folder.path()).unwrap();
        let mut left: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["draft", "fence.json"]);
    }
}
