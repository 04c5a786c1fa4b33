//! Who is speaking: SPIFFE identities, the certificates that prove them, and the TLS that checks both.
//!
//! ```text
//! token ─► csr ─► ca (the leader signs) ─► credentials ─┬─► server     (who is calling me?)
//!                                                       └─► connector  (am I calling a node?)
//! ```
//! Deliberately absent: sealing of the issuing key (it arrives here opened), the list of join tokens,
//! and any decision about what an identity may do.

pub mod ca;
pub mod certificate;
pub mod connector;
pub mod credentials;
pub mod csr;
mod doorkeeper;
pub mod record;
pub mod server;
pub mod spiffe;
pub mod token;
mod verify;

#[cfg(test)]
mod tests;

pub use ca::{Authority, Issued, Issuer, Usage};
pub use certificate::{Certificate, SpkiPin};
pub use connector::{Connector, Expect, Tuning, channel, connector, pinned};
pub use credentials::Credentials;
pub use csr::KeyRequest;
pub use doorkeeper::{Bounds, RESERVED_MAX, network};
pub use server::{ClientAuth, Peer, TlsConn, incoming, server_config};
pub use spiffe::{Kind, SpiffeId};
pub use token::JoinToken;

use std::sync::Arc;

/// The one cryptography provider; named here so that no process default is needed.
pub(crate) fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
