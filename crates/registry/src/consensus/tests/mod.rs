//! The store under openraft's own suite, and three nodes over real sockets.

mod cluster;
mod crash;
mod nodes;
mod store;
mod survivor;
