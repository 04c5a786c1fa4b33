//! How a snapshot's file is laid out, and what is said of one that is not so.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::consensus::types::SnapshotMeta;

pub(super) const MAGIC: &[u8; 8] = b"REEVESN1";
/// Plain bytes in a block at the most. In this crate's own tests small States have several blocks, too.
pub(super) const BLOCK_BYTES_MAX: usize = if cfg!(test) { 512 } else { 1 << 20 };
/// A sealed block that is longer was written by nobody, whatever this program cuts its own to.
pub(super) const SEALED_BYTES_MAX: usize = 2 << 20;
pub(super) const HEADER_BYTES_MAX: usize = 1 << 20;
/// Of a sector that the disk cannot read.
const EIO: i32 = 5;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    pub(super) format: u32,
    pub(super) cluster: String,
    pub(super) meta: SnapshotMeta,
}

pub(super) const FORMAT: u32 = 1;
/// SHA-256, at the end of the file.
pub(super) const SUM_BYTES: u64 = 32;

pub(super) fn damaged(path: &Path, what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("snapshot {} is damaged: {what}", path.display()),
    )
}

pub(super) fn is_damage(error: &io::Error) -> bool {
    let is_odd = matches!(
        error.kind(),
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
    );
    is_odd || error.raw_os_error() == Some(EIO)
}
