//! The command line: one file per noun, thin over the client.
//!
//! Standard output is data; messages and progress go to standard error.

pub mod args;
pub mod audit;
pub mod cluster;
pub mod connect;
pub mod context;
pub mod demo;
pub mod dev;
pub mod exit;
pub mod group;
pub mod op;
pub mod output;
pub mod resolve;
pub mod tenant;
