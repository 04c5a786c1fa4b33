//! A value that is read, written and compared; each change gives it a revision, and revisions only grow.

use serde::{Deserialize, Serialize};

use super::Model;

pub struct Register;

/// A value, and where it changed last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Held {
    value: String,
    /// None after a change that nobody was told the revision of.
    changed: Option<u64>,
    /// No change since was at this revision or before.
    after: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    Read,
    Write(String),
    /// Writes only if the last change was at this revision.
    CompareAndSet {
        changed: u64,
        value: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Said {
    Value {
        value: String,
        changed: u64,
    },
    Done {
        revision: u64,
    },
    /// It had changed since.
    Stale,
}

impl Held {
    /// What a read would have said had it changed last at this revision.
    fn read_at(&self, changed: u64) -> Said {
        Said::Value {
            value: self.value.clone(),
            changed,
        }
    }

    fn written(&self, value: &str, revision: Option<u64>) -> Option<Held> {
        let is_later = revision.is_none_or(|revision| revision > self.after);
        is_later.then(|| Held {
            value: value.to_owned(),
            changed: revision,
            after: revision.unwrap_or(self.after),
        })
    }
}

impl Model for Register {
    type State = Held;
    type Op = Op;
    type Said = Said;

    fn step(held: &Held, op: &Op, said: Option<&Said>) -> Option<Held> {
        match (op, said) {
            (Op::Read, None) => Some(held.clone()),
            (Op::Read, Some(Said::Value { value, changed })) => {
                let fits = match held.changed {
                    Some(known) => known == *changed,
                    None => *changed > held.after || held.after == 0,
                };
                (fits && *value == held.value).then(|| Held {
                    changed: Some(*changed),
                    after: *changed,
                    ..held.clone()
                })
            }
            (Op::Write(value), None) => held.written(value, None),
            (Op::Write(value), Some(Said::Done { revision })) => held.written(value, Some(*revision)),
            (Op::CompareAndSet { changed, value }, None) => match held.changed {
                Some(known) if known != *changed => Some(held.clone()),
                _ => held.written(value, None),
            },
            (Op::CompareAndSet { changed, value }, Some(Said::Done { revision })) => {
                let known = Register::step(held, &Op::Read, Some(&held.read_at(*changed)))?;
                known.written(value, Some(*revision))
            }
            (Op::CompareAndSet { changed, .. }, Some(Said::Stale)) => {
                (held.changed != Some(*changed)).then(|| held.clone())
            }
            _ => None,
        }
    }
}
