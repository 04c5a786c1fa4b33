//! The promises of this slice, one file each: what is observed, how it is judged, and what it must not miss.

pub mod acked_commands_survive;
pub mod audit_chain_whole;
pub mod no_role_crosses;
pub mod nodes_agree;
pub mod operations_end;
pub mod resolve_never_names_a_fenced_host;
pub mod revisions_name_one_change;
pub mod stamps_go_forward;
pub mod views_say_their_age;

use anyhow::{Result, ensure};

use crate::history::History;

/// A way to break what a promise reads: its name, and the damage.
pub type Mutant<T> = (&'static str, fn(&mut T));

/// A promise must hold for what was seen, and break for each mutant of it.
pub fn hold<T: Clone>(
    promise: &str,
    history: &History,
    seen: &T,
    judge: impl Fn(&History, &T) -> Result<()>,
    mutants: &[Mutant<T>],
) -> Result<()> {
    judge(history, seen).map_err(|broken| broken.context(format!("{promise} is broken")))?;
    for (name, plant) in mutants {
        let mut mutant = seen.clone();
        plant(&mut mutant);
        ensure!(
            judge(history, &mutant).is_err(),
            "{promise} does not notice that {name}"
        );
    }
    Ok(())
}
