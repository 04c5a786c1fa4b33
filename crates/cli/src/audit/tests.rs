//! An export that was touched anywhere is not whole.

use std::path::Path;

use reeve_domain::audit::{Head, Seed, Shown, append};
use reeve_domain::{Revision, Stamp};

use super::Summary;
use super::line::Line;
use super::verify::{self, VerifyError};

fn check(bytes: &[u8]) -> Result<Summary, VerifyError> {
    verify::lines(bytes, Path::new("audit.jsonl"))
}

fn shown(shard: &str, n: u64) -> Shown {
    Shown {
        version: 0,
        shard: shard.into(),
        sequence: 0,
        stamp: Stamp(1_700_000_000_000 + n),
        revision: Revision(n),
        actor: "spiffe://hospital/person/ann".into(),
        certificate: None,
        action: "tenant.create".into(),
        resource: format!("tenant/{shard}"),
        outcome: "done".into(),
        reason: String::new(),
        request_id: "r".into(),
        trace_id: String::new(),
        before: [1; 32],
        after: [2; 32],
        salt: Seed::default().salt,
        personal: vec![],
        previous: [0; 32],
    }
}

fn export() -> Vec<u8> {
    let mut text = String::new();
    let mut heads = Vec::new();
    for shard in ["fleet", "t_000000000001"] {
        let mut head = Head::default();
        for n in 1..4 {
            let record = append(&mut head, shown(shard, n));
            text += &(Line::Record(record).write() + "\n");
        }
        heads.push(Line::Head {
            shard: shard.into(),
            head,
        });
    }
    for head in heads {
        text += &(head.write() + "\n");
    }
    text.into_bytes()
}

#[test]
fn an_untouched_export_is_whole() {
    let summary = check(&export()).unwrap();
    assert_eq!((summary.records, summary.shards, summary.heads.len()), (6, 2, 2));
}

#[test]
fn a_file_is_read_and_a_missing_one_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let error = verify::file(&path).unwrap_err().to_string();
    assert!(error.contains("audit.jsonl"), "{error}");
    std::fs::write(&path, export()).unwrap();
    assert_eq!(verify::file(&path).unwrap(), check(&export()).unwrap());
}

#[test]
fn the_place_is_named() {
    let text = String::from_utf8(export()).unwrap();
    let odd = text.replacen("\"sequence\":2", "\"sequence\":4", 1);
    let error = check(odd.as_bytes()).unwrap_err().to_string();
    assert_eq!(error, "line 2: shard fleet: record 4 stands where 2 belongs");
    let loose = text.replacen(",\"sequence\":1", ", \"sequence\":1", 1);
    let error = check(loose.as_bytes()).unwrap_err().to_string();
    assert!(error.starts_with("line 1, after nothing: "), "{error}");
}

#[test]
fn any_flipped_byte_is_found() {
    let whole = export();
    for at in 0..whole.len() {
        for flip in [1, 0x20, 0x80] {
            let mut odd = whole.clone();
            odd[at] ^= flip;
            assert!(
                check(&odd).is_err(),
                "byte {at} flipped by {flip:#x} in {:?}",
                whole[at] as char
            );
        }
    }
}

#[test]
fn a_line_left_out_doubled_or_cut_off_is_found() {
    let whole = export();
    let lines: Vec<&[u8]> = whole.split_inclusive(|b| *b == b'\n').collect();
    for at in 0..lines.len() {
        let mut missing = lines.clone();
        missing.remove(at);
        assert!(check(&missing.concat()).is_err(), "line {} left out", at + 1);
        let mut doubled = lines.clone();
        doubled.insert(at, lines[at]);
        assert!(check(&doubled.concat()).is_err(), "line {} doubled", at + 1);
    }
    for cut in 0..whole.len() {
        assert!(check(&whole[..cut]).is_err(), "cut at {cut}");
    }
    let error = check(&whole[..whole.len() - 1]).unwrap_err();
    assert!(error.to_string().starts_with("line 8"), "{error}");
}
