//! Where a test may hold an agent still, to kill somebody at that very moment.
//!
//! Built with the feature `mutants` alone, and only in a process that is started with `REEVE_HOLD=FOLDER`: what is
//! shipped has no such place. A file `at` there names the moment (`create_roles forward before`); the agent writes
//! `here` when it has come to it, and goes on once `at` is gone.

/// A moment around a step.
#[derive(Clone, Copy, Debug)]
pub enum Moment {
    /// Nothing of it was done.
    Before,
    /// Its goal is true, and nothing of that is on disk here.
    After,
    /// The outcome is in the journal, and nobody has heard of it.
    Journaled,
}

#[cfg(not(feature = "mutants"))]
pub(crate) async fn at(_step: &str, _undo: bool, _moment: Moment) {}

#[cfg(feature = "mutants")]
pub(crate) async fn at(step: &str, undo: bool, moment: Moment) {
    const LOOK_EVERY: std::time::Duration = std::time::Duration::from_millis(5);
    let Some(folder) = std::env::var_os("REEVE_HOLD").map(std::path::PathBuf::from) else {
        return;
    };
    let moment = match moment {
        Moment::Before => "before",
        Moment::After => "after",
        Moment::Journaled => "journaled",
    };
    let way = if undo { "undo" } else { "forward" };
    let this = format!("{step} {way} {moment}");
    let wanted = || std::fs::read_to_string(folder.join("at")).is_ok_and(|at| at == this);
    if !wanted() || std::fs::write(folder.join("here"), &this).is_err() {
        return;
    }
    while wanted() {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
