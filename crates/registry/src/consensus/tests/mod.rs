//! The store under openraft's own suite, three nodes over real sockets, and thousands of days in a simulation.

mod behind;
mod cluster;
mod crash;
mod flips;
mod golden;
mod nodes;
mod reads;
mod release;
mod removed;
mod scrubbing;
pub(super) mod sim;
mod store;
mod streams;
mod survivor;
mod transfer;
