//! Reads a backup and believes nothing of it: every block, State against its hash, every audit chain to its head.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use reeve_domain::audit::{Head, Verifier};
use reeve_domain::{Revision, State};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::frame::{Frame, FrameReader, Kind};
use super::save::{Foot, KEY_PLACE, KeyFrame};
use super::{BackupError, FORMAT, Header};
use crate::archive::Change;
use crate::vault::{KeyProvider, Sealer};

/// What was found to be right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    pub bytes: u64,
    pub blocks: u64,
    /// SHA-256 over the file up to its last block, which holds it.
    pub sum: String,
    /// Which root key opens it.
    pub root_key: String,
    /// Nothing but structure and sums was checked when there is none: the root key was not given.
    pub inside: Option<Inside>,
}

/// What is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Inside {
    #[serde(flatten)]
    pub header: Header,
    pub shards: u64,
    pub records: u64,
}

/// Checks a whole file. `take` is given each change, in order; without the root key there is nothing to give.
pub fn check(
    from: impl Read,
    root: Option<&dyn KeyProvider>,
    take: &mut dyn FnMut(Change) -> Result<(), BackupError>,
) -> Result<(Report, Option<State>), BackupError> {
    let mut frames = FrameReader::begin(from)?;
    let first = frames.next()?.filter(|frame| frame.kind == Kind::Key);
    let first = first.ok_or_else(|| BackupError::NoSnapshot("it does not begin with a key".to_owned()))?;
    let key = key_frame(&first)?;
    let root_key = key.key.parts().kid.to_owned();
    let (inside, state) = match root {
        None => {
            while frames.next()?.is_some() {}
            (None, None)
        }
        Some(root) => {
            let (inside, state) = look_inside(&mut frames, &sealer(root, &key)?, take)?;
            (Some(inside), Some(state))
        }
    };
    let sum = frames.sum().unwrap_or_default();
    let report = Report {
        bytes: frames.bytes(),
        blocks: frames.frames(),
        sum: hex::encode(sum),
        root_key,
        inside,
    };
    Ok((report, state))
}

/// Opens a file to be read.
pub fn open(path: &Path) -> Result<BufReader<File>, BackupError> {
    let file = File::open(path).map_err(|error| BackupError::file(path, error))?;
    Ok(BufReader::with_capacity(1 << 20, file))
}

fn key_frame(frame: &Frame) -> Result<KeyFrame, BackupError> {
    /// What every format begins with, whatever follows.
    #[derive(Deserialize)]
    struct Any {
        format: u32,
    }
    let any: Any = unpack(frame, &frame.body)?;
    if any.format != FORMAT {
        return Err(BackupError::Format { found: any.format });
    }
    unpack(frame, &frame.body)
}

fn sealer(root: &dyn KeyProvider, frame: &KeyFrame) -> Result<Sealer, BackupError> {
    let wrong = || BackupError::WrongKey {
        sealed: frame.key.parts().kid.to_owned(),
        given: root.kid().to_owned(),
    };
    if frame.key.parts().kid != root.kid() {
        return Err(wrong());
    }
    let key = root.open(&frame.key, KEY_PLACE).map_err(|_| wrong())?;
    let key: [u8; 32] = key.as_slice().try_into().map_err(|_| wrong())?;
    Ok(Sealer::new(&Zeroizing::new(key)))
}

fn unpack<'a, T: Deserialize<'a>>(frame: &Frame, plain: &'a [u8]) -> Result<T, BackupError> {
    rmp_serde::from_slice(plain).map_err(|error| frame.damaged(error.to_string()))
}

fn look_inside<R: Read>(
    frames: &mut FrameReader<R>,
    sealer: &Sealer,
    take: &mut dyn FnMut(Change) -> Result<(), BackupError>,
) -> Result<(Inside, State), BackupError> {
    let open = |frame: &Frame| {
        let opened = sealer.open(&frame.kind.place(frame.number), &frame.body);
        opened.map_err(|_| frame.damaged("it does not open under its key"))
    };
    let odd = |why: &str| BackupError::Odd(why.to_owned());

    let header = frames.next()?.filter(|frame| frame.kind == Kind::Header);
    let header = header.ok_or_else(|| odd("it has no header"))?;
    let header: Header = unpack(&header, &open(&header)?)?;

    let mut state = Vec::new();
    let mut next = frames.next()?;
    while let Some(frame) = next.take_if(|frame| frame.kind == Kind::State) {
        state.append(&mut open(&frame)?);
        next = frames.next()?;
    }
    let state_bytes = state.len() as u64;
    let decoded = rmp_serde::from_slice(&state);
    drop(state);
    let state: State = decoded.map_err(|error| BackupError::Odd(format!("State: {error}")))?;
    fits(&header, &state)?;

    let mut chains = Chains::new(&state);
    while let Some(frame) = next.take_if(|frame| frame.kind == Kind::Changes) {
        let plain = open(&frame)?;
        let mut rest = plain.as_slice();
        while !rest.is_empty() {
            let change: Change =
                rmp_serde::from_read(&mut rest).map_err(|error| frame.damaged(error.to_string()))?;
            chains.hear(&change)?;
            take(change)?;
        }
        next = frames.next()?;
    }
    let foot = next.filter(|frame| frame.kind == Kind::Foot);
    let foot = foot.ok_or_else(|| odd("it has no foot"))?;
    let foot: Foot = unpack(&foot, &open(&foot)?)?;
    if frames.next()?.is_some() {
        return Err(odd("blocks follow its foot"));
    }
    let inside = chains.end(&header)?;
    let counted = Foot {
        state_bytes,
        changes: header.changes,
        records: inside.records,
    };
    if foot != counted {
        return Err(BackupError::Odd(format!(
            "it says {foot:?}, and {counted:?} is in it"
        )));
    }
    Ok((inside, state))
}

fn fits(header: &Header, state: &State) -> Result<(), BackupError> {
    if state.hash() != header.state_hash {
        return Err(BackupError::Odd(
            "State has another hash than its header says".to_owned(),
        ));
    }
    let said = (header.revision, header.tenants, &header.cluster_id);
    if said != (state.revision.0, state.tenants.len() as u64, &state.cluster.id) {
        return Err(BackupError::Odd(
            "State is not the one that its header says".to_owned(),
        ));
    }
    Ok(())
}

/// The archive as it goes by: no revision is missing, and each shard's chain leads to the head that State has.
struct Chains {
    next: Revision,
    leaps: BTreeMap<Revision, Revision>,
    shards: BTreeMap<String, Verifier>,
    heads: BTreeMap<String, Head>,
    last: Revision,
    records: u64,
}

impl Chains {
    fn new(state: &State) -> Chains {
        let mut chains = Chains {
            next: Revision(1),
            leaps: state.leaps.iter().map(|leap| (leap.from, leap.to)).collect(),
            shards: BTreeMap::new(),
            heads: state
                .heads
                .iter()
                .map(|(shard, head)| (shard.to_string(), *head))
                .collect(),
            last: state.revision,
            records: 0,
        };
        chains.leap();
        chains
    }

    fn leap(&mut self) {
        while let Some(to) = self.leaps.get(&self.next) {
            self.next = to.next();
        }
    }

    fn hear(&mut self, change: &Change) -> Result<(), BackupError> {
        if change.revision != self.next {
            let why = format!("revision {} stands where {} belongs", change.revision, self.next);
            return Err(BackupError::Odd(why));
        }
        self.next = self.next.next();
        self.leap();
        let Some(record) = &change.record else {
            return Ok(());
        };
        self.records += 1;
        let begin = || Verifier::new(&record.shard);
        let shown = self
            .shards
            .entry(record.shard.clone())
            .or_insert_with(begin)
            .check(record)?;
        if shown.revision != change.revision {
            let why = format!(
                "the record of revision {} stands at {}",
                shown.revision, change.revision
            );
            return Err(BackupError::Odd(why));
        }
        Ok(())
    }

    fn end(self, header: &Header) -> Result<Inside, BackupError> {
        if self.next != self.last.next() {
            let why = format!(
                "its archive ends before revision {}, State is at {}",
                self.next, self.last
            );
            return Err(BackupError::Odd(why));
        }
        let shards = self.shards.len() as u64;
        for (shard, head) in &self.heads {
            if !self.shards.contains_key(shard) {
                Verifier::new(shard).finish(head)?;
            }
        }
        for (shard, verifier) in self.shards {
            verifier.finish(&self.heads.get(&shard).copied().unwrap_or_default())?;
        }
        Ok(Inside {
            header: header.clone(),
            shards,
            records: self.records,
        })
    }
}
