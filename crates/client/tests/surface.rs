//! What a service is bound to: types of tonic in signatures stay where calls of the registry's own are made, and data that
//! will grow can grow.
//!
//! An honest look at the source, not a proof: it reads the lines on which something public begins, up to their end.

#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where the generated clients stand on their channel, and what their failures are told as. The layer answers for a
/// service's own gRPC methods.
const OF_CALLS: [&str; 4] = ["api.rs", "channel/mod.rs", "error.rs", "layer/grpc.rs"];
/// Public data that callers make themselves, and therefore cannot be kept open: settings, and what a verifier says.
const CLOSED: [&str; 8] = [
    "Access",
    "AnsweredBy",
    "Failover",
    "Head",
    "Issuer",
    "Limits",
    "TenantDb",
    "Verified",
];

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => sources(&path, into),
            false if !path.ends_with("tests.rs") => into.push(path),
            false => {}
        }
    }
}

fn all() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    sources(&root, &mut paths);
    let read = |path: PathBuf| {
        let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(path).unwrap();
        let own = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
        (name, own.to_owned())
    };
    paths.into_iter().map(read).collect()
}

/// Public things of a file, each from its first line to where its signature ends.
fn signatures(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        if !line.starts_with("pub ") || line.starts_with("pub use ") || line.starts_with("pub mod ") {
            continue;
        }
        let mut signature = line.to_owned();
        while !signature.ends_with(['{', ';', ',', '}']) {
            let Some(more) = lines.next() else { break };
            signature.push(' ');
            signature.push_str(more);
        }
        while signature.ends_with('(') || signature.matches('(').count() > signature.matches(')').count() {
            let Some(more) = lines.next() else { break };
            signature.push_str(more);
        }
        found.push(signature);
    }
    found
}

#[test]
fn types_of_tonic_are_seen_in_calls_alone() {
    let strange = |signature: &String| {
        ["tonic", "Status", "Request<", "Response<"]
            .iter()
            .any(|word| signature.contains(word))
    };
    let planted = "pub async fn ask(\n    &self,\n) -> Result<(), tonic::Status> {";
    assert!(signatures(planted).iter().any(strange), "nothing would be seen");
    let mut looked_at = 0;
    for (name, text) in all() {
        let signatures = signatures(&text);
        looked_at += signatures.len();
        // `http::StatusCode` is the http crate's.
        let odd: Vec<_> = signatures
            .into_iter()
            .map(|signature| signature.replace("StatusCode", ""))
            .filter(strange)
            .collect();
        assert!(
            odd.is_empty() || OF_CALLS.contains(&name.as_str()),
            "{name}: {odd:#?}"
        );
    }
    assert!(looked_at > 100, "only {looked_at} signatures were looked at");
}

#[test]
fn public_data_can_grow() {
    let mut open = Vec::new();
    for (name, text) in all() {
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let Some(what) = ["pub struct ", "pub enum "]
                .iter()
                .find_map(|begin| line.strip_prefix(begin))
            else {
                continue;
            };
            let word = what.split(|c: char| !c.is_alphanumeric()).next().unwrap();
            let body = lines[at..].iter().take_while(|line| !line.starts_with('}'));
            let is_enum = line.contains("enum");
            let is_data = is_enum
                || body
                    .clone()
                    .any(|line| line.trim_start().starts_with("pub ") && line.starts_with(' '));
            let before = lines[..at].iter().rev().take_while(|line| line.starts_with("#["));
            let is_open = before.into_iter().any(|line| line.contains("non_exhaustive"));
            if is_data && !is_open && !CLOSED.contains(&word) && is_reachable(&name) {
                open.push(format!("{name}: {word}"));
            }
        }
    }
    assert!(open.is_empty(), "not open, and not listed: {open:#?}");
}

/// Rooms that `lib.rs` shows nothing of but by name.
fn is_reachable(file: &str) -> bool {
    !(file.starts_with("cache/") || file == "stand.rs")
}
