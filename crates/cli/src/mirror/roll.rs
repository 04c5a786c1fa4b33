//! Who is where, as the watch has told so far.

use std::collections::BTreeMap;

use reeve_client::v1::watch_response::Event;
use reeve_client::v1::{self, tenant::State};

/// All tenants that the identity may see, by their ids.
#[derive(Debug, Default)]
pub struct Roll {
    tenants: BTreeMap<String, v1::Resolution>,
    /// Being listed anew; it replaces what is known when it is whole.
    listing: Option<BTreeMap<String, v1::Resolution>>,
    /// Where a stream may be resumed; 0: from the start.
    revision: u64,
}

/// What a message came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// The roll is whole, and something in it is another.
    Changed,
    Nothing,
    /// The stream is over; begin another.
    Again,
}

impl Roll {
    /// Where a stream may be resumed.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// A stream begins there.
    pub fn begins(&mut self) {
        self.listing = (self.revision == 0).then(BTreeMap::new);
    }

    pub fn take(&mut self, event: Option<Event>) -> Heard {
        match event {
            Some(Event::Initial(resolution)) => {
                if let Some(listing) = &mut self.listing {
                    listing.insert(resolution.tenant_id.clone(), resolution);
                }
                Heard::Nothing
            }
            Some(Event::InitialDone(done)) => {
                self.tenants = self.listing.take().unwrap_or_default();
                self.revision = done.revision;
                Heard::Changed
            }
            Some(Event::Delta(delta)) => {
                for resolution in delta.changed {
                    self.tenants.insert(resolution.tenant_id.clone(), resolution);
                }
                for tenant in delta.removed_tenant_ids {
                    self.tenants.remove(&tenant);
                }
                self.revision = delta.revision;
                Heard::Changed
            }
            Some(Event::Lagged(_)) => Heard::Again,
            Some(Event::Compacted(_)) => {
                self.revision = 0;
                Heard::Again
            }
            // Of an idle stream the revision is only where another one may begin.
            Some(Event::Bookmark(bookmark)) => {
                let is_listed = self.listing.is_none() && self.revision > 0;
                if let Some(freshness) = bookmark.freshness.filter(|_| is_listed) {
                    self.revision = self.revision.max(freshness.revision);
                }
                Heard::Nothing
            }
            None => Heard::Nothing,
        }
    }

    /// Who serves now, of those that are wanted; no names: everybody.
    pub fn serving(&self, wanted: &[String]) -> Vec<&v1::Resolution> {
        let is_wanted = |one: &v1::Resolution| {
            wanted.is_empty()
                || wanted
                    .iter()
                    .any(|name| *name == one.slug || *name == one.tenant_id)
        };
        let serving = self.tenants.values().filter(|one| {
            one.state() == State::Active && one.write.is_some() && !one.slug.is_empty() && is_wanted(one)
        });
        let mut serving: Vec<_> = serving.collect();
        serving.sort_by(|one, other| one.slug.cmp(&other.slug));
        serving
    }

    /// Names that nobody has.
    pub fn missing<'a>(&self, wanted: &'a [String]) -> Vec<&'a str> {
        let is_there = |name: &String| {
            let mut all = self.tenants.values();
            all.any(|one| *name == one.slug || *name == one.tenant_id)
        };
        let missing = wanted.iter().filter(|name| !is_there(name));
        missing.map(String::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(slug: &str, state: State, version: u64) -> v1::Resolution {
        v1::Resolution {
            tenant_id: format!("t_{slug}"),
            slug: slug.to_owned(),
            state: state.into(),
            credential_version: version,
            write: Some(v1::Endpoint::default()),
            ..Default::default()
        }
    }

    fn done(revision: u64) -> Option<Event> {
        Some(Event::InitialDone(v1::watch_response::InitialDone { revision }))
    }

    fn delta(revision: u64, changed: Vec<v1::Resolution>, removed: &[&str]) -> Option<Event> {
        Some(Event::Delta(v1::watch_response::Delta {
            revision,
            changed,
            removed_tenant_ids: removed.iter().map(|id| (*id).to_owned()).collect(),
        }))
    }

    fn seen(roll: &Roll) -> Vec<(&str, u64)> {
        let serving = roll.serving(&[]);
        serving
            .iter()
            .map(|one| (one.slug.as_str(), one.credential_version))
            .collect()
    }

    #[test]
    fn it_is_whole_from_the_end_of_the_listing_on_and_follows_what_changes() {
        let mut roll = Roll::default();
        roll.begins();
        for one in [
            tenant("b", State::Active, 1),
            tenant("a", State::Active, 1),
            tenant("c", State::Suspended, 1),
        ] {
            assert_eq!(roll.take(Some(Event::Initial(one))), Heard::Nothing);
        }
        assert_eq!((seen(&roll), roll.revision()), (vec![], 0));
        assert_eq!(roll.take(done(7)), Heard::Changed);
        assert_eq!((seen(&roll), roll.revision()), (vec![("a", 1), ("b", 1)], 7));
        let changed = vec![tenant("a", State::Active, 2), tenant("c", State::Active, 1)];
        assert_eq!(roll.take(delta(9, changed, &["t_b"])), Heard::Changed);
        assert_eq!((seen(&roll), roll.revision()), (vec![("a", 2), ("c", 1)], 9));
        assert_eq!(roll.serving(&["t_c".to_owned()]).len(), 1);
        assert_eq!(roll.missing(&["c".to_owned(), "b".to_owned()]), ["b"]);
    }

    #[test]
    fn another_stream_goes_on_where_this_one_ended_or_lists_anew_without_forgetting_anybody_before() {
        let mut roll = Roll::default();
        roll.begins();
        roll.take(Some(Event::Initial(tenant("a", State::Active, 1))));
        roll.take(done(7));
        let bookmark = v1::watch_response::Bookmark {
            freshness: Some(v1::Freshness {
                revision: 8,
                ..Default::default()
            }),
        };
        assert_eq!(roll.take(Some(Event::Bookmark(bookmark))), Heard::Nothing);
        assert_eq!(roll.take(Some(Event::Lagged(Default::default()))), Heard::Again);
        roll.begins();
        assert_eq!((seen(&roll), roll.revision()), (vec![("a", 1)], 8));
        assert_eq!(
            roll.take(Some(Event::Compacted(Default::default()))),
            Heard::Again
        );
        roll.begins();
        assert_eq!((seen(&roll), roll.revision()), (vec![("a", 1)], 0));
        // A listing that broke off is not half believed.
        roll.take(Some(Event::Initial(tenant("b", State::Active, 1))));
        roll.begins();
        roll.take(Some(Event::Initial(tenant("c", State::Active, 1))));
        roll.take(done(9));
        assert_eq!(seen(&roll), [("c", 1)]);
    }
}
