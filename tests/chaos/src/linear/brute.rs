//! The same question answered by trying every order: slow, and too simple to be wrong.

use super::{Answer, EventOf, Model};

/// Whether some order explains the answers of one key.
pub fn is_linearizable<M: Model>(events: &[EventOf<M>]) -> bool {
    let open: Vec<_> = events
        .iter()
        .filter(|event| !matches!(event.answer, Answer::Failed))
        .collect();
    some_order::<M>(&M::State::default(), &open)
}

fn some_order<M: Model>(state: &M::State, open: &[&EventOf<M>]) -> bool {
    if open.iter().all(|event| event.said().is_none()) {
        return true;
    }
    (0..open.len()).any(|at| {
        let next = open[at];
        // Nobody may come after one that was asked when it was already over.
        let is_first = open.iter().all(|other| other.over_ns() >= next.asked_ns);
        let Some(after) = M::step(state, &next.op, next.said()).filter(|_| is_first) else {
            return false;
        };
        let rest: Vec<_> = open
            .iter()
            .enumerate()
            .filter(|(i, _)| *i != at)
            .map(|(_, event)| *event)
            .collect();
        some_order::<M>(&after, &rest)
    })
}
