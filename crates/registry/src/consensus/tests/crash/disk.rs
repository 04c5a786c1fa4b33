//! A disk between two system calls: what is on it for certain, and what may be.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rand::Rng;
use rand::rngs::StdRng;

use super::trace::Call;

const SECTOR_BYTES: usize = 512;

/// What happened to the data folder; paths are relative to it.
#[derive(Clone, Debug)]
pub(super) enum Event {
    Made {
        path: PathBuf,
        inode: usize,
    },
    Renamed {
        from: PathBuf,
        to: PathBuf,
    },
    Removed {
        path: PathBuf,
    },
    Wrote {
        inode: usize,
        offset: usize,
        data: Vec<u8>,
        ended: usize,
    },
    /// What had ended before this began is on the disk.
    SyncFile {
        inode: usize,
        began: usize,
    },
    /// The names that had changed before are on the disk. Names reach it in order.
    SyncFolder,
    Ack(usize),
}

/// Follows descriptors and names through the calls.
pub(super) fn events(calls: &[Call], root: &Path) -> Vec<Event> {
    let mut follow = Follow::new(root);
    for call in calls {
        follow.call(call);
    }
    follow.events
}

struct Follow<'a> {
    root: &'a Path,
    events: Vec<Event>,
    names: BTreeMap<PathBuf, usize>,
    sizes: Vec<usize>,
    /// Descriptor: inode, position, whether it always writes at the end.
    open: BTreeMap<i64, (usize, usize, bool)>,
}

impl<'a> Follow<'a> {
    fn new(root: &'a Path) -> Follow<'a> {
        Follow {
            root,
            events: Vec::new(),
            names: BTreeMap::new(),
            sizes: Vec::new(),
            open: BTreeMap::new(),
        }
    }

    fn inside(&self, path: &Path) -> Option<PathBuf> {
        path.strip_prefix(self.root).ok().map(Path::to_owned)
    }

    fn call(&mut self, call: &Call) {
        match call.name.as_str() {
            "openat" => self.open(call),
            "write" | "writev" | "pwrite64" => self.write(call),
            "fsync" | "fdatasync" => self.sync(call),
            "ftruncate" if self.inside(&call.file().1).is_some() => panic!("nothing is cut off in one life"),
            "rename" | "renameat" | "renameat2" => self.rename(call),
            "unlink" | "unlinkat" => self.remove(call),
            _ => {}
        }
    }

    fn open(&mut self, call: &Call) {
        let (number, path) = call.opened();
        let Some(path) = self.inside(&path) else {
            self.open.remove(&number);
            return;
        };
        let known = self.names.get(&path).copied();
        let inode = match known {
            Some(inode) => inode,
            None if call.has("O_CREAT") => {
                let inode = self.sizes.len();
                self.sizes.push(0);
                self.names.insert(path.clone(), inode);
                self.events.push(Event::Made { path, inode });
                inode
            }
            // A folder.
            None => {
                self.open.remove(&number);
                return;
            }
        };
        assert!(
            !call.has("O_TRUNC") || self.sizes[inode] == 0,
            "{path:?} is written over",
            path = call.opened().1
        );
        self.open.insert(number, (inode, 0, call.has("O_APPEND")));
    }

    fn write(&mut self, call: &Call) {
        let (number, path) = call.file();
        let data = call.data();
        if number == 1 {
            let text = String::from_utf8_lossy(&data).into_owned();
            let acked = text.lines().filter_map(|line| line.strip_prefix("acked "));
            self.events
                .extend(acked.map(|step| Event::Ack(step.parse().unwrap())));
            return;
        }
        if self.inside(&path).is_none() {
            return;
        }
        let Some((inode, position, appends)) = self.open.get_mut(&number) else {
            panic!("{path:?} was never opened");
        };
        let size = &mut self.sizes[*inode];
        let offset = match call.name.as_str() {
            "pwrite64" => call.last_number() as usize,
            _ if *appends => *size,
            _ => *position,
        };
        *position = offset + data.len();
        *size = (*size).max(offset + data.len());
        let (inode, ended) = (*inode, call.ended);
        self.events.push(Event::Wrote {
            inode,
            offset,
            data,
            ended,
        });
    }

    fn sync(&mut self, call: &Call) {
        let (number, path) = call.file();
        if self.inside(&path).is_none() {
            return;
        }
        let began = call.began;
        self.events.push(match self.open.get(&number) {
            Some((inode, _, _)) => Event::SyncFile { inode: *inode, began },
            None => Event::SyncFolder,
        });
    }

    fn rename(&mut self, call: &Call) {
        let paths: Vec<_> = call.paths().iter().filter_map(|path| self.inside(path)).collect();
        let [from, to] = paths.as_slice() else { return };
        let (from, to) = (from.clone(), to.clone());
        let inode = self.names.remove(&from).unwrap();
        self.names.insert(to.clone(), inode);
        self.events.push(Event::Renamed { from, to });
    }

    fn remove(&mut self, call: &Call) {
        let paths: Vec<_> = call.paths().iter().filter_map(|path| self.inside(path)).collect();
        for path in paths {
            if self.names.remove(&path).is_some() {
                self.events.push(Event::Removed { path });
            }
        }
    }
}

/// The disk at one moment.
pub(super) struct Disk<'a> {
    events: &'a [Event],
    /// How many events' names are on it for certain.
    named: usize,
    /// For each inode, the line before which its writes are on it for certain.
    synced: BTreeMap<usize, usize>,
}

impl<'a> Disk<'a> {
    pub(super) fn after(events: &'a [Event]) -> Disk<'a> {
        let mut synced = BTreeMap::new();
        let mut named = 0;
        for (at, event) in events.iter().enumerate() {
            match event {
                Event::SyncFile { inode, began } => drop(synced.insert(*inode, *began)),
                Event::SyncFolder => named = at,
                _ => {}
            }
        }
        Disk {
            events,
            named,
            synced,
        }
    }

    /// The last step that was acknowledged.
    pub(super) fn acked(&self) -> usize {
        let acks = self.events.iter().rev().filter_map(|event| match event {
            Event::Ack(step) => Some(*step),
            _ => None,
        });
        acks.max().unwrap_or_default()
    }

    /// Writes what is found after the power has come back. Whether anything was lost.
    pub(super) fn write_image(&self, folder: &Path, chance: &mut StdRng) -> bool {
        let mut lost = false;
        let known = chance.random_range(self.named..=self.events.len());
        let mut names: BTreeMap<&Path, usize> = BTreeMap::new();
        for event in &self.events[..known] {
            match event {
                Event::Made { path, inode } => drop(names.insert(path, *inode)),
                Event::Renamed { from, to } => {
                    let inode = names.remove(from.as_path()).unwrap();
                    names.insert(to, inode);
                }
                Event::Removed { path } => drop(names.remove(path.as_path())),
                _ => {}
            }
        }
        for (path, inode) in names {
            let (bytes, whole) = self.content(inode, chance);
            lost |= !whole;
            let path = folder.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        lost
    }

    /// What a file holds, and whether it is all that was written. A sector is as it was after some of its writes.
    fn content(&self, inode: usize, chance: &mut StdRng) -> (Vec<u8>, bool) {
        let durable_before = self.synced.get(&inode).copied().unwrap_or_default();
        let (mut bytes, mut unsynced) = (Vec::new(), Vec::new());
        for event in self.events {
            match event {
                Event::Wrote {
                    inode: of,
                    offset,
                    data,
                    ended,
                } if *of == inode => match *ended < durable_before {
                    true => put(&mut bytes, *offset, data),
                    false => unsynced.push((*offset, data.as_slice())),
                },
                _ => {}
            }
        }
        // All of it up to some write, or each sector by itself.
        let in_order = chance.random_bool(0.5);
        let upto = chance.random_range(0..=unsynced.len());
        let mut versions: BTreeMap<usize, usize> = BTreeMap::new();
        let mut whole = true;
        for (number, (offset, data)) in unsynced.iter().enumerate() {
            for (at, piece) in sectors(*offset, data) {
                let drawn = versions
                    .entry(at / SECTOR_BYTES)
                    .or_insert_with(|| chance.random_range(0..=unsynced.len()));
                match number < if in_order { upto } else { *drawn } {
                    true => put(&mut bytes, at, piece),
                    false => whole = false,
                }
            }
        }
        (bytes, whole)
    }
}

fn put(bytes: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset..end].copy_from_slice(data);
}

/// The parts of a write, sector by sector, each with its place in the file.
fn sectors(offset: usize, data: &[u8]) -> Vec<(usize, &[u8])> {
    let (mut parts, mut at) = (Vec::new(), 0);
    while at < data.len() {
        let upto = ((offset + at) / SECTOR_BYTES + 1) * SECTOR_BYTES - offset;
        let upto = upto.min(data.len());
        parts.push((offset + at, &data[at..upto]));
        at = upto;
    }
    parts
}
