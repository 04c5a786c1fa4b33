//! Faults planted on purpose, so that the checks can be checked. A normal build holds none of them.
//!
//! With the feature `mutants`, `REEVE_MUTANT` names the one that a process carries.

/// What can be wrong with a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// An append counts as durable before it was flushed.
    AnswerBeforeFlush,
    /// A linearizable read asks nobody how far the group has come.
    ReadWithoutIndex,
    /// A recovery takes only what its folder knew to be committed.
    RecoverCommittedOnly,
    /// A restore goes on at the copy's own numbers.
    RestoreWithoutLeap,
    /// A leader that starts again leads on in its old term.
    RestoreLeader,
    /// Applying changes something that it should not.
    StrayState,
    /// A vote is given before it was flushed.
    ForgetVote,
    /// A request that comes again is carried out again.
    ForgetRequest,
    /// A linearizable read does not wait until what it must see is applied.
    ReadBeforeApplied,
    /// A snapshot lacks the end of what it says it holds.
    ShortSnapshot,
    /// A change of the group that a crash left half done stays so.
    LeaveJoint,
    /// A learner waits for an archive that nobody can make whole.
    WaitForWhole,
    /// A snapshot gets its name before the archive that it rests on is on the disk.
    ArchiveBehind,
    /// A command is written whatever the nodes know.
    SkipVersionGate,
    /// The cluster version rises without asking the others.
    RaiseAlone,
    /// The first change under a new leader has the revision of the one before it.
    ReuseRevision,
    /// A node says of its view that it is no older than this moment, whenever it last heard of the leader.
    UnderstateAge,
    /// Now and then watchers hear that there was a change, and not what it was.
    WatchGap,
    /// A bookmark says that more was delivered than was.
    BookmarkAhead,
    /// A restore believes records that nobody signed.
    RestoreTakesUnsigned,
    /// A backup counts before it was read back.
    MarkUnread,
    /// A mark is set where another one is.
    OverwriteMark,
    /// A leader writes what its own clock says, whatever the others' do.
    OwnClock,
    /// A request is refused though an earlier try of it is in the log.
    RefuseBlindly,
    /// A call keeps its thread to itself while it runs.
    HeavyCalls,
    /// A replication stream goes on taking requests when nobody hears its answers any more.
    UnheardStreams,
    /// A node that was struck off the roll cannot be elected, although its vote is still needed.
    DenyByRoll,
}

impl Mutant {
    #[cfg(all(feature = "mutants", not(test)))]
    fn name(self) -> &'static str {
        match self {
            Mutant::AnswerBeforeFlush => "answer_before_flush",
            Mutant::ReadWithoutIndex => "read_without_index",
            Mutant::RecoverCommittedOnly => "recover_committed_only",
            Mutant::RestoreLeader => "restore_leader",
            Mutant::RestoreWithoutLeap => "restore_without_leap",
            Mutant::StrayState => "stray_state",
            Mutant::ForgetVote => "forget_vote",
            Mutant::ForgetRequest => "forget_request",
            Mutant::ReadBeforeApplied => "read_before_applied",
            Mutant::ShortSnapshot => "short_snapshot",
            Mutant::LeaveJoint => "leave_joint",
            Mutant::WaitForWhole => "wait_for_whole",
            Mutant::ArchiveBehind => "archive_behind",
            Mutant::SkipVersionGate => "skip_version_gate",
            Mutant::RaiseAlone => "raise_alone",
            Mutant::ReuseRevision => "reuse_revision",
            Mutant::UnderstateAge => "understate_age",
            Mutant::WatchGap => "watch_gap",
            Mutant::BookmarkAhead => "bookmark_ahead",
            Mutant::RestoreTakesUnsigned => "restore_takes_unsigned",
            Mutant::MarkUnread => "mark_unread",
            Mutant::OverwriteMark => "overwrite_mark",
            Mutant::OwnClock => "own_clock",
            Mutant::RefuseBlindly => "refuse_blindly",
            Mutant::HeavyCalls => "heavy_calls",
            Mutant::UnheardStreams => "unheard_streams",
            Mutant::DenyByRoll => "deny_by_roll",
        }
    }

    /// Whether the simulated node that runs on this thread carries it.
    #[cfg(test)]
    pub fn is_planted(self) -> bool {
        simulated::PLANTED.get() == Some(self)
    }

    /// Whether this process carries it.
    #[cfg(all(feature = "mutants", not(test)))]
    pub fn is_planted(self) -> bool {
        static CHOSEN: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
        let chosen = CHOSEN.get_or_init(|| std::env::var("REEVE_MUTANT").ok());
        chosen.as_deref() == Some(self.name())
    }

    /// Never, in a build without the feature.
    #[cfg(not(any(test, feature = "mutants")))]
    pub const fn is_planted(self) -> bool {
        false
    }
}

/// Refuses to run when a fault was asked for that this build cannot carry: a check that finds nothing would look well.
pub fn check(asked: Option<&str>) -> Result<(), String> {
    match asked {
        Some(name) if cfg!(not(feature = "mutants")) => Err(format!(
            "REEVE_MUTANT asks for {name}, and this program carries no mutants; build it with the feature `mutants`"
        )),
        _ => Ok(()),
    }
}

/// What a simulation plants, task by task.
#[cfg(test)]
pub(crate) mod simulated {
    use std::cell::Cell;

    thread_local! {
        pub(crate) static PLANTED: Cell<Option<super::Mutant>> = const { Cell::new(None) };
    }
}
