//! Snapshots: our own files, sealed block by block, checked whole before use.
//!
//! ```text
//! magic | header len | sealed header | (len | crc32c | sealed block)* | 0 | SHA-256 of all before
//! ```
//! Written beside, fsynced, renamed, folder fsynced; two are kept.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use reeve_domain::State;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tracing::warn;

use super::folder::REJOIN;

use super::decode::unknown_state;
use super::types::SnapshotMeta;
use crate::damage::{Damages, Part};
use crate::files;
use crate::vault::Sealer;

const MAGIC: &[u8; 8] = b"REEVESN1";
/// Plain bytes in a block at the most. In this crate's own tests small States have several blocks, too.
pub(super) const BLOCK_BYTES_MAX: usize = if cfg!(test) { 512 } else { 1 << 20 };
/// A sealed block that is longer was written by nobody, whatever this program cuts its own to.
const SEALED_BYTES_MAX: usize = 2 << 20;
const HEADER_BYTES_MAX: usize = 1 << 20;
const KEEP: usize = 2;
/// Damaged ones that are kept as evidence.
pub(super) const DAMAGED_KEEP: usize = 2;
/// Of a sector that the disk cannot read.
const EIO: i32 = 5;
/// After so many bytes the disk is given a rest: the log's flushes share it, and wait behind what it was given.
const BYTES_AT_ONCE: usize = 256 << 10;
/// The rest is so many times as long as the disk took, and no longer than this.
const REST: u32 = 2;
const REST_MAX: Duration = Duration::from_millis(50);

/// Where a node keeps its snapshots.
#[derive(Clone)]
pub(super) struct SnapshotStore {
    folder: PathBuf,
    cluster: String,
    sealer: Sealer,
    drafts: Arc<AtomicU64>,
    damages: Damages,
}

/// A whole snapshot on disk.
#[derive(Clone, Debug)]
pub struct SnapshotFile {
    pub(super) path: PathBuf,
    /// Received, and not taken in yet.
    _draft: Option<Arc<Draft>>,
}

/// A file that goes away with this, unless it was renamed before.
#[derive(Debug)]
struct Draft(PathBuf);

impl Drop for Draft {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, path = %self.0.display(), "a draft of a snapshot is left over");
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: u32,
    cluster: String,
    meta: SnapshotMeta,
}

const FORMAT: u32 = 1;
/// SHA-256, at the end of the file.
const SUM_BYTES: u64 = 32;

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
            drafts: Arc::default(),
            damages: Damages::default(),
        })
    }

    fn path_of(&self, meta: &SnapshotMeta) -> PathBuf {
        let index = meta.last_log_id.as_ref().map_or(0, |id| id.index);
        self.folder.join(format!("snapshot-{index:020}"))
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
        let draft = writer.finish()?;
        before_rename()?;
        self.take_in(&draft, meta)
    }

    /// Begins a file that blocks are pushed into.
    pub(super) fn writer(&self, meta: &SnapshotMeta) -> io::Result<Writer> {
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

    /// The newest snapshot that is whole. A damaged one is an error, not a reason to use an older one in silence: the log
    /// need not reach back to that.
    pub(super) fn newest(&self) -> io::Result<Option<(SnapshotMeta, SnapshotFile)>> {
        let mut tries = 0;
        loop {
            let Some(path) = self.files()?.pop() else {
                return Ok(None);
            };
            tries += 1;
            match Reader::open(self, &path) {
                Ok((meta, _)) => return Ok(Some((meta, SnapshotFile { path, _draft: None }))),
                // It was damaged and has been taken away meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound && tries <= KEEP => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// What stands for a snapshot that cannot be made now: nobody can open it, and who wants to send it tries again after
    /// a while.
    pub(super) fn none(&self) -> (SnapshotMeta, SnapshotFile) {
        let path = self.folder.join("none");
        (SnapshotMeta::default(), SnapshotFile { path, _draft: None })
    }

    /// The newest snapshot that is whole: what this node begins with. Damaged ones are set aside and named; an older
    /// one is as good as long as the log still reaches back to it.
    pub(super) fn best(&self, purged: Option<u64>) -> io::Result<Option<(SnapshotMeta, State)>> {
        for path in self.files()?.into_iter().rev() {
            let file = SnapshotFile { path, _draft: None };
            match self.load(&file) {
                Ok((meta, state)) => {
                    self.must_reach(meta.last_log_id.map(|id| id.index), purged)?;
                    return Ok(Some((meta, state)));
                }
                Err(error) if is_damage(&error) => self.set_aside(&file.path, &error)?,
                Err(error) => return Err(error),
            }
        }
        self.must_reach(None, purged).map(|()| None)
    }

    fn must_reach(&self, last: Option<u64>, purged: Option<u64>) -> io::Result<()> {
        if purged <= last {
            return Ok(());
        }
        let why = format!(
            "the log begins behind entry {}, and no whole snapshot in {} reaches so far (the best: {last:?}); {REJOIN}",
            purged.unwrap_or_default(),
            self.folder.display()
        );
        Err(io::Error::new(io::ErrorKind::InvalidData, why))
    }

    fn set_aside(&self, path: &Path, why: &io::Error) -> io::Result<()> {
        self.keep_evidence(path, why)?;
        self.let_go(path)
    }

    /// Tells of a damaged snapshot, and gives it a second name. It keeps its place until another one is there: in the
    /// place of nothing at all a leader could send nothing.
    fn keep_evidence(&self, path: &Path, why: &io::Error) -> io::Result<()> {
        let aside = path.with_extension("damaged");
        self.damages.found(
            Part::Snapshots,
            format!("{why}; it is kept as {}", aside.display()),
        );
        if let Err(error) = files::restrict(path) {
            warn!(%error, "what is set aside may be open to others");
        }
        if !is_same(path, &aside)? {
            remove_if_there(&aside)?;
            // Not every file system gives a file two names.
            fs::hard_link(path, &aside).or_else(|_| fs::rename(path, &aside))?;
        }
        let mut kept = self.names(|name| name.ends_with(".damaged"))?;
        kept.truncate(kept.len().saturating_sub(DAMAGED_KEEP));
        kept.iter().try_for_each(|old| remove_if_there(old))
    }

    /// Takes a damaged snapshot out of its place, unless another one has that by now.
    pub(super) fn let_go(&self, path: &Path) -> io::Result<()> {
        if is_same(path, &path.with_extension("damaged"))? {
            fs::remove_file(path)?;
        }
        File::open(&self.folder)?.sync_all()
    }

    /// Reads every snapshot again; `rest` is told how much was read, and may end it. Says which are damaged.
    pub(super) fn check(&self, mut rest: impl FnMut(u64) -> io::Result<()>) -> io::Result<Vec<PathBuf>> {
        let mut damaged = Vec::new();
        for path in self.files()? {
            match check_sum(self, &path, &mut rest) {
                Err(error) if is_damage(&error) => {
                    self.keep_evidence(&path, &error)?;
                    damaged.push(path);
                }
                // A newer one has taken its place meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                checked => drop(checked?),
            }
        }
        Ok(damaged)
    }

    /// What this node's own files are sealed with.
    pub(super) fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    /// What was found damaged.
    pub(super) fn damages(&self) -> &Damages {
        &self.damages
    }

    /// Reads and checks a whole snapshot.
    pub(super) fn load(&self, file: &SnapshotFile) -> io::Result<(SnapshotMeta, State)> {
        let (meta, mut reader) = Reader::open(self, &file.path)?;
        let state: State =
            rmp_serde::from_read(&mut reader).map_err(|error| self.unread(&file.path, &error))?;
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest)?;
        if !rest.is_empty() {
            return Err(damaged(&file.path, "bytes are left over"));
        }
        Ok((meta, state))
    }

    /// The sum over the file is right and its blocks open: what cannot be read then is of another release.
    fn unread(&self, path: &Path, error: &rmp_serde::decode::Error) -> io::Error {
        use rmp_serde::decode::Error;
        if matches!(error, Error::InvalidMarkerRead(_) | Error::InvalidDataRead(_)) {
            return damaged(path, &error.to_string());
        }
        let seen = Reader::open(self, path).ok();
        let Some(seen) = seen.and_then(|(_, reader)| rmp_serde::from_read(reader).ok()) else {
            return damaged(path, &error.to_string());
        };
        let why = unknown_state(&seen, &error.to_string());
        io::Error::new(
            io::ErrorKind::Unsupported,
            format!("snapshot {}: {why}", path.display()),
        )
    }

    /// Gives a whole snapshot its place among the others, for good.
    pub(super) fn take_in(&self, file: &SnapshotFile, meta: &SnapshotMeta) -> io::Result<SnapshotFile> {
        let path = self.path_of(meta);
        if file.path != path {
            fs::rename(&file.path, &path)?;
            File::open(&self.folder)?.sync_all()?;
            self.prune()?;
        }
        Ok(SnapshotFile { path, _draft: None })
    }

    /// Opens a snapshot to be sent, block by block.
    pub(super) fn blocks(&self, file: &SnapshotFile) -> io::Result<Reader> {
        Ok(Reader::open(self, &file.path)?.1)
    }

    fn files(&self) -> io::Result<Vec<PathBuf>> {
        self.names(|name| !name.contains('.'))
    }

    /// Snapshots whose names are like that, the oldest first.
    fn names(&self, like: impl Fn(&str) -> bool) -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            if name.is_some_and(|name| name.starts_with("snapshot-") && like(name)) {
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
    pub(super) fn finish(mut self) -> io::Result<SnapshotFile> {
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

/// A snapshot being read; its bytes are those of the state.
pub(super) struct Reader {
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
    pub(super) fn id(&self) -> [u8; SUM_BYTES as usize] {
        self.id
    }

    fn open(store: &SnapshotStore, path: &Path) -> io::Result<(SnapshotMeta, Reader)> {
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
    pub(super) fn next_block(&mut self) -> io::Result<Option<Vec<u8>>> {
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

fn is_damage(error: &io::Error) -> bool {
    let is_odd = matches!(
        error.kind(),
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
    );
    is_odd || error.raw_os_error() == Some(EIO)
}

/// Whether two names are of one file.
fn is_same(one: &Path, other: &Path) -> io::Result<bool> {
    let of = |path: &Path| match fs::metadata(path) {
        Ok(found) => Ok(Some((found.dev(), found.ino()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    let one = of(one)?;
    Ok(one.is_some() && one == of(other)?)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

fn read_u32(from: &mut impl Read) -> io::Result<u32> {
    let mut bytes = [0; 4];
    from.read_exact(&mut bytes)?;
    Ok(u32::from_be_bytes(bytes))
}

/// Checks the sum over the whole file before any of it is believed.
fn check_sum(
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
