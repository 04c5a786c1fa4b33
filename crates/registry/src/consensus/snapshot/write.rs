//! Writing a snapshot: sealed block by block, a little at a time, summed as it goes.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::layout::{BLOCK_BYTES_MAX, FORMAT, Header, MAGIC};
use super::{Draft, SnapshotFile, SnapshotStore};
use crate::consensus::types::SnapshotMeta;
use crate::vault::Sealer;

/// After so many bytes the disk is given a rest: the log's flushes share it, and wait behind what it was given.
const BYTES_AT_ONCE: usize = 256 << 10;
/// The rest is so many times as long as the disk took, and no longer than this.
const REST: u32 = 2;
const REST_MAX: Duration = Duration::from_millis(50);

impl SnapshotStore {
    /// Begins a file that blocks are pushed into.
    pub(in crate::consensus) fn writer(&self, meta: &SnapshotMeta) -> io::Result<Writer> {
        // One may come from the leader while this node writes its own: each draft has its own name.
        let number = self.drafts.fetch_add(1, Ordering::Relaxed);
        let draft = Draft(self.path_of(meta).with_extension(format!("{number}.tmp")));
        let mut out = Hashing {
            to: BufWriter::new(File::create(&draft.0)?),
            sum: Sha256::new(),
        };
        let header = Header {
            format: FORMAT,
            cluster: self.cluster.clone(),
            meta: meta.clone(),
        };
        let header = rmp_serde::to_vec_named(&header).map_err(io::Error::other)?;
        let header = self
            .sealer
            .seal(b"snapshot/header", &header)
            .map_err(io::Error::other)?;
        out.write_all(MAGIC)?;
        out.write_all(&(header.len() as u32).to_be_bytes())?;
        out.write_all(&header)?;
        Ok(Writer {
            sealer: self.sealer.clone(),
            draft,
            out,
            block: Vec::new(),
            blocks: 0,
            unsynced: 0,
        })
    }
}

struct Hashing {
    to: BufWriter<File>,
    sum: Sha256,
}

impl Hashing {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum.update(bytes);
        self.to.write_all(bytes)
    }
}

/// A snapshot being written.
pub(in crate::consensus) struct Writer {
    sealer: Sealer,
    draft: Draft,
    out: Hashing,
    block: Vec<u8>,
    blocks: u64,
    unsynced: usize,
}

impl Writer {
    fn flush_block(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let place = format!("snapshot/{}", self.blocks);
        let sealed = self
            .sealer
            .seal(place.as_bytes(), &self.block)
            .map_err(io::Error::other)?;
        self.out.write_all(&(sealed.len() as u32).to_be_bytes())?;
        self.out.write_all(&crc32c::crc32c(&sealed).to_be_bytes())?;
        for piece in sealed.chunks(BYTES_AT_ONCE) {
            self.out.write_all(piece)?;
            self.rest_after(piece.len())?;
        }
        self.block.clear();
        self.blocks += 1;
        Ok(())
    }

    fn rest_after(&mut self, bytes: usize) -> io::Result<()> {
        self.unsynced += bytes;
        if self.unsynced < BYTES_AT_ONCE {
            return Ok(());
        }
        self.unsynced = 0;
        self.out.to.flush()?;
        let began = Instant::now();
        self.out.to.get_ref().sync_data()?;
        std::thread::sleep((began.elapsed() * REST).min(REST_MAX));
        Ok(())
    }

    /// Ends the file and makes it durable. It stays a draft until it is taken in.
    pub(in crate::consensus) fn finish(mut self) -> io::Result<SnapshotFile> {
        self.flush_block()?;
        self.out.write_all(&0u32.to_be_bytes())?;
        let sum = self.out.sum.clone().finalize();
        self.out.to.write_all(&sum)?;
        self.out.to.flush()?;
        self.out.to.get_ref().sync_all()?;
        Ok(SnapshotFile {
            path: self.draft.0.clone(),
            _draft: Some(Arc::new(self.draft)),
        })
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = BLOCK_BYTES_MAX - self.block.len();
        let taken = bytes.len().min(room);
        self.block.extend_from_slice(&bytes[..taken]);
        if self.block.len() == BLOCK_BYTES_MAX {
            self.flush_block()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
