//! Writes a backup: State at one revision, and everything that the archive holds up to it.

use std::io::{self, Write};
use std::time::SystemTime;

use aws_lc_rs::rand;
use reeve_domain::entry::FORMAT as ENTRY_FORMAT;
use reeve_domain::secret::Sealed;
use reeve_domain::{Revision, State};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::frame::{FrameWriter, Kind};
use super::{BackupError, FORMAT, Header};
use crate::archive::Change;
use crate::vault::{self, KeyProvider, Sealer};

/// Where the key of one file is sealed to.
pub(super) const KEY_PLACE: &str = "backup_key";
/// Plain bytes in a block, about.
const BLOCK_BYTES: usize = 512 << 10;

/// What opens a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyFrame {
    pub(super) format: u32,
    pub(super) key: Sealed,
}

/// How much is in it: a file that was cut between two blocks is found out.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Foot {
    pub(super) state_bytes: u64,
    pub(super) changes: u64,
    pub(super) records: u64,
}

/// What is to be copied.
pub struct Copy<'a> {
    pub state: &'a State,
    /// Gives the changes from a revision on, in order; none when there are none.
    pub changes: &'a mut dyn FnMut(Revision) -> Result<Vec<Change>, BackupError>,
    /// Hears how many changes were written so far.
    pub said: &'a mut dyn FnMut(u64),
}

/// What a file of this State will say of itself.
pub fn header(state: &State, node: u64, now: SystemTime) -> Header {
    let never: u64 = state.leaps.iter().map(|leap| leap.to.0 + 1 - leap.from.0).sum();
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Header {
        format: FORMAT,
        entry_format: ENTRY_FORMAT,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        node,
        cluster: state.cluster.name.clone(),
        cluster_id: state.cluster.id.clone(),
        cluster_version: state.cluster.version,
        revision: state.revision.0,
        tenants: state.tenants.len() as u64,
        changes: state.revision.0 - never,
        saved_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
        state_hash: state.hash(),
    }
}

/// Writes all of it; gives back the sum over the file.
pub fn save(
    to: impl Write,
    root: &dyn KeyProvider,
    header: &Header,
    copy: Copy<'_>,
) -> Result<[u8; 32], BackupError> {
    let mut key = Zeroizing::new([0; 32]);
    rand::fill(key.as_mut_slice()).map_err(|_| vault::Error::NoRandomness)?;
    let mut out = Sealing {
        frames: FrameWriter::begin(to)?,
        sealer: Sealer::new(&key),
    };
    let frame = KeyFrame {
        format: FORMAT,
        key: root.seal(KEY_PLACE, key.as_slice())?,
    };
    out.frames.put(Kind::Key, &pack(&frame)?)?;
    out.put(Kind::Header, &pack(header)?)?;

    let mut blocks = Blocks {
        out: &mut out,
        block: Vec::new(),
        bytes: 0,
    };
    rmp_serde::encode::write_named(&mut blocks, copy.state).map_err(io::Error::other)?;
    blocks.flush_block()?;
    let mut foot = Foot {
        state_bytes: blocks.bytes,
        changes: 0,
        records: 0,
    };
    put_changes(&mut out, copy, &mut foot)?;
    out.put(Kind::Foot, &pack(&foot)?)?;
    Ok(out.frames.end()?)
}

fn put_changes<W: Write>(out: &mut Sealing<W>, copy: Copy<'_>, foot: &mut Foot) -> Result<(), BackupError> {
    let last = copy.state.revision;
    let mut next = Revision(1);
    let mut block = Vec::new();
    while next <= last {
        let changes = (copy.changes)(next)?;
        let Some(end) = changes.last().map(|change| change.revision) else {
            // A leap may be all that is left, and it holds nothing.
            break;
        };
        for change in changes.iter().filter(|change| change.revision <= last) {
            block.append(&mut pack(change)?);
            foot.changes += 1;
            foot.records += u64::from(change.record.is_some());
            if block.len() >= BLOCK_BYTES {
                out.put(Kind::Changes, &block)?;
                block.clear();
            }
        }
        next = end.next();
        (copy.said)(foot.changes);
    }
    if !block.is_empty() {
        out.put(Kind::Changes, &block)?;
    }
    Ok(())
}

pub(super) fn pack<T: Serialize>(value: &T) -> Result<Vec<u8>, BackupError> {
    rmp_serde::to_vec_named(value).map_err(|error| BackupError::Io(io::Error::other(error)))
}

/// Frames whose bodies are sealed.
struct Sealing<W> {
    frames: FrameWriter<W>,
    sealer: Sealer,
}

impl<W: Write> Sealing<W> {
    fn put(&mut self, kind: Kind, plain: &[u8]) -> Result<(), BackupError> {
        let sealed = self.sealer.seal(&kind.place(self.frames.number()), plain)?;
        Ok(self.frames.put(kind, &sealed)?)
    }
}

/// Cuts what is written into blocks.
struct Blocks<'a, W> {
    out: &'a mut Sealing<W>,
    block: Vec<u8>,
    bytes: u64,
}

impl<W: Write> Blocks<'_, W> {
    fn flush_block(&mut self) -> io::Result<()> {
        if !self.block.is_empty() {
            self.out.put(Kind::State, &self.block).map_err(io::Error::other)?;
            self.block.clear();
        }
        Ok(())
    }
}

impl<W: Write> Write for Blocks<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(BLOCK_BYTES - self.block.len());
        self.block.extend_from_slice(&bytes[..taken]);
        self.bytes += taken as u64;
        if self.block.len() == BLOCK_BYTES {
            self.flush_block()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
