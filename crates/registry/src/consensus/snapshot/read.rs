//! Reading a snapshot: its sum over the whole file first, then block by block.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::SnapshotStore;
use super::layout::{
    BLOCK_BYTES_MAX, FORMAT, HEADER_BYTES_MAX, Header, MAGIC, SEALED_BYTES_MAX, SUM_BYTES, damaged,
};
use crate::consensus::types::SnapshotMeta;
use crate::vault::Sealer;

/// A snapshot being read; its bytes are those of the state.
pub(in crate::consensus) struct Reader {
    path: PathBuf,
    id: [u8; SUM_BYTES as usize],
    from: BufReader<File>,
    sealer: Sealer,
    block: Vec<u8>,
    at: usize,
    blocks: u64,
    ended: bool,
}

impl Reader {
    /// What tells this file from every other one: its sum.
    pub(in crate::consensus) fn id(&self) -> [u8; SUM_BYTES as usize] {
        self.id
    }

    pub(super) fn open(store: &SnapshotStore, path: &Path) -> io::Result<(SnapshotMeta, Reader)> {
        let id = check_sum(store, path, |_| Ok(()))?;
        let mut from = BufReader::new(File::open(path)?);
        let mut magic = [0; 8];
        from.read_exact(&mut magic)?;
        if &magic != MAGIC {
            return Err(damaged(path, "it does not begin as a snapshot"));
        }
        let len = read_u32(&mut from)? as usize;
        if len > HEADER_BYTES_MAX {
            return Err(damaged(path, "its header is too long"));
        }
        let mut header = vec![0; len];
        from.read_exact(&mut header)?;
        let header = store
            .sealer
            .open(b"snapshot/header", &header)
            .map_err(|e| damaged(path, &e.to_string()))?;
        let header: Header = rmp_serde::from_slice(&header).map_err(|e| damaged(path, &e.to_string()))?;
        if header.format != FORMAT || header.cluster != store.cluster {
            return Err(damaged(path, "it is of another cluster or format"));
        }
        let reader = Reader {
            path: path.to_owned(),
            id,
            from,
            sealer: store.sealer.clone(),
            block: Vec::new(),
            at: 0,
            blocks: 0,
            ended: false,
        };
        Ok((header.meta, reader))
    }

    /// The next block, or none at the end.
    pub(in crate::consensus) fn next_block(&mut self) -> io::Result<Option<Vec<u8>>> {
        if self.ended {
            return Ok(None);
        }
        let len = read_u32(&mut self.from)? as usize;
        if len == 0 {
            self.ended = true;
            return Ok(None);
        }
        if len > SEALED_BYTES_MAX {
            return Err(damaged(&self.path, "a block is too long"));
        }
        let sum = read_u32(&mut self.from)?;
        let mut sealed = vec![0; len];
        self.from.read_exact(&mut sealed)?;
        if crc32c::crc32c(&sealed) != sum {
            return Err(damaged(
                &self.path,
                &format!("block {} has another checksum", self.blocks),
            ));
        }
        let place = format!("snapshot/{}", self.blocks);
        let plain = self
            .sealer
            .open(place.as_bytes(), &sealed)
            .map_err(|e| damaged(&self.path, &e.to_string()))?;
        self.blocks += 1;
        Ok(Some(plain))
    }
}

impl Read for Reader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at == self.block.len() {
            self.block = self.next_block()?.unwrap_or_default();
            self.at = 0;
        }
        let taken = into.len().min(self.block.len() - self.at);
        into[..taken].copy_from_slice(&self.block[self.at..self.at + taken]);
        self.at += taken;
        Ok(taken)
    }
}

fn read_u32(from: &mut impl Read) -> io::Result<u32> {
    let mut bytes = [0; 4];
    from.read_exact(&mut bytes)?;
    Ok(u32::from_be_bytes(bytes))
}

/// Checks the sum over the whole file before any of it is believed.
pub(super) fn check_sum(
    store: &SnapshotStore,
    path: &Path,
    mut rest: impl FnMut(u64) -> io::Result<()>,
) -> io::Result<[u8; SUM_BYTES as usize]> {
    let len = fs::metadata(path)?.len();
    let mut left = len
        .checked_sub(SUM_BYTES)
        .ok_or_else(|| damaged(path, &format!("it is too short, {len} bytes")))?;
    let mut from = File::open(path)?;
    let (mut sum, mut piece) = (Sha256::new(), vec![0; BLOCK_BYTES_MAX]);
    while left > 0 {
        let wanted = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        from.read_exact(&mut piece[..wanted])?;
        sum.update(&piece[..wanted]);
        left -= wanted as u64;
        rest(wanted as u64)?;
    }
    let mut written = [0; SUM_BYTES as usize];
    from.read_exact(&mut written)?;
    if sum.finalize().as_slice() != written {
        let place = odd_place(store, path).unwrap_or_else(|error| error.to_string());
        return Err(damaged(path, &format!("its sum does not match, {place}")));
    }
    Ok(written)
}

/// Where a file whose sum does not match is odd, as far as its blocks can tell.
fn odd_place(store: &SnapshotStore, path: &Path) -> io::Result<String> {
    let bytes = fs::read(path)?;
    let body = &bytes[..bytes.len().saturating_sub(SUM_BYTES as usize)];
    let number = |at: usize| {
        let four = body.get(at..)?.first_chunk()?;
        usize::try_from(u32::from_be_bytes(*four)).ok()
    };
    if !body.starts_with(MAGIC) {
        return Ok("from byte 0 on: it does not begin as a snapshot".to_owned());
    }
    let begins = MAGIC.len() + 4;
    let mut at = begins + number(MAGIC.len()).unwrap_or(body.len());
    let opens = |header: &[u8]| store.sealer.open(b"snapshot/header", header).is_ok();
    if !body.get(begins..at).is_some_and(opens) {
        return Ok(format!("from byte {} on: its header does not open", MAGIC.len()));
    }
    for block in 0.. {
        let Some(len) = number(at) else {
            return Ok(format!("at byte {at}: block {block} is cut off"));
        };
        if len == 0 {
            break;
        }
        let is_whole = body.get(at + 8..at + 8 + len).map(crc32c::crc32c).map(u64::from)
            == number(at + 4).map(|sum| sum as u64);
        if !is_whole {
            return Ok(format!("from byte {at} on: block {block} has another checksum"));
        }
        at += 8 + len;
    }
    Ok(format!("from byte {at} on: its end"))
}
