//! Requests of which an entry is in this leader's log and not applied: what becomes of them is not known yet, and until
//! it is, nobody may be told that they were refused.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use parking_lot::Mutex;
use reeve_domain::{Entry, digest};

/// Requests under way. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct UnderWay(Arc<Inner>);

#[derive(Default)]
struct Inner {
    hasher: RandomState,
    written: Mutex<Written>,
}

/// By their hashes: two that share one only wait for each other.
#[derive(Default)]
struct Written {
    term: u64,
    requests: HashSet<u64>,
}

impl UnderWay {
    /// It is about to be written to the log. What was written in an earlier term is applied, or gone, before a leader is
    /// settled in the next one.
    pub(super) fn write(&self, term: u64, entry: &Entry) {
        let hash = self.hash(entry);
        let mut written = self.0.written.lock();
        if written.term != term {
            *written = Written {
                term,
                requests: HashSet::new(),
            };
        }
        written.requests.insert(hash);
    }

    /// The hash of one that is applied. On a node that does not lead there is nothing to look for.
    pub(super) fn hash_if_any(&self, entry: &Entry) -> Option<u64> {
        let is_any = !self.0.written.lock().requests.is_empty();
        is_any.then(|| self.hash(entry))
    }

    /// They were applied, and the State that knows what became of them is published.
    pub(super) fn settled(&self, hashes: impl Iterator<Item = u64>) {
        let mut written = self.0.written.lock();
        for hash in hashes {
            written.requests.remove(&hash);
        }
    }

    /// Whether an earlier try of the same request may yet be carried out.
    pub(super) fn holds(&self, entry: &Entry) -> bool {
        let hash = self.hash(entry);
        self.0.written.lock().requests.contains(&hash)
    }

    /// By the caller's name for it; without one, by what it says.
    fn hash(&self, entry: &Entry) -> u64 {
        let who = entry.actor.name();
        match &entry.request {
            Some(request) => self.0.hasher.hash_one((who, &request.id)),
            None => self.0.hasher.hash_one((who, digest::of(&entry.command))),
        }
    }
}

#[cfg(test)]
mod tests {
    use reeve_domain::audit::Seed;
    use reeve_domain::request::Key;
    use reeve_domain::{Actor, Command, RequestId, Stamp};

    use super::*;

    fn entry(who: &str, id: Option<&str>) -> Entry {
        Entry {
            format: 1,
            stamp: Stamp(1),
            actor: Actor::Principal(who.to_owned()),
            principal_rev: 1,
            policy_rev: 1,
            request: id.map(|id| Key {
                id: RequestId::parse(id).unwrap(),
                hash: [7; 32],
            }),
            seed: Seed::default(),
            command: Command::RevokePrincipal {
                principal: "x".to_owned(),
            },
        }
    }

    #[test]
    fn a_request_is_under_way_from_the_log_to_the_state() {
        let under_way = UnderWay::default();
        let (one, other) = (entry("ann", Some("r-1")), entry("ann", Some("r-2")));
        under_way.write(3, &one);
        assert!(under_way.holds(&one) && !under_way.holds(&other));
        assert!(
            !under_way.holds(&entry("ben", Some("r-1"))),
            "another's of the same name"
        );
        assert!(!under_way.holds(&entry("ann", None)));
        under_way.write(3, &entry("ann", None));
        assert!(
            under_way.holds(&entry("ann", None)),
            "without a name it is what it says"
        );
        under_way.write(3, &other);
        let hash = under_way.hash_if_any(&one);
        under_way.settled(hash.into_iter());
        assert!(!under_way.holds(&one) && under_way.holds(&other));
        under_way.write(4, &one);
        assert!(!under_way.holds(&other), "of an earlier term");
    }
}
