//! Every call of the API can be made from the command line, or belongs to a program.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

/// What programs call, and people never do by hand: each with who does.
const OF_PROGRAMS: [(&str, &str); 10] = [
    ("Join", "the agent"),
    ("Session", "the agent"),
    ("Renew", "the agent"),
    ("JoinNode", "the registry"),
    ("RenewNode", "the registry"),
    ("Enroll", "`reeve cluster enroll`, through the client"),
    ("RenewCertificate", "`reeve context refresh`, through the client"),
    ("BatchResolve", "the client, when it warms up"),
    ("WaitOperation", "clients that cannot read a stream"),
    ("Empty", "`reeve bench`"),
];

fn sources(folder: &Path, into: &mut Vec<PathBuf>) -> Result<()> {
    for file in fs::read_dir(folder)? {
        let path = file?.path();
        match path.is_dir() {
            true => sources(&path, into)?,
            false => into.push(path),
        }
    }
    Ok(())
}

fn snake(name: &str) -> String {
    let mut out = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.extend(letter.to_lowercase());
    }
    out
}

#[test]
fn every_call_has_a_verb_or_a_program() -> Result<()> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut protos, mut files) = (Vec::new(), Vec::new());
    sources(&home.join("../../proto/reeve/v1"), &mut protos)?;
    sources(&home.join("src"), &mut files)?;
    let is_own = |path: &PathBuf| !path.starts_with(home.join("src/bench"));
    let said: String = files
        .iter()
        .filter(|path| is_own(path))
        .map(fs::read_to_string)
        .collect::<Result<_, _>>()?;
    let mut calls = Vec::new();
    for proto in protos {
        let text = fs::read_to_string(proto)?;
        let named = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("rpc ")?.split_once('('));
        calls.extend(named.map(|(name, _)| name.to_owned()));
    }
    assert!(calls.len() > 40, "{calls:?}");
    let has_verb = |call: &str| said.contains(&format!(".{}(", snake(call)));
    let is_of_program = |call: &str| OF_PROGRAMS.iter().any(|(name, _)| *name == call);
    let without: Vec<_> = calls
        .iter()
        .filter(|call| !has_verb(call) && !is_of_program(call))
        .collect();
    assert!(without.is_empty(), "no verb calls {without:?}");
    for (name, who) in OF_PROGRAMS {
        assert!(
            calls.iter().any(|call| call == name),
            "{who} calls {name}, which is none"
        );
    }
    Ok(())
}
