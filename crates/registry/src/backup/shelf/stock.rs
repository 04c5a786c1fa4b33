//! What lies on a shelf: which backups count, what is left over, and what goes.

use std::collections::{BTreeMap, BTreeSet};

use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::names::Object;
use super::trouble::{Reason, Trouble};
use super::{Home, Shelf, ShelfError, Slot, parts};

/// Objects of one cluster; more are not looked at.
const OBJECTS_MAX: usize = 10_000;
/// What is taken away in one go; the next look goes on.
const GONE_MAX: usize = 100;

/// What lies there, of this cluster.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The newest first, each with its objects, the mark before the file.
    kept: Vec<(Slot, Vec<String>)>,
    /// Files without a mark, marks without a file.
    loose: Vec<(Slot, String)>,
}

impl Shelf {
    /// Looks what is there.
    pub async fn look(&self) -> Result<Seen, ShelfError> {
        let offset = self.at(self.names.begin());
        let own_begin = self.names.begin();
        let mut found = BTreeMap::new();
        let mut all = self.store.list_with_offset(self.folder.as_ref(), &offset);
        while let Some(object) = all.try_next().await? {
            let Some(name) = self.name_of(&object.location) else {
                continue;
            };
            if !name.starts_with(own_begin) && matches!(self.home, Home::Bucket(_)) {
                // A bucket lists in order, so that a crowded one costs no more.
                break;
            }
            let Some(object) = self.names.read(&name) else {
                continue;
            };
            found.insert(name, object);
            if found.len() > OBJECTS_MAX {
                let what = format!("more than {OBJECTS_MAX} objects of this cluster lie there; keep fewer");
                return Err(Trouble::new(Reason::Settings, what).into());
            }
        }
        self.sort_out(found).await
    }

    async fn sort_out(&self, found: BTreeMap<String, Object>) -> Result<Seen, ShelfError> {
        let mut seen = Seen::default();
        let mut named = BTreeSet::new();
        let marks: Vec<Slot> = found.values().filter_map(Object::mark).collect();
        for slot in marks {
            let files: Vec<_> = found.iter().filter(|(_, o)| **o == Object::File(slot)).collect();
            let name = match files.as_slice() {
                [] => None,
                // Nobody else can set this mark, so it is this one's; else the mark says whose.
                [(only, _)] => Some((*only).clone()),
                _ => self.marked(slot).await?.map(|mark| mark.file),
            };
            match name.filter(|name| found.contains_key(name)) {
                Some(name) => {
                    named.insert(name.clone());
                    seen.kept.push((slot, vec![self.names.mark(slot), name]));
                }
                None => seen.loose.push((slot, self.names.mark(slot))),
            }
        }
        for (name, object) in found {
            match object {
                Object::Earlier(slot) => seen.kept.push((slot, vec![name])),
                Object::File(slot) if !named.contains(&name) => seen.loose.push((slot, name)),
                Object::EarlierPart(slot) => seen.loose.push((slot, name)),
                Object::File(_) | Object::Mark(_) => {}
            }
        }
        seen.kept.sort_by_key(|(slot, _)| std::cmp::Reverse(*slot));
        Ok(seen)
    }

    /// Takes away what is too much and what is half done; says how much of each.
    pub async fn tidy(&self, seen: &Seen, keep: usize, oldest: Slot) -> Result<usize, ShelfError> {
        let names = seen.surplus(keep, oldest);
        let mut gone = 0;
        for name in names.into_iter().take(GONE_MAX) {
            match self.store.delete(&self.at(&name)).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => gone += 1,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(gone)
    }

    /// Gives up uploads that nobody goes on with: their slot, or a later one, is kept.
    pub async fn sweep_uploads(&self, seen: &Seen) -> Result<usize, ShelfError> {
        let Some(newest) = seen.newest() else {
            return Ok(0);
        };
        let names = self.names.clone();
        let is_dead =
            move |name: &str| matches!(names.read(name), Some(Object::File(slot)) if slot <= newest);
        match &self.home {
            Home::Folder(folder) => {
                let folder = folder.clone();
                let swept = tokio::task::spawn_blocking(move || parts::sweep(&folder, is_dead)).await;
                Ok(swept.map_err(|error| ShelfError::Ended(error.to_string()))??)
            }
            Home::Bucket(bucket) => {
                let mut gone = 0;
                for upload in bucket.uploads(self.at(self.names.begin()).as_ref()).await? {
                    let name = self.name_of(&Path::from(upload.key.as_str()));
                    if name.is_some_and(|name| is_dead(&name)) {
                        bucket.give_up(&upload).await?;
                        gone += 1;
                    }
                }
                Ok(gone)
            }
        }
    }
}

impl Object {
    fn mark(&self) -> Option<Slot> {
        match self {
            Object::Mark(slot) => Some(*slot),
            _ => None,
        }
    }
}

impl Seen {
    /// The newest that counts.
    pub fn newest(&self) -> Option<Slot> {
        self.kept.first().map(|(slot, _)| *slot)
    }

    /// Backups that count.
    pub fn kept(&self) -> usize {
        self.kept.len()
    }

    /// What goes, in this order: all but the `keep` newest, all before `oldest`, never the newest of all; and what
    /// was left half done where something newer is whole.
    fn surplus(&self, keep: usize, oldest: Slot) -> Vec<String> {
        let Some(newest) = self.newest() else {
            return Vec::new();
        };
        let mut names = Vec::new();
        // The oldest first; of each the mark first: no mark is left without its file.
        for (nth, (slot, objects)) in self.kept.iter().enumerate().rev() {
            if nth > 0 && (nth >= keep || *slot < oldest) {
                names.extend(objects.iter().cloned());
            }
        }
        let loose = self.loose.iter().filter(|(slot, _)| *slot <= newest);
        names.extend(loose.map(|(_, name)| name.clone()));
        names
    }
}
