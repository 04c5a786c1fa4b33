//! What this process remembers of the registry's answers, by claim.
//!
//! ```text
//! watch  ─► listed, changed, heard ─┐
//! answers ─► learn, learn_nobody ───┴─► shards by claim ─► look_up (one read lock, no allocation)
//! ```
//! Correctness never rests on it: a fenced PostgreSQL refuses by itself.

mod rules;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Instant,
};

use parking_lot::{Mutex, RwLock};
use reeve_domain::TenantId;

use self::rules::Entry;
pub use self::rules::{GRACE, LEASE, Lookup};
use crate::{Resolution, Selector};

const SHARDS: usize = 16;
/// Claims of nobody are remembered up to this many: a Host header costs an attacker nothing.
const NOBODIES_MAX: usize = 10_000;

/// Answers by claim, safe to read from any task.
pub struct Cache {
    shards: [RwLock<HashMap<Box<str>, Entry>>; SHARDS],
    hasher: RandomState,
    heard: RwLock<Option<Instant>>,
    writing: Mutex<Writing>,
}

/// What became of an answer.
#[derive(Debug, PartialEq)]
pub enum Learnt {
    Taken,
    /// Something newer is known; under the claim that was asked for a tenant, nobody, or nothing at all.
    Overtaken(Option<Option<Arc<Resolution>>>),
}

/// What only writers need; holding it orders all changes.
#[derive(Default)]
struct Writing {
    tenants: HashMap<TenantId, HashSet<Box<str>>>,
    nobodies: usize,
    /// Where the watch stands. Zero: it never finished a listing.
    watched: u64,
    /// Tenants seen in a listing that is under way.
    listing: Option<HashSet<TenantId>>,
}

impl Default for Cache {
    fn default() -> Cache {
        Cache {
            shards: Default::default(),
            hasher: RandomState::new(),
            heard: RwLock::default(),
            writing: Mutex::default(),
        }
    }
}

impl Cache {
    /// What is remembered under a claim.
    pub fn look_up(&self, selector: &Selector, now: Instant) -> Lookup {
        match self.shard(selector.key()).read().get(selector.key()) {
            Some(entry) => entry.judge(*self.heard.read(), now),
            None => Lookup::Ask { fallback: None },
        }
    }

    /// Takes an answer to a call, true at `revision` and `as_of`; an older one than what is held changes nothing.
    pub fn learn(
        &self,
        asked: &Selector,
        resolution: Arc<Resolution>,
        revision: u64,
        as_of: Instant,
    ) -> Learnt {
        let mut writing = self.writing.lock();
        let guarded = writing.guards(revision);
        if self.put(&mut writing, Some(asked), resolution, revision, as_of, guarded) {
            return Learnt::Taken;
        }
        let shard = self.shard(asked.key()).read();
        Learnt::Overtaken(shard.get(asked.key()).map(|held| held.known.clone()))
    }

    /// Takes "nobody", true at `revision`; zero when the answer did not say.
    pub fn learn_nobody(&self, asked: &Selector, revision: u64, as_of: Instant) {
        let mut writing = self.writing.lock();
        let mut shard = self.shard(asked.key()).write();
        match shard.get(asked.key()) {
            Some(held) if writing.known_at(held) > revision => return,
            Some(Entry {
                known: Some(resolution),
                ..
            }) => {
                let tenant = resolution.tenant.clone();
                shard.remove(asked.key());
                writing.forget_key(&tenant, asked.key());
            }
            Some(_) => writing.nobodies -= 1,
            None => {}
        }
        drop(shard);
        if writing.nobodies >= NOBODIES_MAX {
            self.drop_nobodies(&mut writing);
        }
        writing.nobodies += 1;
        let entry = Entry {
            known: None,
            revision,
            as_of,
            guarded: writing.guards(revision),
        };
        self.shard(asked.key()).write().insert(asked.key().into(), entry);
    }

    /// Drops the tenant behind a claim: the registry just said that it must not be served.
    pub fn forget(&self, asked: &Selector) {
        let mut writing = self.writing.lock();
        let held = self
            .shard(asked.key())
            .read()
            .get(asked.key())
            .and_then(|entry| entry.known.clone());
        if let Some(resolution) = held {
            self.remove(&mut writing, &resolution.tenant, u64::MAX);
        }
    }

    /// The watch sends everything from the start.
    pub fn listing_begins(&self) {
        let mut writing = self.writing.lock();
        writing.watched = 0;
        writing.listing = Some(HashSet::new());
        drop(writing);
        *self.heard.write() = None;
    }

    /// One tenant of a listing.
    pub fn listed(&self, resolution: Arc<Resolution>, now: Instant) {
        let mut writing = self.writing.lock();
        if let Some(listing) = &mut writing.listing {
            listing.insert(resolution.tenant.clone());
        }
        // The listing's own revision comes last; until then this is known from its last change on.
        let revision = resolution.changed.0;
        self.put(&mut writing, None, resolution, revision, now, true);
    }

    /// The listing is whole as of `revision`; who was not in it is gone, unless learnt later than that.
    pub fn listing_ends(&self, revision: u64, now: Instant) {
        let mut writing = self.writing.lock();
        let listed = writing.listing.take().unwrap_or_default();
        let missing: Vec<TenantId> = writing
            .tenants
            .keys()
            .filter(|tenant| !listed.contains(*tenant))
            .cloned()
            .collect();
        for tenant in missing {
            self.remove(&mut writing, &tenant, revision);
        }
        self.drop_nobodies(&mut writing);
        writing.watched = revision;
        drop(writing);
        self.heard(revision, now);
    }

    /// All changes of one revision.
    pub fn changed(&self, revision: u64, changed: &[Arc<Resolution>], removed: &[TenantId], now: Instant) {
        let mut writing = self.writing.lock();
        for resolution in changed {
            self.put(&mut writing, None, resolution.clone(), revision, now, true);
        }
        for tenant in removed {
            self.remove(&mut writing, tenant, revision);
        }
        writing.watched = writing.watched.max(revision);
    }

    /// The watch vouches for everything that it guards, up to this moment.
    pub fn heard(&self, revision: u64, as_of: Instant) {
        let mut writing = self.writing.lock();
        if writing.watched > 0 {
            writing.watched = writing.watched.max(revision);
            let mut heard = self.heard.write();
            *heard = Some(heard.map_or(as_of, |before| before.max(as_of)));
        }
    }

    /// Where a watch may resume; zero to list again.
    pub fn watched(&self) -> u64 {
        self.writing.lock().watched
    }

    /// How many claims are remembered, those of nobody among them.
    #[cfg(feature = "metrics")]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().len()).sum()
    }

    /// Up to when the watch vouches for what it guards.
    #[cfg(feature = "metrics")]
    pub fn heard_at(&self) -> Option<Instant> {
        *self.heard.read()
    }

    /// Whether it was taken: not when something newer is known of any of its claims.
    fn put(
        &self,
        writing: &mut Writing,
        asked: Option<&Selector>,
        resolution: Arc<Resolution>,
        revision: u64,
        as_of: Instant,
        guarded: bool,
    ) -> bool {
        let tenant = resolution.tenant.clone();
        let keys = resolution
            .selectors
            .iter()
            .chain(asked)
            .map(|selector| Box::<str>::from(selector.key()));
        let keys: HashSet<Box<str>> = keys.collect();
        if self.is_overtaken(writing, &resolution, &keys, revision) {
            return false;
        }
        let before = writing
            .tenants
            .insert(tenant.clone(), keys.clone())
            .unwrap_or_default();
        for gone in before.difference(&keys) {
            self.shard(gone).write().remove(gone);
        }
        for key in keys {
            let entry = Entry {
                known: Some(resolution.clone()),
                revision,
                as_of,
                guarded,
            };
            match self.shard(&key).write().insert(key.clone(), entry) {
                Some(Entry { known: None, .. }) => writing.nobodies -= 1,
                Some(Entry {
                    known: Some(other), ..
                }) if other.tenant != tenant => {
                    writing.forget_key(&other.tenant, &key);
                }
                _ => {}
            }
        }
        true
    }

    /// Whether any of the claims already leads to something newer.
    fn is_overtaken(
        &self,
        writing: &Writing,
        new: &Resolution,
        keys: &HashSet<Box<str>>,
        revision: u64,
    ) -> bool {
        keys.iter().any(|key| match self.shard(key).read().get(key) {
            Some(held) => match &held.known {
                Some(known) if known.tenant == new.tenant => {
                    known.changed > new.changed || known.changed == new.changed && held.revision > revision
                }
                _ => writing.known_at(held) > revision,
            },
            None => false,
        })
    }

    fn remove(&self, writing: &mut Writing, tenant: &TenantId, revision: u64) {
        let keys = writing.tenants.get(tenant).cloned().unwrap_or_default();
        for key in keys {
            let mut shard = self.shard(&key).write();
            if shard.get(&key).is_some_and(|held| held.revision <= revision) {
                shard.remove(&key);
                writing.forget_key(tenant, &key);
            }
        }
    }

    fn drop_nobodies(&self, writing: &mut Writing) {
        for shard in &self.shards {
            shard.write().retain(|_, entry| entry.known.is_some());
        }
        writing.nobodies = 0;
    }

    fn shard(&self, key: &str) -> &RwLock<HashMap<Box<str>, Entry>> {
        let hash = self.hasher.hash_one(key);
        &self.shards[hash as usize % SHARDS]
    }
}

impl Writing {
    /// Whether changes after `revision` are all still to come by watch.
    fn guards(&self, revision: u64) -> bool {
        self.watched > 0 && revision >= self.watched
    }

    fn known_at(&self, entry: &Entry) -> u64 {
        if entry.guarded {
            entry.revision.max(self.watched)
        } else {
            entry.revision
        }
    }

    fn forget_key(&mut self, tenant: &TenantId, key: &str) {
        if let Some(keys) = self.tenants.get_mut(tenant) {
            keys.remove(key);
            if keys.is_empty() {
                self.tenants.remove(tenant);
            }
        }
    }
}
