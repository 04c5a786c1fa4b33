//! A file of each format that was ever written, as the bytes it had then. It is added, never changed: `UPDATE=1`
//! writes what is missing.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use reeve_domain::audit::Verifier;

use super::world::{KEY, World, key};
use crate::archive::Archive;
use crate::backup::{FORMAT, Order, check, open, restore};
use crate::consensus::{Survivor, read_survivor};
use crate::node::ArchiveCipher;
use crate::vault::open_or_make;

fn golden() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/backup/tests/golden");
    folder.join(format!("v{FORMAT}.snapshot"))
}

#[tokio::test]
async fn a_file_of_every_format_verifies_and_restores() {
    let file = golden();
    if !file.exists() && std::env::var_os("UPDATE").is_some() {
        fs::write(&file, World::busy().save()).unwrap();
    }
    let (report, state) = check(open(&file).unwrap(), Some(&key()), &mut |_| Ok(())).unwrap();
    let (inside, before) = (report.inside.unwrap(), state.unwrap());
    assert_eq!(
        (inside.header.format, inside.header.cluster_id.as_str()),
        (FORMAT, "c-1")
    );

    let dir = tempfile::tempdir().unwrap();
    let root_key = dir.path().join("root.key");
    fs::write(&root_key, hex::encode(KEY)).unwrap();
    fs::set_permissions(&root_key, fs::Permissions::from_mode(0o600)).unwrap();
    let order = Order {
        sum: None,
        file,
        root_key,
        out: dir.path().join("new"),
        api_address: "n1.example:7400".into(),
        peer_address: "n1.example:7401".into(),
        admin: "vera".into(),
        records: None,
    };
    let made = restore(&order).await.unwrap();
    assert_eq!(
        (made.from_revision, made.records),
        (before.revision.0, inside.records + 1)
    );
    let again = restore(&order).await.unwrap_err().to_string();
    assert!(again.contains("there already"), "{again}");

    // The folder is a node's: its State and its archive are what was in the file, and the restore itself.
    let node = order.out.join(format!("n{}", made.node_id));
    for file in ["node.crt", "node.key.pem", "root.crt"] {
        assert!(node.join(file).exists(), "{file}");
    }
    let data = node.join("data");
    let folder = Survivor::take(&data).unwrap();
    assert_eq!(
        (folder.cluster.as_str(), folder.node_id),
        ("hospital", made.node_id)
    );
    let sealer = open_or_make(&data, "hospital", &key()).unwrap();
    let state = read_survivor(&data, "hospital", sealer.clone(), |_| Ok(())).unwrap();
    assert_eq!(
        (state.revision.0, state.regions.len()),
        (made.revision, before.regions.len())
    );
    let cipher = std::sync::Arc::new(ArchiveCipher::new(sealer));
    // The restore's own thread may hold the archive for a moment more.
    let copy = dir.path().join("archive");
    copy_folder(&data.join("archive"), &copy);
    let archive = Archive::open(copy, cipher).unwrap();
    assert!(archive.is_whole());
    let mut chain = Verifier::new("fleet");
    let mut last = String::new();
    for record in archive.records("fleet", 1, 1_000).unwrap() {
        last = chain.check(&record).unwrap().action;
    }
    chain.finish(&state.heads["fleet"]).unwrap();
    assert_eq!(last, "cluster.restore");
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_folder(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}
