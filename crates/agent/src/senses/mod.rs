//! Senses: they look, and never act.

mod around;
pub mod health;
pub mod isolation;
pub mod prober;
