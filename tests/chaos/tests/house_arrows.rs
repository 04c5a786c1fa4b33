//! The rooms' names and arrows: who may link whom, and what no program may carry.

mod house;

use std::collections::{BTreeMap, BTreeSet};

use house::{closure, linked, root, toml_of};

/// Each room, its folder, and the rooms it may link.
const ROOMS: [(&str, &str, &[&str]); 12] = [
    ("domain", "crates/domain", &[]),
    ("proto", "proto", &["domain"]),
    ("client", "crates/client", &["domain", "proto"]),
    ("registry", "crates/registry", &["domain", "proto"]),
    ("agent", "crates/agent", &["domain", "proto", "client"]),
    ("local", "crates/local", &["proto", "client"]),
    ("cli", "crates/cli", &["domain", "proto", "client", "local"]),
    ("bench", "crates/bench", &["proto", "client", "local", "cli"]),
    ("bad", "tests/bad", &["domain", "proto", "client", "local"]),
    ("bucket", "tests/bucket", &[]),
    (
        "chaos",
        "tests/chaos",
        &["domain", "proto", "client", "local", "bucket"],
    ),
    ("foreign", "tests/foreign", &["proto", "client", "local"]),
];

/// What only the registry may carry.
const STORES: [&str; 3] = ["openraft", "raft-log", "sled"];

const DOMAIN_MAY_LINK: [&str; 6] = ["arrayvec", "imbl", "serde", "serde_bytes", "sha2", "thiserror"];

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|n| (*n).to_owned()).collect()
}

/// The arrows of one room that are not in the picture.
fn stray(links: &BTreeSet<String>, allowed: &[&str]) -> Vec<String> {
    let rooms = links.iter().filter_map(|l| l.strip_prefix("reeve-"));
    rooms
        .filter(|r| !allowed.contains(r))
        .map(str::to_owned)
        .collect()
}

fn manifest(folder: &str) -> toml::Table {
    toml_of(&format!("{folder}/Cargo.toml"))
}

#[test]
fn arrows_point_one_way() {
    assert_eq!(
        stray(
            &set(&["reeve-proto", "reeve-client", "tokio"]),
            &["domain", "proto"]
        ),
        ["client"]
    );

    for (room, folder, allowed) in ROOMS {
        let strays = stray(&linked(&manifest(folder)), allowed);
        assert!(
            strays.is_empty(),
            "{room} may link {allowed:?}, and links {strays:?} too"
        );
    }
}

#[test]
fn packages_are_named_after_their_folders() {
    let name = |folder: &str| manifest(folder)["package"]["name"].as_str().unwrap().to_owned();
    for (room, folder, _) in ROOMS {
        assert_eq!(name(folder), format!("reeve-{room}"), "{folder}/Cargo.toml");
    }
    let bins = manifest("crates/cli")
        .get("bin")
        .and_then(|b| b.as_array().cloned())
        .unwrap_or_default();
    let bins: Vec<_> = bins.iter().filter_map(|b| b["name"].as_str()).collect();
    assert_eq!(bins, ["reeve"], "crates/cli makes one program, `reeve`");
}

#[test]
fn there_is_no_room_for_odds_and_ends() {
    let known: BTreeMap<_, _> = ROOMS.iter().map(|(room, folder, _)| (*folder, *room)).collect();
    let odd = |folder: &str| !known.contains_key(folder);
    assert!(odd("crates/common") && odd("crates/utils") && odd("crates/types"));

    for entry in std::fs::read_dir(root().join("crates")).unwrap() {
        let folder = format!("crates/{}", entry.unwrap().file_name().display());
        assert!(
            !odd(&folder),
            "{folder} is not a room of the picture in docs/architecture.md"
        );
    }
}

#[test]
fn the_domain_links_only_what_is_pure() {
    let extra = |links: &BTreeSet<String>| {
        links
            .difference(&set(&DOMAIN_MAY_LINK))
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(extra(&set(&["serde", "rand", "tokio"])), ["rand", "tokio"]);

    let found = extra(&linked(&manifest("crates/domain")));
    assert!(found.is_empty(), "domain links {found:?}");
}

#[test]
fn only_the_registry_carries_the_stores() {
    let lock = toml_of("Cargo.lock");
    let carried = |links: &BTreeSet<String>| {
        let all = closure(&lock, links);
        STORES
            .iter()
            .copied()
            .filter(|s| all.contains(*s))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        carried(&linked(&manifest("crates/registry"))),
        STORES,
        "the walk finds them where they are"
    );
    assert_eq!(
        carried(&set(&["reeve-registry"])),
        STORES,
        "and behind a room in between"
    );

    for (room, folder, _) in ROOMS.iter().filter(|(room, ..)| *room != "registry") {
        // The lock file mixes a room's own test dependencies in, so each room is entered through its manifest.
        let outside: BTreeSet<_> = linked(&manifest(folder))
            .into_iter()
            .filter(|l| !l.starts_with("reeve-"))
            .collect();
        let found = carried(&outside);
        assert!(found.is_empty(), "{room} carries {found:?}");
    }
}
