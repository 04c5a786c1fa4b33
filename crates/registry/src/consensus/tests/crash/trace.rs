//! What strace wrote: one call after the other, joined where another thread came between.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

pub(super) const CALLS: &str = "openat,write,writev,pwrite64,ftruncate,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat";

/// A call that ended well.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) name: String,
    args: String,
    pub(super) returned: i64,
    /// The lines on which it began and ended.
    pub(super) began: usize,
    pub(super) ended: usize,
}

impl Call {
    /// The descriptor that it works on: its number and its path.
    pub(super) fn file(&self) -> (i64, PathBuf) {
        descriptor(&self.args)
    }

    /// The descriptor that it returned, of openat.
    pub(super) fn opened(&self) -> (i64, PathBuf) {
        let names = self.paths();
        (self.returned, names.into_iter().next().unwrap_or_default())
    }

    /// The paths in quotes.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        let text = |bytes| PathBuf::from(String::from_utf8(bytes).unwrap());
        quoted(&self.args).into_iter().map(text).collect()
    }

    /// The bytes that it wrote.
    pub(super) fn data(&self) -> Vec<u8> {
        let mut all = quoted(&self.args).concat();
        all.truncate(usize::try_from(self.returned).unwrap());
        all
    }

    pub(super) fn has(&self, flag: &str) -> bool {
        self.args.contains(flag)
    }

    /// The last number among the arguments.
    pub(super) fn last_number(&self) -> u64 {
        let last = self.args.rsplit(", ").next().unwrap();
        last.parse().unwrap()
    }
}

pub(super) fn read(file: &Path) -> Vec<Call> {
    let text = std::fs::read_to_string(file).unwrap();
    let mut halves: HashMap<&str, (usize, String)> = HashMap::new();
    let mut calls = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let (thread, said) = line.split_once(' ').unwrap();
        let said = said.trim_start();
        if let Some(first) = said.strip_suffix(" <unfinished ...>") {
            halves.insert(thread, (number, first.to_owned()));
            continue;
        }
        let (began, whole) = match said.strip_prefix("<... ") {
            Some(rest) => {
                let (began, first) = halves.remove(thread).unwrap();
                let (_, second) = rest.split_once(" resumed>").unwrap();
                (began, first + second)
            }
            None => (number, said.to_owned()),
        };
        calls.extend(call(&whole, began, number));
    }
    calls
}

fn call(text: &str, began: usize, ended: usize) -> Option<Call> {
    let (name, rest) = text.split_once('(')?;
    let (args, result) = rest.rsplit_once(") = ").or_else(|| rest.rsplit_once(" = "))?;
    let digits: String = result.chars().take_while(|c| c.is_ascii_digit()).collect();
    Some(Call {
        name: name.to_owned(),
        args: args.trim_end_matches([' ', ')']).to_owned(),
        // One that failed returns -1, which is no digit.
        returned: digits.parse().ok()?,
        began,
        ended,
    })
}

fn descriptor(args: &str) -> (i64, PathBuf) {
    let (number, rest) = args.split_once('<').unwrap();
    let (path, _) = rest.split_once('>').unwrap();
    let path = String::from_utf8(unescaped(path)).unwrap();
    (number.parse().unwrap(), PathBuf::from(path))
}

fn quoted(args: &str) -> Vec<Vec<u8>> {
    args.split('"').skip(1).step_by(2).map(unescaped).collect()
}

fn unescaped(text: &str) -> Vec<u8> {
    let hex = |part: &str| u8::from_str_radix(part, 16).unwrap();
    text.split("\\x")
        .filter(|part| !part.is_empty())
        .map(hex)
        .collect()
}
