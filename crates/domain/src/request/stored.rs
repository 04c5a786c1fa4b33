//! How the table is stored and hashed: both orders written out, as they were before they shared their answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::OrdMap;
use serde::de::Error;
use serde::ser::{SerializeMap, SerializeSeq, SerializeStruct};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::order::{ByOwner, ByTime};
use super::{Answered, Remembered, Requests};
use crate::ids::{RequestId, Stamp};

impl Serialize for Requests {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut table = to.serialize_struct("Requests", 3)?;
        table.serialize_field("answers", &Answers(self))?;
        table.serialize_field("by_time", &Times(self))?;
        table.serialize_field("counts", &self.counts)?;
        table.end()
    }
}

struct Answers<'a>(&'a Requests);

impl Serialize for Answers<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let answers = &self.0.answers;
        let mut map = to.serialize_map(Some(answers.len()))?;
        for ByOwner(answered) in answers {
            map.serialize_entry(&(&answered.principal, &answered.id), &answered.remembered)?;
        }
        map.end()
    }
}

struct Times<'a>(&'a Requests);

impl Serialize for Times<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let times = &self.0.by_time;
        let mut list = to.serialize_seq(Some(times.len()))?;
        for ByTime(answered) in times {
            list.serialize_element(&(answered.at, &answered.principal, &answered.id))?;
        }
        list.end()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    answers: BTreeMap<(Arc<str>, RequestId), Remembered>,
    by_time: Vec<(Stamp, Arc<str>, RequestId)>,
    counts: OrdMap<Arc<str>, u32>,
}

impl<'de> Deserialize<'de> for Requests {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Requests, D::Error> {
        let mut stored = Stored::deserialize(from)?;
        let mut requests = Requests {
            counts: stored.counts,
            ..Requests::default()
        };
        for (at, principal, id) in stored.by_time {
            let owner = (principal, id);
            let Some(remembered) = stored.answers.remove(&owner) else {
                return Err(D::Error::custom("a request is remembered without its answer"));
            };
            let (principal, id) = owner;
            // One text for all that a principal has asked.
            let known = requests.counts.get_key_value(&principal);
            let principal = known.map_or(principal, |(known, _)| known.clone());
            let answered = Arc::new(Answered {
                principal,
                id,
                at,
                remembered,
            });
            requests.by_time.insert(ByTime(answered.clone()));
            requests.answers.insert(ByOwner(answered));
        }
        match stored.answers.is_empty() {
            true => Ok(requests),
            false => Err(D::Error::custom("an answer is remembered without its time")),
        }
    }
}

#[cfg(test)]
mod tests {
    use imbl::OrdSet;

    use super::*;
    use crate::command::Answer;
    use crate::digest;
    use crate::ids::Revision;
    use crate::request::{Key, REMEMBER_MS};

    type Owner = (Arc<str>, RequestId);

    /// The layout that was released.
    #[derive(Serialize)]
    #[serde(rename = "Requests")]
    struct Released {
        answers: OrdMap<Owner, Remembered>,
        by_time: OrdSet<(Stamp, Arc<str>, RequestId)>,
        counts: OrdMap<Arc<str>, u32>,
    }

    fn key(number: u64) -> Key {
        Key {
            id: RequestId::parse(&format!("r{number}")).unwrap(),
            hash: digest::of(&number),
        }
    }

    fn remembered(number: u64) -> Remembered {
        Remembered {
            hash: digest::of(&number),
            outcome: Ok(Answer::Done),
            revision: Revision(number),
        }
    }

    /// The same answers, in the table and as they were released.
    fn both(count: u64) -> (Requests, Released) {
        let mut requests = Requests::default();
        let mut released = Released {
            answers: OrdMap::new(),
            by_time: OrdSet::new(),
            counts: OrdMap::new(),
        };
        for number in 0..count {
            let (at, principal) = (Stamp(number / 3), ["ann", "bo"][number as usize % 2]);
            let (key, remembered) = (key(number), remembered(number));
            requests.remember(at, principal, &key, remembered.clone());
            released.by_time.insert((at, principal.into(), key.id.clone()));
            released.answers.insert((principal.into(), key.id), remembered);
            *released.counts.entry(principal.into()).or_default() += 1;
        }
        (requests, released)
    }

    #[test]
    fn it_is_stored_and_hashed_as_it_was_released() {
        let (requests, released) = both(200);
        let bytes = rmp_serde::to_vec_named(&requests).unwrap();
        assert_eq!(bytes, rmp_serde::to_vec_named(&released).unwrap());
        assert_eq!(digest::of(&requests), digest::of(&released));
        let read: Requests = rmp_serde::from_slice(&bytes).unwrap();
        assert_eq!(read, requests);
        let mut other = both(199).0;
        assert_ne!(other, requests);
        other.remember(Stamp(66), "bo", &key(199), remembered(7));
        assert_ne!(other, requests, "the same places, and another answer");
    }

    #[test]
    fn both_orders_hold_the_same_answers_or_it_is_not_read() {
        for odd in ["answers", "by_time"] {
            let mut released = both(5).1;
            match odd {
                "answers" => drop(released.answers.remove(&("ann".into(), key(2).id))),
                _ => drop(released.by_time.remove(&(Stamp(0), "ann".into(), key(2).id))),
            }
            let bytes = rmp_serde::to_vec_named(&released).unwrap();
            assert!(rmp_serde::from_slice::<Requests>(&bytes).is_err(), "{odd}");
        }
    }

    #[test]
    fn what_is_swept_leaves_every_order() {
        let (mut requests, _) = both(50);
        requests.sweep(Stamp(REMEMBER_MS + 3));
        assert_eq!(requests.len(), 50 - 12);
        assert!(requests.recall("ann", &key(0)).is_none());
        assert!(requests.recall("ann", &key(12)).is_some());
        requests.sweep(Stamp(2 * REMEMBER_MS));
        assert_eq!(requests, Requests::default());
    }
}
