//! Percent of the samples by room and by thread, a column for each load.

use std::collections::BTreeMap;

use super::Profile;
use super::fold::{Stack, Stacks};
use super::rooms::{ELSEWHERE, room};

/// Less than this of every load is told with what is elsewhere.
const PERCENT_MIN: f64 = 0.5;

/// Two tables, by room and by thread.
pub fn markdown(profiles: &[Profile]) -> String {
    let rooms = table("Where", profiles, |stack| room(&stack.frames).to_owned());
    let threads = table("Thread", profiles, |stack| format!("`{}`", crew(stack.thread)));
    format!("{rooms}\n{threads}")
}

fn table(head: &str, profiles: &[Profile], of: impl Fn(&Stack) -> String) -> String {
    let loads: Vec<_> = profiles.iter().map(|profile| profile.load).collect();
    let columns: Vec<_> = (profiles.iter())
        .map(|profile| percents(&profile.stacks, &of))
        .collect();
    let mut text = format!(
        "| {head} | {} |\n|---|{}\n",
        loads.join(" | "),
        "---|".repeat(loads.len())
    );
    for (name, shares) in rows(&columns) {
        let cells: Vec<_> = shares.iter().map(|share| format!("{share:.1} %")).collect();
        text += &format!("| {name} | {} |\n", cells.join(" | "));
    }
    text
}

/// Threads of one kind are numbered: `sled-io-3` is one of `sled-io`.
fn crew(thread: &str) -> &str {
    match thread.rsplit_once('-') {
        Some((crew, number)) if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) => crew,
        _ => thread,
    }
}

/// Of all samples of one load.
fn percents(stacks: &Stacks, of: impl Fn(&Stack) -> String) -> BTreeMap<String, f64> {
    let all = stacks.count() as f64;
    let mut shares = BTreeMap::new();
    for stack in stacks.all() {
        *shares.entry(of(&stack)).or_insert(0.0) += 100.0 * stack.count as f64 / all;
    }
    shares
}

/// The greatest share in any load comes first; what is small everywhere, and what has no name, comes last as one.
fn rows(columns: &[BTreeMap<String, f64>]) -> Vec<(String, Vec<f64>)> {
    let mut rows = BTreeMap::new();
    for (nth, column) in columns.iter().enumerate() {
        for (name, share) in column {
            rows.entry(name.clone())
                .or_insert_with(|| vec![0.0; columns.len()])[nth] += share;
        }
    }
    let most = |shares: &[f64]| shares.iter().copied().fold(0.0, f64::max);
    let is_told = |name: &str, shares: &[f64]| name != ELSEWHERE && most(shares) >= PERCENT_MIN;
    let (mut told, others): (Vec<_>, Vec<_>) =
        rows.into_iter().partition(|(name, shares)| is_told(name, shares));
    told.sort_by(|(_, a), (_, b)| most(b).total_cmp(&most(a)));
    if !others.is_empty() {
        let sum = |nth: usize| others.iter().map(|(_, shares)| shares[nth]).sum();
        told.push((ELSEWHERE.to_owned(), (0..columns.len()).map(sum).collect()));
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_each_load_and_what_is_small_is_told_together() {
        let profile = |load, folded| Profile {
            load,
            stacks: Stacks::of_folded(folded),
        };
        let text = markdown(&[
            profile(
                "write",
                "consensus;reeve_domain::apply 600\narchive;sled::flush 397\nx;sha2::f 2\nx;y 1\n",
            ),
            profile(
                "resolve",
                "reeve-registry;h2::poll 3\nreeve-registry;reeve_domain::find 1\n",
            ),
        ]);
        let wanted = "\
| Where | write | resolve |
|---|---|---|
| HTTP/2 (`h2`, `hyper`, `tonic`, `tower`) | 0.0 % | 75.0 % |
| `reeve_domain` | 60.0 % | 25.0 % |
| archive, `sled` | 39.7 % | 0.0 % |
| elsewhere | 0.3 % | 0.0 % |

| Thread | write | resolve |
|---|---|---|
| `reeve-registry` | 0.0 % | 100.0 % |
| `consensus` | 60.0 % | 0.0 % |
| `archive` | 39.7 % | 0.0 % |
| elsewhere | 0.3 % | 0.0 % |
";
        assert_eq!(text, wanted);
        let names = ["sled-io-12", "tokio-rt-worker", "a-", "archive"].map(crew);
        assert_eq!(names, ["sled-io", "tokio-rt-worker", "a-", "archive"]);
    }
}
