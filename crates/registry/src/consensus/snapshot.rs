//! Snapshots: our own files, sealed block by block, checked whole before use.
//!
//! ```text
//! magic | header len | sealed header | (len | crc32c | sealed block)* | 0 | SHA-256 of all before
//! ```
//! Written beside, fsynced, renamed, folder fsynced; two are kept.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use reeve_domain::State;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::types::SnapshotMeta;
use crate::vault::Sealer;

const MAGIC: &[u8; 8] = b"REEVESN1";
/// Plain bytes in a block at the most.
pub(super) const BLOCK_BYTES_MAX: usize = 1 << 20;
const KEEP: usize = 2;

/// Where a node keeps its snapshots.
#[derive(Clone)]
pub(super) struct SnapshotStore {
    folder: PathBuf,
    cluster: String,
    sealer: Sealer,
}

/// A whole snapshot on disk.
#[derive(Clone, Debug)]
pub struct SnapshotFile {
    pub(super) path: PathBuf,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: u32,
    cluster: String,
    meta: SnapshotMeta,
}

const FORMAT: u32 = 1;

fn damaged(path: &Path, what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("snapshot {} is damaged: {what}", path.display()),
    )
}

impl SnapshotStore {
    pub(super) fn open(folder: PathBuf, cluster: &str, sealer: Sealer) -> io::Result<SnapshotStore> {
        fs::create_dir_all(&folder)?;
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "tmp") {
                fs::remove_file(path)?;
            }
        }
        Ok(SnapshotStore {
            folder,
            cluster: cluster.to_owned(),
            sealer,
        })
    }

    /// Writes a state; `before_rename` makes durable what the snapshot supersedes.
    pub(super) fn write(
        &self,
        meta: &SnapshotMeta,
        state: &State,
        before_rename: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<SnapshotFile> {
        let mut writer = self.writer(meta)?;
        rmp_serde::encode::write_named(&mut writer, state).map_err(io::Error::other)?;
        writer.finish(before_rename)
    }

    /// Begins a file that blocks are pushed into.
    pub(super) fn writer(&self, meta: &SnapshotMeta) -> io::Result<Writer> {
        let index = meta.last_log_id.as_ref().map_or(0, |id| id.index);
        let path = self.folder.join(format!("snapshot-{index:020}"));
        let draft = path.with_extension("tmp");
        let mut out = Hashing {
            to: BufWriter::new(File::create(&draft)?),
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
            store: self.clone(),
            draft,
            path,
            out,
            block: Vec::new(),
            blocks: 0,
        })
    }

    /// The newest snapshot that is whole. A damaged one is an error, not a reason to use an older one in silence.
    pub(super) fn newest(&self) -> io::Result<Option<(SnapshotMeta, SnapshotFile)>> {
        let Some(path) = self.files()?.pop() else {
            return Ok(None);
        };
        let (meta, _) = Reader::open(self, &path)?;
        Ok(Some((meta, SnapshotFile { path })))
    }

    /// Reads and checks a whole snapshot.
    pub(super) fn load(&self, file: &SnapshotFile) -> io::Result<(SnapshotMeta, State)> {
        let (meta, mut reader) = Reader::open(self, &file.path)?;
        let state: State =
            rmp_serde::from_read(&mut reader).map_err(|error| damaged(&file.path, &error.to_string()))?;
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest)?;
        if !rest.is_empty() {
            return Err(damaged(&file.path, "bytes are left over"));
        }
        Ok((meta, state))
    }

    /// Takes a whole snapshot that lies elsewhere into this folder.
    pub(super) fn take_in(&self, file: SnapshotFile) -> io::Result<SnapshotFile> {
        if file.path.parent() == Some(self.folder.as_path()) {
            return Ok(file);
        }
        let (meta, mut reader) = Reader::open(self, &file.path)?;
        let mut writer = self.writer(&meta)?;
        io::copy(&mut reader, &mut writer)?;
        writer.finish(|| Ok(()))
    }

    /// Opens a snapshot to be sent, block by block.
    pub(super) fn blocks(&self, file: &SnapshotFile) -> io::Result<Reader> {
        Ok(Reader::open(self, &file.path)?.1)
    }

    fn files(&self) -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let is_ours = path
                .file_name()
                .and_then(|n| n.to_str())
                .is_some_and(|n| n.starts_with("snapshot-"));
            if is_ours && path.extension().is_none() {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }

    fn prune(&self) -> io::Result<()> {
        let files = self.files()?;
        for path in files.iter().rev().skip(KEEP) {
            fs::remove_file(path)?;
        }
        Ok(())
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
pub(super) struct Writer {
    store: SnapshotStore,
    draft: PathBuf,
    path: PathBuf,
    out: Hashing,
    block: Vec<u8>,
    blocks: u64,
}

impl Writer {
    fn flush_block(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let place = format!("snapshot/{}", self.blocks);
        let sealed = self
            .store
            .sealer
            .seal(place.as_bytes(), &self.block)
            .map_err(io::Error::other)?;
        self.out.write_all(&(sealed.len() as u32).to_be_bytes())?;
        self.out.write_all(&crc32c::crc32c(&sealed).to_be_bytes())?;
        self.out.write_all(&sealed)?;
        self.block.clear();
        self.blocks += 1;
        Ok(())
    }

    pub(super) fn finish(
        mut self,
        before_rename: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<SnapshotFile> {
        self.flush_block()?;
        self.out.write_all(&0u32.to_be_bytes())?;
        let sum = self.out.sum.clone().finalize();
        self.out.to.write_all(&sum)?;
        self.out.to.flush()?;
        self.out.to.get_ref().sync_all()?;
        before_rename()?;
        fs::rename(&self.draft, &self.path)?;
        File::open(&self.store.folder)?.sync_all()?;
        self.store.prune()?;
        Ok(SnapshotFile {
            path: self.path.clone(),
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

/// A snapshot being read; its bytes are those of the state.
pub(super) struct Reader {
    path: PathBuf,
    from: BufReader<File>,
    sealer: Sealer,
    block: Vec<u8>,
    at: usize,
    blocks: u64,
    ended: bool,
}

impl Reader {
    fn open(store: &SnapshotStore, path: &Path) -> io::Result<(SnapshotMeta, Reader)> {
        check_sum(path)?;
        let mut from = BufReader::new(File::open(path)?);
        let mut magic = [0; 8];
        from.read_exact(&mut magic)?;
        if &magic != MAGIC {
            return Err(damaged(path, "it does not begin as a snapshot"));
        }
        let len = read_u32(&mut from)? as usize;
        if len > BLOCK_BYTES_MAX * 2 {
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
    pub(super) fn next_block(&mut self) -> io::Result<Option<Vec<u8>>> {
        if self.ended {
            return Ok(None);
        }
        let len = read_u32(&mut self.from)? as usize;
        if len == 0 {
            self.ended = true;
            return Ok(None);
        }
        if len > BLOCK_BYTES_MAX * 2 {
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
fn check_sum(path: &Path) -> io::Result<()> {
    let len = fs::metadata(path)?.len();
    let body = len
        .checked_sub(32)
        .ok_or_else(|| damaged(path, "it is too short"))?;
    let mut from = BufReader::new(File::open(path)?);
    let mut sum = Sha256::new();
    io::copy(&mut from.by_ref().take(body), &mut sum)?;
    let mut written = [0; 32];
    from.read_exact(&mut written)?;
    if sum.finalize().as_slice() != written {
        return Err(damaged(path, "its sum does not match"));
    }
    Ok(())
}
