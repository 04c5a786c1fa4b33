//! The days of many seeds.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use super::day::{Planted, Report, play};
use super::faults::ALL;
use super::faults::Fault::{self, *};
use crate::mutant::Mutant;

/// Days in an ordinary run of the tests.
const SEEDS: u64 = 60;
/// A fault in the nodes themselves is found within so many days.
const MUTANT_SEEDS: u64 = 300;

fn number(variable: &str, otherwise: u64) -> u64 {
    let text = std::env::var(variable).ok().filter(|text| !text.is_empty());
    text.map_or(otherwise, |text| text.parse().expect("a number"))
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(8)
}

fn kept(seed: u64, report: &Report) -> PathBuf {
    let folder = PathBuf::from(
        std::env::var("CARGO_TARGET_TMPDIR").unwrap_or_else(|_| std::env::temp_dir().display().to_string()),
    );
    let path = folder.join(format!("reeve-sim-{seed}.txt"));
    // The failure itself is told either way.
    let _ = std::fs::write(&path, &report.history);
    path
}

#[test]
fn whatever_happens_in_a_day_nothing_acknowledged_is_lost_and_all_comes_right_again() {
    let (first, count) = (number("SIM_SEED", 1), number("SIM_SEEDS", SEEDS));
    let began = std::time::Instant::now();
    let next = AtomicU64::new(first);
    let failed = std::thread::scope(|scope| {
        let work = || {
            let (mut failed, mut acknowledged) = (Vec::new(), 0);
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= first + count {
                    return (failed, acknowledged);
                }
                let report = play(seed, None, &ALL);
                acknowledged += report.acknowledged;
                if report.wrong.is_some() || count == 1 {
                    eprintln!("the history of seed {seed}: {}", kept(seed, &report).display());
                }
                if let Some(wrong) = &report.wrong {
                    failed.push(format!(
                        "seed {seed}: {wrong}\n  again: make sim SEED={seed} SEEDS=1"
                    ));
                }
            }
        };
        let players: Vec<_> = (0..threads()).map(|_| scope.spawn(work)).collect();
        let played: Vec<_> = players.into_iter().map(|player| player.join().unwrap()).collect();
        let acknowledged: usize = played.iter().map(|(_, acknowledged)| acknowledged).sum();
        eprintln!(
            "{count} days from seed {first}: {acknowledged} writes acknowledged, {:?}",
            began.elapsed()
        );
        played
            .into_iter()
            .flat_map(|(failed, _)| failed)
            .collect::<Vec<_>>()
    });
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn a_seed_is_always_the_same_day() {
    for seed in [1, 2, 3, 4, 5] {
        let (one, two) = (play(seed, None, &ALL), play(seed, None, &ALL));
        let differs = one
            .history
            .lines()
            .zip(two.history.lines())
            .find(|(one, two)| one != two);
        assert_eq!(differs, None, "seed {seed} went another way");
        assert_eq!(one.hash, two.hash, "seed {seed} went another way");
    }
    assert_ne!(play(1, None, &ALL).hash, play(2, None, &ALL).hash);
}

/// Plays days until one goes wrong; says which, and how.
fn found_by(planted: Planted, faults: &[Fault], seeds: std::ops::Range<u64>) -> Option<(u64, String)> {
    let next = AtomicU64::new(seeds.start);
    let found = parking_lot::Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..threads() {
            scope.spawn(|| {
                while found.lock().is_none() {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let report = play(seed, planted, faults);
                    if let Some(wrong) = report.wrong.clone() {
                        eprintln!("{planted:?}, seed {seed}: {}", kept(seed, &report).display());
                        found.lock().get_or_insert((seed, wrong));
                    }
                }
            });
        }
    });
    found.into_inner()
}

/// A node that is wrong itself is found out; nobody is right by chance.
fn is_found(mutant: Mutant, node: Option<u64>, faults: &[Fault]) {
    let first = number("SIM_SEED", 1);
    let (seed, wrong) = found_by(Some((mutant, node)), faults, first..first + MUTANT_SEEDS)
        .unwrap_or_else(|| panic!("{mutant:?} was not found in {MUTANT_SEEDS} days from seed {first}"));
    let days = seed - first + 1;
    eprintln!("{mutant:?} was found after about {days} days: {wrong}");
}

#[test]
fn an_answer_before_its_flush_is_found() {
    is_found(
        Mutant::AnswerBeforeFlush,
        None,
        &[CrashAll, DiskStall, CrashMajority],
    );
}

#[test]
fn a_vote_that_a_crash_takes_back_is_found() {
    is_found(
        Mutant::ForgetVote,
        None,
        &[CrashAll, CrashOne, CrashLeader, Isolate, DiskStall],
    );
}

#[test]
fn a_request_that_is_carried_out_twice_is_found() {
    is_found(Mutant::ForgetRequest, None, &[CrashOne]);
}

#[test]
fn a_linearizable_read_that_asks_nobody_is_found() {
    is_found(Mutant::ReadWithoutIndex, None, &[SlowLinks, Isolate]);
}

#[test]
fn a_read_before_what_it_must_see_is_applied_is_found() {
    is_found(Mutant::ReadBeforeApplied, None, &[SlowLinks, OneWay]);
}

#[test]
fn a_leader_that_leads_on_in_its_old_term_is_found() {
    is_found(Mutant::RestoreLeader, None, &[CrashAll, CrashLeader]);
}

#[test]
fn a_snapshot_that_lacks_its_end_is_found() {
    is_found(Mutant::ShortSnapshot, None, &[Behind, CrashOne]);
}

#[test]
fn a_change_of_the_group_that_nobody_ends_is_found() {
    is_found(Mutant::LeaveJoint, None, &[CrashInChange]);
}

#[test]
fn a_learner_that_waits_for_an_archive_that_nobody_has_is_found() {
    is_found(Mutant::WaitForWhole, None, &[LoseArchives, Snapshot, Join]);
}

#[test]
fn a_state_that_strays_is_found() {
    is_found(Mutant::StrayState, Some(2), &[CrashOne]);
}

#[test]
fn a_leader_that_goes_by_its_own_clock_alone_is_found() {
    is_found(Mutant::OwnClock, None, &[ClockFarAhead]);
}

#[test]
fn a_stream_that_goes_on_when_nobody_hears_its_answers_is_found() {
    is_found(Mutant::UnheardStreams, None, &[LossyLinks, Pause]);
}

#[test]
fn a_removed_node_that_cannot_be_elected_while_its_vote_is_needed_is_found() {
    is_found(Mutant::DenyByRoll, None, &[CrashInRemoval]);
}
