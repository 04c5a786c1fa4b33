//! The power fails between any two system calls.
//!
//! ```text
//! script (a child under strace) ─► trace ─► Disk: what was synced, what was not
//!                                             └─► at any moment: an image in which each unsynced write is
//!                                                 there, gone or torn by sectors ─► opened again ─► judged
//! ```

mod disk;
mod script;
mod trace;

use std::path::Path;
use std::process::Command;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use disk::{Disk, Event};

const POINTS: usize = 400;
const FOLDER: &str = "REEVE_CRASH_FOLDER";

/// The child: runs the script in a folder and says what was acknowledged.
#[tokio::test]
async fn the_script_keeps_what_it_promises() {
    let own = tempfile::tempdir().unwrap();
    let given = std::env::var_os(FOLDER);
    let folder = given.as_deref().map_or(own.path(), Path::new);
    script::run(folder).await;
    let last = script::promises().len() - 1;
    script::judge(folder, last).await.unwrap();
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_power_cut_at_any_moment() {
    let events = traced();
    let acks = events
        .iter()
        .filter(|event| matches!(event, Event::Ack(_)))
        .count();
    assert_eq!(acks, script::promises().len() - 1, "the trace is not whole");
    let (failures, torn) = power_cuts(&events, POINTS).await;
    assert!(
        failures.is_empty(),
        "{} of {POINTS}: {failures:#?}",
        failures.len()
    );
    assert!(torn > POINTS / 4, "only {torn} images had lost anything");
}

/// The check is checked: an acknowledgement that leaves before its flush is found out.
#[tokio::test]
async fn an_answer_before_its_flush_is_found() {
    let mut events = traced();
    for at in 1..events.len() {
        let is_flush = matches!(events[at - 1], Event::SyncFile { .. });
        if is_flush && matches!(events[at], Event::Ack(_)) {
            events.swap(at - 1, at);
        }
    }
    let (failures, _) = power_cuts(&events, POINTS).await;
    assert!(!failures.is_empty());
}

fn traced() -> Vec<Event> {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("trace");
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let run = Command::new("strace")
        .args(["-f", "-qq", "-y", "-xx", "-s", "4194304", "-e"])
        .arg(format!("trace={}", trace::CALLS))
        .arg("-o")
        .arg(&out)
        .arg(std::env::current_exe().unwrap())
        .args(["the_script_keeps_what_it_promises", "--nocapture"])
        .env(FOLDER, &data)
        // The counters of a coverage build are none of the data.
        .env("LLVM_PROFILE_FILE", folder.path().join("counters"))
        .output()
        .expect("strace (a Debian package) is missing");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    disk::events(&trace::read(&out), &data)
}

/// Cuts the power at random moments; what went wrong, and how many images had lost something.
async fn power_cuts(events: &[Event], points: usize) -> (Vec<String>, usize) {
    // Right behind a write there is something to lose, right behind an answer something was promised.
    let is_worth_it = |at: &usize| matches!(events[at - 1], Event::Wrote { .. } | Event::Ack(_));
    let moments: Vec<usize> = (1..=events.len()).filter(is_worth_it).collect();
    let (mut failures, mut torn) = (Vec::new(), 0);
    for seed in 0..points as u64 {
        let mut chance = StdRng::seed_from_u64(seed);
        let moment = *moments.choose(&mut chance).unwrap();
        let disk = Disk::after(&events[..moment]);
        let image = tempfile::tempdir().unwrap();
        torn += usize::from(disk.write_image(image.path(), &mut chance));
        if let Err(why) = script::judge(image.path(), disk.acked()).await {
            failures.push(format!(
                "seed {seed}, event {moment}, step {}: {why}",
                disk.acked()
            ));
        }
    }
    (failures, torn)
}
