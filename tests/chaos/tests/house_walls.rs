//! The walls inside the rooms: what a folder's sources may not name.

mod house;

use house::{breaches, paths, sources, touched};

/// Whatever touches clocks, chance, sockets, disks or threads. (An `IpAddr` is a value like any other.)
const IMPURE: [&str; 17] = [
    "async",
    "await",
    "std::time",
    "core::time",
    "SystemTime",
    "Instant",
    "std::fs",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "ToSocketAddrs",
    "std::env",
    "std::thread",
    "std::process",
    "rand",
    "HashMap",
    "HashSet",
];

/// A registry folder and what it may not name.
const WALLS: [(&str, &[&str]); 3] = [
    ("edge", &["openraft", "sled", "raft_log"]),
    ("archive", &["openraft", "raft_log", "crate::edge", "super::edge"]),
    (
        "pilot",
        &[
            "openraft",
            "sled",
            "raft_log",
            "crate::archive",
            "crate::consensus::store",
        ],
    ),
];

/// A library and the one registry folder that may name it.
const HOMES: [(&str, &str); 4] = [
    ("openraft", "consensus"),
    ("openraft_rt_tokio", "consensus"),
    ("raft_log", "consensus"),
    ("sled", "archive"),
];

fn planted(text: &str) -> Vec<(String, String)> {
    vec![("planted.rs".to_owned(), text.to_owned())]
}

#[test]
fn use_trees_are_written_out() {
    let found =
        paths("use std::{collections::BTreeMap, fs::{self, File}, io as other};\nfn f() { a::b(c::d) }");
    let want = [
        "std::collections::BTreeMap",
        "std::fs::self",
        "std::fs::File",
        "std::io",
        "a::b",
        "c::d",
    ];
    for path in want {
        assert!(found.contains(path), "{path} is missing in {found:?}");
    }
    assert!(
        touched(&found, &["std::net"]).is_empty(),
        "a comment names nothing"
    );
}

#[test]
fn the_domain_is_pure() {
    for bad in [
        "use std::{fmt, time::Duration};",
        "async fn f() {}",
        "fn f() { let x = rand::random::<u8>(); }",
        "use std::collections::HashMap;",
        "fn f() { std::fs::read(\"x\"); }",
        "pub struct S(std::time::SystemTime);",
    ] {
        assert!(!breaches(&planted(bad), &IMPURE).is_empty(), "not seen: {bad}");
    }

    let found = breaches(&sources("crates/domain/src"), &IMPURE);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn the_registrys_folders_keep_to_themselves() {
    let bad = "use sled::Db;\nuse crate::{edge::Door, archive};\nuse openraft::{Raft, alias::*};\nfn f(l: raft_log::RaftLog) {}";
    for (folder, banned) in WALLS {
        assert!(
            !breaches(&planted(bad), banned).is_empty(),
            "nothing is seen in {folder}"
        );

        let files = sources(&format!("crates/registry/src/{folder}"));
        assert!(
            !files.is_empty(),
            "crates/registry/src/{folder} is empty: this wall guards nothing"
        );
        let found = breaches(&files, banned);
        assert!(found.is_empty(), "{found:#?}");
    }
}

#[test]
fn a_store_is_named_in_its_own_folder_only() {
    let strays = |files: &[(String, String)], library: &str, home: &str| {
        let home = format!("crates/registry/src/{home}");
        breaches(files, &[library])
            .into_iter()
            .filter(|b| !b.starts_with(&home))
            .collect::<Vec<_>>()
    };
    for (library, home) in HOMES {
        let bad = planted(&format!("pub use {library}::Config;"));
        assert_eq!(
            strays(&bad, library, home).len(),
            1,
            "a stray {library} is not seen"
        );

        for room in ["crates", "proto/src"] {
            let found = strays(&sources(room), library, home);
            assert!(found.is_empty(), "{library} belongs in {home}/: {found:#?}");
        }
    }
}
