//! The wire: generated code, who is at the other end, and wire ⇄ domain conversions.

pub mod convert;
pub mod error;
pub mod identity;
mod rpc;
pub mod seats;

pub use rpc::Rpc;

/// The public API, one file per service.
#[allow(clippy::all, missing_docs, reason = "generated")]
pub mod v1 {
    tonic::include_proto!("reeve.v1");
}

/// What registry nodes say to each other on the peer port.
pub mod internal {
    #[allow(clippy::all, missing_docs, reason = "generated")]
    pub mod v1 {
        tonic::include_proto!("reeve.internal.v1");
    }
}

/// All descriptors, for reflection and for tests.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
