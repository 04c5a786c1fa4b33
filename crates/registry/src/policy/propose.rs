//! The one way into the log: an entry that says who asked, what was true then, and how to write it down.

use std::time::Duration;

use reeve_domain::audit::Seed;
use reeve_domain::entry::FORMAT;
use reeve_domain::request::Key;
use reeve_domain::{Applied, Command, Entry, Stamp, State, apply};
use tokio::time::Instant;

use crate::consensus::{Committed, Forwarded, Turn, Unavailable};
use crate::policy::{Permit, gate};
use crate::rooms::Rooms;

/// What is to be proposed, beside who may.
#[derive(Clone, Debug)]
pub struct Intent {
    command: Command,
    request: Option<Key>,
    reason: String,
    trace_id: String,
}

impl Intent {
    /// A command without more words.
    pub fn new(command: Command) -> Intent {
        Intent {
            command,
            request: None,
            reason: String::new(),
            trace_id: String::new(),
        }
    }

    /// Happens once, however often it is sent.
    pub fn once(mut self, key: Key) -> Intent {
        self.request = Some(key);
        self
    }

    /// Why, in the caller's words.
    pub fn because(mut self, reason: String) -> Intent {
        self.reason = reason;
        self
    }

    /// Ties the record to a trace.
    pub fn traced(mut self, trace_id: String) -> Intent {
        self.trace_id = trace_id;
        self
    }
}

impl From<Command> for Intent {
    fn from(command: Command) -> Intent {
        Intent::new(command)
    }
}

/// Proposes, and answers what the state machine made of it. A permit is for one proposal.
pub async fn propose(
    rooms: &Rooms,
    permit: Permit,
    intent: impl Into<Intent>,
    patience: Duration,
) -> Result<Committed, Unavailable> {
    say(rooms, permit, intent.into(), patience, None).await
}

/// The same for a node that leaves, in its turn.
pub async fn propose_in_turn(
    rooms: &Rooms,
    permit: Permit,
    intent: Intent,
    patience: Duration,
    turn: &Turn,
) -> Result<Committed, Unavailable> {
    say(rooms, permit, intent, patience, Some(turn)).await
}

async fn say(
    rooms: &Rooms,
    permit: Permit,
    intent: Intent,
    patience: Duration,
    turn: Option<&Turn>,
) -> Result<Committed, Unavailable> {
    let deadline = Instant::now() + patience;
    #[cfg(feature = "mutants")]
    let intent = Intent {
        command: crate::release::rehearsed(intent.command),
        ..intent
    };
    if !gate::covers(&permit, &intent.command) {
        return Err(Unavailable::Broken(
            "a permit was shown for another command".to_owned(),
        ));
    }
    let caller = gate::pack(&permit)?;
    let published = rooms.consensus.published();
    let source = permit.caller.as_ref().map(|caller| caller.address);
    let personal = source.and_then(|source| {
        rooms
            .authority
            .personal(&published.state, permit.tenant.as_ref(), source)
    });
    let mut entry = entry(permit, intent);
    entry.seed.salt = rand::random();
    entry.seed.personal = personal;
    let begun = Instant::now();
    let (consensus, proposal) = (&rooms.consensus, Forwarded { entry, caller });
    let answer = match turn {
        Some(turn) => consensus.propose_in_turn(turn, proposal, deadline).await,
        None => consensus.propose(proposal, deadline).await,
    };
    rooms.metrics.proposed(&answer, begun.elapsed());
    answer
}

/// What would happen now, told without proposing it. The state given is only looked at.
pub fn rehearse(permit: Permit, intent: impl Into<Intent>, state: &State) -> (State, Applied) {
    let mut copy = state.clone();
    let mut entry = entry(permit, intent.into());
    // A rehearsal is no answer to remember, and must not find one either.
    entry.request = None;
    entry.stamp = copy.clock;
    let applied = apply(&mut copy, &entry);
    (copy, applied)
}

fn entry(permit: Permit, intent: Intent) -> Entry {
    Entry {
        format: FORMAT,
        // The leader writes its own time into it.
        stamp: Stamp(0),
        actor: permit.actor,
        principal_rev: permit.principal_rev,
        policy_rev: permit.policy_rev,
        request: intent.request,
        seed: Seed {
            salt: [0; 16],
            personal: None,
            reason: intent.reason,
            trace_id: intent.trace_id,
            certificate: permit.caller.and_then(|caller| caller.certificate),
        },
        command: intent.command,
    }
}
