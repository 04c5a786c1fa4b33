//! What this process remembers of the registry's answers, by claim.
//!
//! ```text
//! watch  ─► listed, changed, heard ─┐
//! answers ─► learn, learn_nobody ───┴─► maps by claim ─► look_up (a lock of one in 256, no allocation)
//! ```
//! Writers take turns. A reader meets one only in the same of many shards, and touches two places in memory: the slot of
//! the claim, and the tenant with its names. No text is held twice.
//!
//! Correctness never rests on it: a fenced PostgreSQL refuses by itself.

mod homes;
mod rules;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Instant,
};

use hashbrown::{HashTable, hash_table};
use parking_lot::{Mutex, RwLock};
use reeve_domain::TenantId;

pub use self::rules::{GRACE, LEASE, Lookup};
use self::{
    homes::{ByTenant, Homes},
    rules::{Moment, Stamp},
};
use crate::{Error, Resolution, Selector, v1};

/// Claims of nobody are remembered up to this many: a Host header costs an attacker nothing.
const NOBODIES_MAX: usize = 10_000;
/// So many that readers in all threads of a process hardly ever meet in one.
const SHARDS: usize = 256;
/// Of a watch that vouches for nothing.
const UNHEARD: i64 = i64::MIN;

/// Answers by claim, safe to read from any task.
pub struct Cache {
    shards: Box<[Shard]>,
    nobodies: RwLock<HashMap<Box<str>, Stamp>>,
    hasher: RandomState,
    began: Instant,
    /// Up to when the watch vouches. It moves after what was heard is in the maps, and is read before them.
    heard: AtomicI64,
    writing: Mutex<Writing>,
}

/// Claims of one part of all hashes, on a line of the processor's cache of their own.
#[derive(Default)]
#[repr(align(64))]
struct Shard(RwLock<HashTable<Entry>>);

/// A claim of a tenant's.
#[derive(Clone)]
struct Entry {
    known: Arc<Resolution>,
    stamp: Stamp,
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
    /// All that are remembered under any claim.
    tenants: HashSet<ByTenant>,
    homes: Homes,
    /// Where the watch stands. Zero: it never finished a listing.
    watched: u64,
    /// Tenants seen in a listing that is under way.
    listing: Option<HashSet<TenantId>>,
}

impl Default for Cache {
    fn default() -> Cache {
        Cache {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            nobodies: RwLock::default(),
            hasher: RandomState::new(),
            began: Instant::now(),
            heard: AtomicI64::new(UNHEARD),
            writing: Mutex::default(),
        }
    }
}

impl Cache {
    /// What is remembered under a claim.
    pub fn look_up(&self, selector: &Selector, now: Instant) -> Lookup {
        // Before the entry: it vouches for what was there when it was said, and not for what has gone since.
        let heard = self.vouched();
        let now = self.moment(now);
        let (key, hash) = (selector.key(), self.hash(selector.key()));
        if let Some(entry) = find(&self.shard(hash).read(), hash, key) {
            return entry.stamp.judge(Some(&entry.known), heard, now);
        }
        match self.nobodies.read().get(key) {
            Some(stamp) => stamp.judge(None, heard, now),
            None => Lookup::Ask { fallback: None },
        }
    }

    /// Reads an answer, so that it shares what it has in common with others.
    pub fn read(&self, wire: v1::Resolution) -> Result<Arc<Resolution>, Error> {
        let mut resolution = Resolution::try_from(wire)?;
        resolution.home = self.writing.lock().homes.share(resolution.home);
        Ok(Arc::new(resolution))
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
        let stamp = Stamp::new(revision, self.moment(as_of), writing.guards(revision));
        let resolution = named(resolution, asked);
        if self.put(&mut writing, resolution, stamp) {
            return Learnt::Taken;
        }
        let known = self.entry(asked.key()).map(|held| Some(held.known));
        Learnt::Overtaken(known.or_else(|| self.nobody(asked.key()).map(|_| None)))
    }

    /// Takes "nobody", true at `revision`; zero when the answer did not say.
    pub fn learn_nobody(&self, asked: &Selector, revision: u64, as_of: Instant) {
        let mut writing = self.writing.lock();
        let key = asked.key();
        let held = self.entry(key);
        let known = held.as_ref().map(|held| held.stamp).or_else(|| self.nobody(key));
        if known.is_some_and(|stamp| writing.known_at(stamp) > revision) {
            return;
        }
        let stamp = Stamp::new(revision, self.moment(as_of), writing.guards(revision));
        let mut nobodies = self.nobodies.write();
        if nobodies.len() >= NOBODIES_MAX {
            nobodies.clear();
        }
        nobodies.insert(key.into(), stamp);
        drop(nobodies);
        if let Some(Entry { known, .. }) = held {
            self.take_out(key);
            self.leave(&mut writing, &known);
        }
    }

    /// Drops the tenant behind a claim, which must not be served as of `revision`; whether it was dropped: not when
    /// something newer is known of it.
    pub fn forget(&self, asked: &Selector, revision: u64) -> bool {
        let mut writing = self.writing.lock();
        let Some(held) = self.entry(asked.key()) else {
            return true;
        };
        if writing.known_at(held.stamp) > revision {
            return false;
        }
        self.remove(&mut writing, &held.known.tenant, revision);
        true
    }

    /// The watch sends everything from the start.
    pub fn listing_begins(&self) {
        let mut writing = self.writing.lock();
        writing.watched = 0;
        writing.listing = Some(HashSet::new());
        self.heard.store(UNHEARD, Ordering::Release);
    }

    /// One tenant of a listing.
    pub fn listed(&self, resolution: Arc<Resolution>, now: Instant) {
        let mut writing = self.writing.lock();
        if let Some(listing) = &mut writing.listing {
            listing.insert(resolution.tenant.clone());
        }
        // The listing's own revision comes last; until then this is known from its last change on.
        let stamp = Stamp::new(resolution.changed.0, self.moment(now), true);
        self.put(&mut writing, resolution, stamp);
    }

    /// The listing is whole as of `revision`; who was not in it is gone, unless learnt later than that.
    pub fn listing_ends(&self, revision: u64, now: Instant) {
        let mut writing = self.writing.lock();
        let listed = writing.listing.take().unwrap_or_default();
        let missing: Vec<TenantId> = writing
            .tenants
            .iter()
            .map(|held| &held.0.tenant)
            .filter(|tenant| !listed.contains(*tenant))
            .cloned()
            .collect();
        for tenant in missing {
            self.remove(&mut writing, &tenant, revision);
        }
        self.nobodies.write().clear();
        writing.watched = revision;
        self.hear(&mut writing, revision, now);
    }

    /// All changes of one revision.
    pub fn changed(&self, revision: u64, changed: &[Arc<Resolution>], removed: &[TenantId], now: Instant) {
        let mut writing = self.writing.lock();
        let stamp = Stamp::new(revision, self.moment(now), true);
        for resolution in changed {
            self.put(&mut writing, resolution.clone(), stamp);
        }
        for tenant in removed {
            self.remove(&mut writing, tenant, revision);
        }
        writing.watched = writing.watched.max(revision);
    }

    /// The watch vouches for everything that it guards, up to this moment.
    pub fn heard(&self, revision: u64, as_of: Instant) {
        self.hear(&mut self.writing.lock(), revision, as_of);
    }

    /// Where a watch may resume; zero to list again.
    pub fn watched(&self) -> u64 {
        self.writing.lock().watched
    }

    /// How many claims are remembered, those of nobody among them.
    #[cfg(feature = "metrics")]
    pub fn len(&self) -> usize {
        let claims: usize = self.shards.iter().map(|shard| shard.0.read().len()).sum();
        claims + self.nobodies.read().len()
    }

    /// Up to when the watch vouches for what it guards.
    #[cfg(feature = "metrics")]
    pub fn heard_at(&self) -> Option<Instant> {
        let nanos = u64::try_from(self.vouched()?.0).unwrap_or_default();
        self.began.checked_add(std::time::Duration::from_nanos(nanos))
    }

    fn hear(&self, writing: &mut Writing, revision: u64, as_of: Instant) {
        if writing.watched > 0 {
            writing.watched = writing.watched.max(revision);
            self.heard.fetch_max(self.moment(as_of).0, Ordering::Release);
        }
    }

    fn vouched(&self) -> Option<Moment> {
        match self.heard.load(Ordering::Acquire) {
            UNHEARD => None,
            heard => Some(Moment(heard)),
        }
    }

    fn moment(&self, instant: Instant) -> Moment {
        Moment::of(instant, self.began)
    }

    /// Whether it was taken: not when something newer is known of any of its claims.
    fn put(&self, writing: &mut Writing, resolution: Arc<Resolution>, stamp: Stamp) -> bool {
        if self.is_overtaken(writing, &resolution, stamp.revision()) {
            return false;
        }
        let before = writing.tenants.replace(ByTenant(resolution.clone()));
        for (at, name) in resolution.words.names() {
            let (known, stamp) = (resolution.clone(), stamp.at(at));
            let former = self.put_in(name, Entry { known, stamp });
            if !self.nobodies.read().is_empty() {
                self.nobodies.write().remove(name);
            }
            if let Some(Entry { known: other, .. }) = former
                && other.tenant != resolution.tenant
            {
                self.leave(writing, &other);
            }
        }
        if let Some(ByTenant(before)) = before {
            let names = before.words.names().map(|(_, name)| name);
            let gone = names.filter(|name| !resolution.words.has_name(name));
            for name in gone.filter(|name| self.leads(name, &resolution.tenant)) {
                self.take_out(name);
            }
        }
        true
    }

    /// Whether any of the claims already leads to something newer.
    fn is_overtaken(&self, writing: &Writing, new: &Resolution, revision: u64) -> bool {
        new.words.names().any(|(_, name)| match self.entry(name) {
            Some(Entry { known, stamp }) if known.tenant == new.tenant => {
                known.changed > new.changed || known.changed == new.changed && stamp.revision() > revision
            }
            Some(held) => writing.known_at(held.stamp) > revision,
            None => self
                .nobody(name)
                .is_some_and(|stamp| writing.known_at(stamp) > revision),
        })
    }

    fn remove(&self, writing: &mut Writing, tenant: &TenantId, revision: u64) {
        let Some(ByTenant(known)) = writing.tenants.get(tenant).cloned() else {
            return;
        };
        for (_, name) in known.words.names() {
            let held = self.entry(name).filter(|held| held.known.tenant == *tenant);
            if held.is_some_and(|held| held.stamp.revision() <= revision) {
                self.take_out(name);
            }
        }
        self.leave(writing, &known);
    }

    /// Forgets a tenant that no claim leads to any more.
    fn leave(&self, writing: &mut Writing, known: &Resolution) {
        if let Some(ByTenant(known)) = writing.tenants.get(&known.tenant)
            && !known
                .words
                .names()
                .any(|(_, name)| self.leads(name, &known.tenant))
        {
            let tenant = known.tenant.clone();
            writing.tenants.remove(&tenant);
        }
    }

    fn leads(&self, name: &str, tenant: &TenantId) -> bool {
        self.entry(name).is_some_and(|held| held.known.tenant == *tenant)
    }

    fn entry(&self, key: &str) -> Option<Entry> {
        let hash = self.hash(key);
        find(&self.shard(hash).read(), hash, key).cloned()
    }

    fn nobody(&self, key: &str) -> Option<Stamp> {
        self.nobodies.read().get(key).copied()
    }

    /// What the key led to before.
    fn put_in(&self, key: &str, entry: Entry) -> Option<Entry> {
        let hash = self.hash(key);
        let mut shard = self.shard(hash).write();
        let slot = shard.entry(hash, |held| held.is_of(key), |held| self.hash(held.key()));
        match slot {
            hash_table::Entry::Occupied(mut slot) => Some(std::mem::replace(slot.get_mut(), entry)),
            hash_table::Entry::Vacant(slot) => {
                slot.insert(entry);
                None
            }
        }
    }

    fn take_out(&self, key: &str) {
        let hash = self.hash(key);
        let mut shard = self.shard(hash).write();
        if let Ok(slot) = shard.find_entry(hash, |held| held.is_of(key)) {
            slot.remove();
        }
    }

    fn shard(&self, hash: u64) -> &RwLock<HashTable<Entry>> {
        // The table goes by the bits at both ends.
        &self.shards[(hash >> 32) as usize % SHARDS].0
    }

    fn hash(&self, key: &str) -> u64 {
        self.hasher.hash_one(key)
    }
}

impl Entry {
    fn key(&self) -> &str {
        self.known.words.name(self.stamp.name_at())
    }

    fn is_of(&self, key: &str) -> bool {
        self.known.words.is_name(self.stamp.name_at(), key)
    }
}

fn find<'a>(shard: &'a HashTable<Entry>, hash: u64, key: &str) -> Option<&'a Entry> {
    shard.find(hash, |held| held.is_of(key))
}

impl Writing {
    /// Whether changes after `revision` are all still to come by watch.
    fn guards(&self, revision: u64) -> bool {
        self.watched > 0 && revision >= self.watched
    }

    fn known_at(&self, stamp: Stamp) -> u64 {
        match stamp.is_guarded() {
            true => stamp.revision().max(self.watched),
            false => stamp.revision(),
        }
    }
}

/// With the claim that led to it among its names: a node may know more of them than it tells.
fn named(resolution: Arc<Resolution>, asked: &Selector) -> Arc<Resolution> {
    if resolution.words.has_name(asked.key()) {
        return resolution;
    }
    let mut resolution = Arc::unwrap_or_clone(resolution);
    resolution.words = resolution.words.with(asked);
    Arc::new(resolution)
}
