//! Processor time of processes: what a call costs the nodes, whoever else is busy on the machine.

use std::time::Duration;

use anyhow::{Context, Result};

/// A second of them, as Linux tells every process (USER_HZ).
const TICKS: f64 = 100.0;

/// What one process has used so far, in user and kernel mode.
pub fn used(pid: i32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .with_context(|| format!("reading the processor time of {pid}"))?;
    parse(&stat).with_context(|| format!("no processor time in {stat:?}"))
}

/// What all of them have used.
pub fn used_by(pids: &[i32]) -> Result<Duration> {
    pids.iter().map(|pid| used(*pid)).sum()
}

/// The 14th and 15th field; the 2nd is a name in brackets, and may hold anything.
fn parse(stat: &str) -> Option<Duration> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let kernel: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_secs_f64((user + kernel) as f64 / TICKS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_process_may_hold_anything() {
        let stat = "42 (a) b (c)) S 1 42 42 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 1 0 7 8 9";
        assert_eq!(parse(stat), Some(Duration::from_secs(3)));
        assert_eq!(parse("42 (cut"), None);
    }

    #[test]
    fn this_process_has_used_some_and_one_that_is_not_there_none() {
        let own = i32::try_from(std::process::id()).unwrap();
        while used(own).unwrap().is_zero() {}
        assert!(used_by(&[own, own]).unwrap() >= used(own).unwrap());
        assert!(used(-1).is_err());
    }
}
