//! Whether a history could have happened one operation after the other, in an order that nobody saw contradicted.
//!
//! ```text
//! history: what was asked and answered, and when ─► by key ─► wgl: an order that the model allows, or none
//!                                                             brute: the same by trying everything, for small ones
//! ```

pub mod brute;
pub mod history;
pub mod register;
#[cfg(test)]
mod tests;
pub mod wgl;

use std::fmt::Debug;
use std::hash::Hash;

pub use history::{Answer, Event};
pub use wgl::{Verdict, check};

/// What one key does when operations come one after the other.
pub trait Model {
    type State: Clone + Debug + Default + Eq + Hash;
    type Op: Clone + Debug;
    type Said: Clone + Debug;

    /// The state after an operation that was answered so; none when it cannot be answered so in this state. An
    /// operation that nobody heard of again is given without an answer, and has been done.
    fn step(state: &Self::State, op: &Self::Op, said: Option<&Self::Said>) -> Option<Self::State>;
}

/// An event of this model's.
pub type EventOf<M> = Event<<M as Model>::Op, <M as Model>::Said>;
