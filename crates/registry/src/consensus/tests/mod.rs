//! The store under openraft's own suite, and three nodes over real sockets.

mod cluster;
mod nodes;
mod store;
