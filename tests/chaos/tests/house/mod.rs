//! What the house's tests read: manifests, the lock file, and the paths that sources name.
#![allow(dead_code, reason = "each test binary takes its own part of this module")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The workspace's root folder.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Reads a TOML file below the root.
pub fn toml_of(path: &str) -> toml::Table {
    let text = fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
    text.parse().unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// What a manifest's crate links into its product: its normal and build dependencies, not its tests'.
pub fn linked(manifest: &toml::Table) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let targets = manifest.get("target").and_then(toml::Value::as_table);
    let tables = targets
        .into_iter()
        .flat_map(|t| t.values())
        .filter_map(toml::Value::as_table);
    for table in tables.chain([manifest]) {
        for kind in ["dependencies", "build-dependencies"] {
            let Some(some) = table.get(kind).and_then(toml::Value::as_table) else {
                continue;
            };
            // A renamed dependency counts under the name of its package.
            names.extend(some.iter().map(|(key, value)| {
                value
                    .get("package")
                    .and_then(toml::Value::as_str)
                    .unwrap_or(key)
                    .to_owned()
            }));
        }
    }
    names
}

/// Every package that `start` pulls in, by the lock file.
pub fn closure(lock: &toml::Table, start: &BTreeSet<String>) -> BTreeSet<String> {
    let mut needs: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in lock["package"].as_array().unwrap() {
        let listed = package.get("dependencies").and_then(toml::Value::as_array);
        let names = listed
            .into_iter()
            .flatten()
            .filter_map(|d| d.as_str()?.split(' ').next());
        needs
            .entry(package["name"].as_str().unwrap())
            .or_default()
            .extend(names);
    }
    let mut found = start.clone();
    let mut open: Vec<String> = start.iter().cloned().collect();
    while let Some(name) = open.pop() {
        for next in needs.get(name.as_str()).into_iter().flatten() {
            if found.insert((*next).to_owned()) {
                open.push((*next).to_owned());
            }
        }
    }
    found
}

/// Every Rust file below a folder of the root, as (path below the root, text).
pub fn sources(folder: &str) -> Vec<(String, String)> {
    let mut files = Vec::new();
    let mut open = vec![root().join(folder)];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path.strip_prefix(root()).unwrap().display().to_string();
                files.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    files.sort();
    files
}

/// The paths a source names, `use` trees written out: `use a::{b, c::d};` names `a::b` and `a::c::d`.
pub fn paths(text: &str) -> BTreeSet<String> {
    let code = code_of(text);
    let mut found = BTreeSet::new();
    let mut rest = code.as_str();
    while let Some(at) = find_use(rest) {
        found.extend(words(&rest[..at]));
        let tree = &rest[at + "use ".len()..];
        let end = tree.find(';').unwrap_or(tree.len());
        expand("", &tree[..end], &mut found);
        rest = &tree[end..];
    }
    found.extend(words(rest));
    found
}

/// Says which of `banned` a set of paths touches. `std::fs` is touched by `std::fs::read` and by `a::std::fs`.
pub fn touched<'a>(paths: &BTreeSet<String>, banned: &[&'a str]) -> Vec<&'a str> {
    let hit = |ban: &str| {
        let ban: Vec<&str> = ban.split("::").collect();
        paths.iter().any(|p| {
            p.split("::")
                .collect::<Vec<_>>()
                .windows(ban.len())
                .any(|w| w == ban)
        })
    };
    banned.iter().copied().filter(|ban| hit(ban)).collect()
}

/// Every breach in a folder, as "file names path".
pub fn breaches(files: &[(String, String)], banned: &[&str]) -> Vec<String> {
    let said = |(file, text): &(String, String)| {
        let file = file.clone();
        touched(&paths(text), banned)
            .into_iter()
            .map(move |ban| format!("{file} names {ban}"))
            .collect::<Vec<_>>()
    };
    files.iter().flat_map(said).collect()
}

/// A source without its comments and the insides of its strings.
fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skipped = match c {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |at| at + 2),
            '"' => string_end(rest),
            'r' if !code.ends_with(|p: char| p.is_alphanumeric() || p == '_') => {
                raw_string_end(rest).unwrap_or(0)
            }
            '\'' if rest.starts_with("'\"'") => 3,
            '\'' if rest.starts_with("'\\\"'") => 4,
            _ => 0,
        };
        code.push(if skipped == 0 { c } else { ' ' });
        rest = &rest[skipped.max(c.len_utf8())..];
    }
    code
}

fn string_end(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn raw_string_end(text: &str) -> Option<usize> {
    let hashes = text[1..].bytes().take_while(|b| *b == b'#').count();
    let body = text[1 + hashes..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let end = body.find(&close).map_or(body.len(), |at| at + close.len());
    Some(2 + hashes + end)
}

fn find_use(code: &str) -> Option<usize> {
    let starts_word = |at: usize| {
        code[..at]
            .chars()
            .next_back()
            .is_none_or(|c| !(c.is_alphanumeric() || c == '_'))
    };
    code.match_indices("use ")
        .map(|(at, _)| at)
        .find(|at| starts_word(*at))
}

fn words(code: &str) -> impl Iterator<Item = String> + '_ {
    let parts = code.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
    parts
        .map(|w| w.trim_matches(':').to_owned())
        .filter(|w| !w.is_empty())
}

fn expand(prefix: &str, tree: &str, found: &mut BTreeSet<String>) {
    for branch in split_branches(tree) {
        let branch = branch.trim();
        let Some(open) = branch.find('{') else {
            let path = branch.split_whitespace().next().unwrap_or("");
            found.insert(format!("{prefix}{path}").trim_matches(':').to_owned());
            continue;
        };
        let inner = branch[open + 1..]
            .trim_end()
            .strip_suffix('}')
            .unwrap_or(&branch[open + 1..]);
        expand(&format!("{prefix}{}", branch[..open].trim()), inner, found);
    }
}

fn split_branches(tree: &str) -> Vec<&str> {
    let (mut depth, mut from, mut branches) = (0, 0, Vec::new());
    for (at, c) in tree.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                branches.push(&tree[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    branches.push(&tree[from..]);
    branches.retain(|b| !b.trim().is_empty());
    branches
}
