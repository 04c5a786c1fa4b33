//! Whether a watch lost nothing: what a program told of its streams, one after the other.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// Holds what was said of a watch against the revisions of changes that it must have heard. It lists once; whatever
/// ends a stream, the next one goes on after the last revision, and nothing comes twice.
pub fn judge(said: &[Value], changes: &[u64]) -> Result<()> {
    let mut stands_at = 0;
    let mut listed = None;
    let mut heard = Vec::new();
    for line in said.iter().filter(|line| line["event"] == "watch") {
        let revision = || {
            line["revision"]
                .as_u64()
                .with_context(|| format!("no revision: {line}"))
        };
        match line["kind"].as_str().unwrap_or_default() {
            "opened" => ensure!(revision()? == stands_at, "it stood at {stands_at}: {line}"),
            "initial_done" => {
                ensure!(listed.is_none(), "it lists again: {line}");
                stands_at = revision()?;
                listed = Some(stands_at);
            }
            "delta" => {
                ensure!(revision()? > stands_at, "after {stands_at} comes {line}");
                stands_at = revision()?;
                heard.push(stands_at);
            }
            "bookmark" => {
                ensure!(
                    revision()? == 0 || revision()? >= stands_at,
                    "after {stands_at}: {line}"
                );
                stands_at = stands_at.max(revision()?);
            }
            "broken" => {}
            _ => bail!("it lost its place: {line}"),
        }
    }
    let listed = listed.context("it never listed")?;
    for change in changes.iter().filter(|change| **change > listed) {
        ensure!(heard.contains(change), "change {change} was not heard: {heard:?}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn watch(lines: &[(&str, u64)]) -> Vec<Value> {
        let line =
            |(kind, revision): &(&str, u64)| json!({"event": "watch", "kind": kind, "revision": revision});
        lines.iter().map(line).collect()
    }

    const GOOD: [(&str, u64); 8] = [
        ("opened", 0),
        ("bookmark", 0),
        ("initial_done", 10),
        ("delta", 11),
        ("bookmark", 12),
        ("broken", 0),
        ("opened", 12),
        ("delta", 13),
    ];

    #[test]
    fn a_watch_that_resumes_where_it_stood_lost_nothing() {
        judge(&watch(&GOOD), &[9, 11, 13]).unwrap();
    }

    #[test]
    fn a_change_that_was_not_heard_is_missed() {
        for changes in [[11, 12], [13, 14]] {
            let told = judge(&watch(&GOOD), &changes).unwrap_err().to_string();
            assert!(told.contains("was not heard"), "{told}");
        }
    }

    #[test]
    fn damage_is_found() {
        for (at, line) in [
            (2, ("delta", 10)),        // the listing has no end
            (3, ("delta", 10)),        // what was listed comes again
            (4, ("bookmark", 9)),      // time runs back
            (4, ("lagged", 11)),       // too slow
            (4, ("compacted", 11)),    // too late
            (6, ("opened", 0)),        // it begins again
            (6, ("opened", 11)),       // it asks for what it has
            (7, ("initial_done", 13)), // it lists again
            (7, ("delta", 12)),        // a bookmark's change comes again
        ] {
            let mut lines = GOOD;
            lines[at] = line;
            assert!(judge(&watch(&lines), &[]).is_err(), "{line:?} at {at} passed");
        }
        assert!(judge(&[], &[]).is_err(), "nothing was said at all");
    }
}
