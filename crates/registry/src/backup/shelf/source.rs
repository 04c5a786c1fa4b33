//! One backup to be read, when no node is there: the one that a URL names, or the newest below it.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path as File;
use std::sync::Arc;

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use super::names::{earlier_of_any, mark_of_any};
use super::place::{self, Place};
use super::trouble::{Reason, Trouble};
use super::{Mark, ShelfError, Slot, at, name_of, open, read, read_mark};
use crate::backup::{BackupError, Report};
use crate::config::S3;
use crate::vault::KeyProvider;

/// Objects that are looked at below a URL.
const OBJECTS_MAX: usize = 100_000;

/// A backup in a folder or a bucket.
pub struct Source {
    store: Arc<dyn ObjectStore>,
    path: Path,
    mark: Option<Mark>,
}

/// Whether a text names a place as a URL, and not a file of this machine.
pub fn is_url(text: &str) -> bool {
    text.starts_with("s3://") || text.starts_with("file://")
}

impl Source {
    pub async fn find(url: &str, s3: &S3) -> Result<Source, ShelfError> {
        let wrong = |why| Trouble::new(Reason::Settings, why);
        place::check(s3).map_err(|(field, why)| wrong(format!("{field}: {why}")))?;
        let place = Place::parse(url).map_err(wrong)?;
        match place.split() {
            Some((place, name)) if name.ends_with(".snapshot") || name.ends_with(".kept") => {
                let (store, _, folder) = open(&place, s3)?;
                Source::named(store, folder.as_ref(), &name).await
            }
            _ => {
                let (store, _, folder) = open(&place, s3)?;
                let name = newest(store.as_ref(), folder.as_ref(), url).await?;
                Source::named(store, folder.as_ref(), &name).await
            }
        }
    }

    async fn named(
        store: Arc<dyn ObjectStore>,
        folder: Option<&Path>,
        name: &str,
    ) -> Result<Source, ShelfError> {
        let path = at(folder, name);
        if !name.ends_with(".kept") {
            let mark = None;
            return Ok(Source { store, path, mark });
        }
        let missing = || Trouble::new(Reason::Missing, format!("{path} is not there"));
        let mark = read_mark(store.as_ref(), &path).await?.ok_or_else(missing)?;
        if mark.file.contains('/') || !mark.file.ends_with(".snapshot") {
            let what = format!("{path} names {:?}, which is no snapshot beside it", mark.file);
            return Err(Trouble::new(Reason::Damaged, what).into());
        }
        Ok(Source {
            path: at(folder, &mark.file),
            store,
            mark: Some(mark),
        })
    }

    /// Its name in the store.
    pub fn name(&self) -> &str {
        self.path.filename().unwrap_or_default()
    }

    /// What its mark says its sum is.
    pub fn sum(&self) -> Option<&str> {
        self.mark.as_ref().map(|mark| mark.sha256.as_str())
    }

    /// Reads it whole, as it comes; nothing reaches a disk.
    pub async fn verify(&self, root: Option<Arc<dyn KeyProvider>>) -> Result<Report, ShelfError> {
        let report = read(self.store.as_ref(), &self.path, root).await?;
        is_meant(self.sum(), &report)?;
        Ok(report)
    }

    /// Copies it, sealed as it is, into a file that is not there yet.
    pub async fn fetch(&self, to: &File) -> Result<(), ShelfError> {
        let wrong = |error: std::io::Error| BackupError::file(to, error);
        let mut file = std::fs::File::create_new(to).map_err(wrong)?;
        let mut stream = self.store.get(&self.path).await?.into_stream();
        while let Some(piece) = stream.try_next().await? {
            file.write_all(&piece).map_err(wrong)?;
        }
        file.sync_all().map_err(wrong)?;
        Ok(())
    }
}

/// Holds what was read to what its mark says.
pub fn is_meant(sum: Option<&str>, report: &Report) -> Result<(), BackupError> {
    match sum {
        Some(sum) if sum != report.sum => Err(BackupError::Odd(format!(
            "its mark says that its sum is {sum}, and it is {}",
            report.sum
        ))),
        _ => Ok(()),
    }
}

/// The newest that counts, when all below a URL are of one cluster.
async fn newest(store: &dyn ObjectStore, folder: Option<&Path>, url: &str) -> Result<String, ShelfError> {
    let mut clusters: BTreeMap<String, (Slot, String)> = BTreeMap::new();
    let mut all = store.list(folder);
    let mut count = 0;
    while let Some(object) = all.try_next().await? {
        count += 1;
        if count > OBJECTS_MAX {
            let what = format!("more than {OBJECTS_MAX} objects lie below {url}; name the file itself");
            return Err(Trouble::new(Reason::Settings, what).into());
        }
        let Some(name) = name_of(folder, &object.location) else {
            continue;
        };
        let Some((cluster, slot)) = mark_of_any(&name).or_else(|| earlier_of_any(&name)) else {
            continue;
        };
        // Programs of before wrote the beginning of the cluster's id.
        let same = clusters
            .keys()
            .find(|known| known.starts_with(&cluster) || cluster.starts_with(*known))
            .cloned();
        let entry = clusters
            .entry(same.unwrap_or(cluster))
            .or_insert((slot, name.clone()));
        if slot >= entry.0 {
            *entry = (slot, name);
        }
    }
    let mut newest: Vec<_> = clusters.into_values().collect();
    match (newest.pop(), newest.len()) {
        (Some((_, name)), 0) => Ok(name),
        (None, _) => {
            let what = format!("no backup that counts lies below {url}");
            Err(Trouble::new(Reason::Missing, what).into())
        }
        (Some(last), _) => {
            newest.push(last);
            let names: Vec<_> = newest.into_iter().map(|(_, name)| name).collect();
            let what = format!(
                "backups of several clusters lie below {url}; name one: {}",
                names.join(", ")
            );
            Err(Trouble::new(Reason::Settings, what).into())
        }
    }
}
