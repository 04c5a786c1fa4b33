//! What Reeve decides, as plain functions over plain values.
//!
//! ```text
//! Entry ──► apply ──► State ──► events (watch), record (audit), retired (archive)
//! State + sightings + stamp ──► plan::* ──► verdicts (what to propose, or why to wait)
//! ```
//! Deliberately absent: clocks, chance, sockets, files, async. Time and new ids arrive inside the entry.

pub mod access;
pub mod alert;
pub mod apply;
pub mod audit;
pub mod command;
pub mod credential;
pub mod digest;
pub mod entry;
pub mod event;
pub mod group;
pub mod health;
pub mod ids;
pub mod isolation;
pub mod operation;
pub mod plan;
pub mod policy;
pub mod record;
pub mod refusal;
pub mod request;
pub mod resolve;
pub mod restore;
pub mod secret;
pub mod state;
pub mod tenant;
pub mod version;
pub mod words;

pub use apply::{Applied, apply};
pub use command::{Answer, Command};
pub use entry::{Actor, Entry};
pub use event::Event;
pub use ids::{Epoch, NodeId, OperationId, PlacementNumber, RequestId, Revision, Stamp, TenantId};
pub use operation::Operation;
pub use refusal::Refusal;
pub use resolve::Resolution;
pub use state::State;
pub use tenant::Tenant;
pub use version::Versions;
