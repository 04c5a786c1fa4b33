//! The store under openraft's own suite, three nodes over real sockets, and thousands of days in a simulation.

mod cluster;
mod crash;
mod nodes;
mod reads;
pub(super) mod sim;
mod store;
mod survivor;
