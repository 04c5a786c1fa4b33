//! The six properties: ordered, unique, reliable, atomic, resumable, bookmarkable.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail, ensure};

use super::{Change, Heard, Stream};

/// Where a stream stands.
struct Place {
    after: u64,
    /// Everything up to here was delivered, or was not asked for. None until a listing is whole.
    upto: Option<u64>,
    /// The last revision that was delivered as a change.
    last: u64,
    bookmark: u64,
}

/// Fails with the first property that does not hold. `acked` are revisions of changes that their makers know of.
pub fn judge(streams: &[Stream], acked: &BTreeSet<u64>) -> Result<()> {
    let truth = truth(streams)?;
    for stream in streams {
        one(stream, &truth).map_err(|broken| broken.context(format!("{stream}")))?;
    }
    known(streams, &truth, acked)?;
    listings(streams, &truth)
}

/// Every change that anybody heard of. Whoever heard of a revision heard the same.
fn truth(streams: &[Stream]) -> Result<BTreeMap<u64, Change>> {
    let mut truth: BTreeMap<u64, Change> = BTreeMap::new();
    for stream in streams {
        for heard in &stream.heard {
            let Heard::Delta(revision, change) = heard else {
                continue;
            };
            let known = truth.entry(*revision).or_insert_with(|| change.clone());
            ensure!(
                known == change,
                "not atomic: {stream} heard another change at revision {revision}: {change:?}, and others {known:?}"
            );
        }
    }
    Ok(truth)
}

fn one(stream: &Stream, truth: &BTreeMap<u64, Change>) -> Result<()> {
    let lists = stream.after == 0;
    let mut place = Place {
        after: stream.after,
        upto: (!lists).then_some(stream.after),
        last: stream.after,
        bookmark: 0,
    };
    let mut is_over = false;
    for heard in &stream.heard {
        ensure!(!is_over, "something came after the last word: {heard:?}");
        match heard {
            Heard::Initial(_) => ensure!(
                place.upto.is_none(),
                "unique: a tenant was listed outside of a listing"
            ),
            Heard::InitialDone(revision) => {
                ensure!(
                    place.upto.is_none(),
                    "unique: a listing ended twice, or without being asked for"
                );
                (place.upto, place.last) = (Some(*revision), *revision);
            }
            Heard::Delta(revision, _) => delta(&mut place, *revision, truth)?,
            Heard::Bookmark(revision) => bookmark(&mut place, *revision, truth)?,
            Heard::Lagged(revision) => {
                is_over = true;
                if *revision > 0 {
                    delivered(&mut place, *revision, truth, "reliable")?;
                }
            }
            Heard::Compacted(_) => is_over = true,
        }
    }
    Ok(())
}

fn delta(place: &mut Place, revision: u64, truth: &BTreeMap<u64, Change>) -> Result<()> {
    let Some(upto) = place.upto else {
        bail!("ordered: revision {revision} came before the listing was whole");
    };
    ensure!(
        revision > place.after,
        "resumable: revision {revision} came, and what comes after {} was asked for",
        place.after
    );
    ensure!(revision != place.last, "unique: revision {revision} came twice");
    ensure!(
        revision > place.bookmark,
        "bookmarkable: revision {revision} came after a bookmark at {}",
        place.bookmark
    );
    ensure!(
        revision > place.last,
        "ordered: revision {revision} came after {}",
        place.last
    );
    ensure!(
        revision > upto,
        "resumable: revision {revision} came, and {upto} was there already"
    );
    delivered(place, revision - 1, truth, "reliable")?;
    (place.upto, place.last) = (Some(revision), revision);
    Ok(())
}

fn bookmark(place: &mut Place, revision: u64, truth: &BTreeMap<u64, Change>) -> Result<()> {
    if place.upto.is_none() {
        ensure!(
            revision == 0,
            "bookmarkable: a bookmark at {revision} before the listing was whole"
        );
        return Ok(());
    }
    ensure!(
        revision >= place.bookmark,
        "bookmarkable: {revision} came after {}",
        place.bookmark
    );
    place.bookmark = revision;
    delivered(place, revision, truth, "bookmarkable")
}

/// Everything up to a revision was delivered by now.
fn delivered(place: &mut Place, revision: u64, truth: &BTreeMap<u64, Change>, property: &str) -> Result<()> {
    let upto = place.upto.unwrap_or_default();
    if revision <= upto {
        return Ok(());
    }
    if let Some((missing, _)) = truth.range(upto + 1..=revision).next() {
        bail!("{property}: revision {missing} was not delivered between {upto} and {revision}");
    }
    place.upto = Some(revision);
    Ok(())
}

/// Whatever was acknowledged while somebody listened was heard.
fn known(streams: &[Stream], truth: &BTreeMap<u64, Change>, acked: &BTreeSet<u64>) -> Result<()> {
    let covered = |revision: u64| {
        streams.iter().any(|stream| {
            let (from, to) = stream.covers();
            from < revision && revision <= to
        })
    };
    let missing = acked
        .iter()
        .find(|revision| !truth.contains_key(revision) && covered(**revision));
    match missing {
        Some(missing) => bail!("reliable: nobody heard of revision {missing}, which was acknowledged"),
        None => Ok(()),
    }
}

/// Each listing is what an earlier one became by the changes in between. Where nobody listened, a change may have been
/// told to nobody.
fn listings(streams: &[Stream], truth: &BTreeMap<u64, Change>) -> Result<()> {
    let mut all: Vec<(u64, Change, &Stream)> = streams.iter().filter_map(listing).collect();
    all.sort_by_key(|(revision, ..)| *revision);
    for pair in all.windows(2) {
        let [(from, before, _), (to, after, stream)] = pair else {
            continue;
        };
        if !are_covered(streams, *from, *to) {
            continue;
        }
        let mut expected = before.clone();
        // Two listings may be of one revision.
        for (_, change) in truth.range(*from..=*to).filter(|(revision, _)| *revision > from) {
            expected.extend(change.clone());
        }
        expected.retain(|_, resolution| resolution.is_some());
        for (tenant, resolution) in &expected {
            ensure!(
                after.get(tenant) == Some(resolution),
                "reliable: {stream} was listed {tenant} at revision {to} as {:?}; revision {from} and the changes since make it {resolution:?}",
                after.get(tenant)
            );
        }
        let odd = after.keys().find(|tenant| !expected.contains_key(*tenant));
        ensure!(
            odd.is_none(),
            "reliable: {stream} was listed {odd:?} at revision {to}, which is nobody's"
        );
    }
    Ok(())
}

/// Whether every revision after the one and up to the other was listened to by somebody.
fn are_covered(streams: &[Stream], from: u64, to: u64) -> bool {
    let mut covers: Vec<_> = streams.iter().map(Stream::covers).collect();
    covers.sort_unstable();
    let upto = covers.into_iter().fold(
        from,
        |upto, (after, last)| {
            if after <= upto { upto.max(last) } else { upto }
        },
    );
    upto >= to
}

fn listing(stream: &Stream) -> Option<(u64, Change, &Stream)> {
    let mut listed = Change::new();
    for heard in &stream.heard {
        match heard {
            Heard::Initial(resolution) => {
                listed.insert(resolution.tenant_id.clone(), Some((**resolution).clone()));
            }
            Heard::InitialDone(revision) => return Some((*revision, listed, stream)),
            _ => {}
        }
    }
    None
}

impl Stream {
    /// After which revision, and up to which, it vouches for everything.
    pub fn covers(&self) -> (u64, u64) {
        let mut from = (self.after > 0).then_some(self.after);
        let mut to = self.after;
        for heard in &self.heard {
            match heard {
                Heard::InitialDone(revision) => (from, to) = (Some(*revision), *revision),
                Heard::Delta(revision, _) | Heard::Bookmark(revision) if from.is_some() => {
                    to = to.max(*revision)
                }
                _ => {}
            }
        }
        (from.unwrap_or(to), to)
    }
}

impl std::fmt::Display for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "watcher {} at node {} after {}",
            self.watcher, self.node, self.after
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delta(revision: u64) -> Heard {
        Heard::Delta(revision, Change::from([("t".to_owned(), None)]))
    }

    fn other(revision: u64) -> Heard {
        Heard::Delta(revision, Change::from([("u".to_owned(), None)]))
    }

    fn stream(after: u64, heard: Vec<Heard>) -> Stream {
        Stream {
            watcher: 0,
            node: 1,
            after,
            heard,
        }
    }

    fn said(streams: &[Stream], acked: &[u64]) -> String {
        let judged = judge(streams, &acked.iter().copied().collect());
        judged.map_or_else(|broken| format!("{broken:#}"), |()| "whole".to_owned())
    }

    #[test]
    fn each_property_is_missed_by_its_name() {
        let good = stream(1, vec![delta(2), delta(3), Heard::Bookmark(5), delta(6)]);
        assert_eq!(said(std::slice::from_ref(&good), &[3, 6]), "whole");
        let cases: [(&str, Stream); 9] = [
            ("unique", stream(1, vec![delta(2), delta(2)])),
            ("ordered", stream(1, vec![delta(2), delta(3), delta(2)])),
            ("reliable", stream(1, vec![delta(2), delta(6)])),
            ("atomic", stream(1, vec![other(2)])),
            ("resumable", stream(2, vec![delta(1)])),
            (
                "bookmarkable",
                stream(1, vec![delta(2), Heard::Bookmark(3), delta(3)]),
            ),
            ("bookmarkable", stream(1, vec![Heard::Bookmark(9)])),
            ("bookmarkable", stream(0, vec![Heard::Bookmark(9)])),
            ("reliable", stream(1, vec![delta(2), Heard::Lagged(6)])),
        ];
        for (property, bad) in cases {
            let found = said(&[good.clone(), bad.clone()], &[]);
            assert!(found.contains(property), "{property}: {found} of {bad:?}");
        }
        assert!(said(std::slice::from_ref(&good), &[4]).contains("nobody heard of revision 4"));
        assert_eq!(said(&[good], &[99]), "whole", "nobody listened any more");
    }

    #[test]
    fn a_listing_is_what_the_changes_made_of_an_earlier_one() {
        let tenant = |group: &str| reeve_client::v1::Resolution {
            tenant_id: "t".into(),
            group: group.into(),
            ..Default::default()
        };
        let lists = |group: &str, revision| {
            let initial = Heard::Initial(Box::new(tenant(group)));
            stream(0, vec![initial, Heard::InitialDone(revision)])
        };
        let moved = Heard::Delta(7, Change::from([("t".to_owned(), Some(tenant("b")))]));
        let follows = stream(4, vec![moved, Heard::Bookmark(8)]);
        assert_eq!(
            said(&[lists("a", 5), lists("b", 8), follows.clone()], &[]),
            "whole"
        );
        assert!(said(&[lists("a", 5), lists("a", 8), follows.clone()], &[]).contains("reliable"));
        let both = [lists("a", 5), lists("b", 8)];
        assert_eq!(said(&both, &[]), "whole", "nobody listened in between");
        let late = stream(6, vec![Heard::Bookmark(8)]);
        assert_eq!(said(&[both[0].clone(), both[1].clone(), late], &[]), "whole");
        let early = stream(4, vec![Heard::Bookmark(6)]);
        let late = stream(6, vec![Heard::Bookmark(8)]);
        assert!(said(&[both[0].clone(), both[1].clone(), early, late], &[]).contains("reliable"));
        let gone = Heard::Delta(7, Change::from([("t".to_owned(), None)]));
        let follows = stream(4, vec![gone, Heard::Bookmark(8)]);
        assert!(said(&[lists("a", 5), lists("a", 8), follows], &[]).contains("nobody's"));
    }
}
