//! The command line: one file for each noun, thin over the client.
//!
//! ```text
//! main ─► app ─► tenant · op · group · cluster · resolve · audit · bench · context · dev · demo
//!                   └─► session (which fleet, as whom) ─► show (tables, JSON, …) · wait (steps, exit codes)
//! ```
//! Results go to standard output; messages, progress and errors to standard error.

/// A line on standard output. Nobody listening is no reason to stop, nor to panic as `println!` does: there is work to end.
macro_rules! say {
    ($($what:tt)*) => {{
        let _ = std::io::Write::write_fmt(&mut std::io::stdout(), format_args!("{}\n", format_args!($($what)*)));
    }};
}

mod alert;
pub mod app;
pub mod audit;
pub mod bench;
mod cluster;
mod completion;
mod confirm;
pub mod context;
mod contexts;
mod debug;
pub mod demo;
pub mod dev;
mod doctor;
mod explain;
pub mod fail;
mod files;
mod form;
mod group;
mod isolation;
mod junit;
mod mirror;
mod op;
mod principal;
mod region;
mod resolve;
mod secret;
mod session;
pub mod show;
mod tenant;
mod turn;
mod version;
mod wait;
