//! Senses: they look, and never act.

mod around;
pub mod isolation;
pub mod prober;
