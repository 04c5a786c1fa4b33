//! What the shelf's objects are called. Whatever is called otherwise is somebody else's, and is never touched.
//!
//! ```text
//! <cluster>-<id>-<slot>-r<revision>-n<node>-<chance>.snapshot     a whole file; it counts once a mark names it
//! <cluster>-<id>-<slot>.kept                                      the mark; one for each slot
//! <cluster>-<8 letters of id>-<saved>-r<revision>.snapshot        of programs that knew no marks; it counts by itself
//! ```

use super::Slot;

const FILE: &str = ".snapshot";
const MARK: &str = ".kept";
const EARLIER_ID: usize = 8;
const EARLIER_PART: &str = ".snapshot.part";

/// What a name of ours is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object {
    File(Slot),
    Mark(Slot),
    Earlier(Slot),
    /// Half of one, by a program that knew no marks.
    EarlierPart(Slot),
}

/// The names of one cluster.
#[derive(Clone, Debug)]
pub struct Names {
    own: String,
    earlier: String,
}

impl Names {
    pub fn new(cluster: &str, cluster_id: &str) -> Names {
        let id: String = cluster_id.chars().take(EARLIER_ID).collect();
        Names {
            own: format!("{cluster}-{cluster_id}-"),
            earlier: format!("{cluster}-{id}-"),
        }
    }

    pub fn file(&self, slot: Slot, revision: u64, node: u64, chance: u32) -> String {
        format!(
            "{}{:013}-r{revision}-n{node}-{chance:08x}{FILE}",
            self.own, slot.0
        )
    }

    pub fn mark(&self, slot: Slot) -> String {
        format!("{}{:013}{MARK}", self.own, slot.0)
    }

    /// What all of them begin with.
    pub fn begin(&self) -> &str {
        self.earlier.trim_end_matches('-')
    }

    pub fn read(&self, name: &str) -> Option<Object> {
        if let Some(rest) = name.strip_prefix(&self.own)
            && let Some(found) = read_own(rest)
        {
            return Some(found);
        }
        let rest = name.strip_prefix(&self.earlier)?;
        let (rest, kind): (_, fn(Slot) -> Object) = match rest.strip_suffix(EARLIER_PART) {
            Some(rest) => (rest, Object::EarlierPart),
            None => (rest.strip_suffix(FILE)?, Object::Earlier),
        };
        let (saved, revision) = rest.split_once("-r")?;
        number(revision)?;
        Some(kind(slot(saved)?))
    }
}

/// Which cluster's mark this is, whoever it is; the newest of each is looked for when all nodes are lost.
pub fn mark_of_any(name: &str) -> Option<(String, Slot)> {
    let (cluster, at) = name.strip_suffix(MARK)?.rsplit_once('-')?;
    Some((cluster.to_owned(), slot(at)?))
}

/// The same for what counts by itself.
pub fn earlier_of_any(name: &str) -> Option<(String, Slot)> {
    let (rest, revision) = name.strip_suffix(FILE)?.rsplit_once("-r")?;
    number(revision)?;
    let (cluster, saved) = rest.rsplit_once('-')?;
    Some((cluster.to_owned(), slot(saved)?))
}

fn read_own(rest: &str) -> Option<Object> {
    if let Some(at) = rest.strip_suffix(MARK) {
        return slot(at).map(Object::Mark);
    }
    let mut words = rest.strip_suffix(FILE)?.split('-');
    let at = slot(words.next()?)?;
    number(words.next()?.strip_prefix('r')?)?;
    number(words.next()?.strip_prefix('n')?)?;
    let chance = words.next()?;
    let is_chance = chance.len() == 8 && chance.bytes().all(|b| b.is_ascii_hexdigit());
    (is_chance && words.next().is_none()).then_some(Object::File(at))
}

fn slot(text: &str) -> Option<Slot> {
    (text.len() == 13).then(|| number(text).map(Slot))?
}

fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Slot = Slot(1_764_000_000_000);

    #[test]
    fn what_was_named_is_known_again() {
        let names = Names::new("hospital", "0190-ab");
        assert_eq!(names.read(&names.file(AT, 7, 2, 9)), Some(Object::File(AT)));
        assert_eq!(names.read(&names.mark(AT)), Some(Object::Mark(AT)));
        let id = Names::new("hospital", "0123456789");
        let earlier = "hospital-01234567-1764000000000-r9.snapshot";
        assert_eq!(id.read(earlier), Some(Object::Earlier(AT)));
        assert_eq!(id.read(&format!("{earlier}.part")), Some(Object::EarlierPart(AT)));
        assert!(names.mark(AT).starts_with(names.begin()) && earlier.starts_with(id.begin()));
        assert_eq!(
            mark_of_any(&names.mark(AT)),
            Some(("hospital-0190-ab".into(), AT))
        );
        assert_eq!(earlier_of_any(earlier), Some(("hospital-01234567".into(), AT)));
        assert_eq!(earlier_of_any(&names.file(AT, 7, 2, 9)), None);
    }

    #[test]
    fn anything_else_is_somebody_elses() {
        let names = Names::new("hospital", "0123456789");
        let other = Names::new("hospital", "012345678a");
        for name in [
            "letter.txt",
            "hospital-0123456789-1764000000000",
            "hospital-0123456789-176400000000.kept",
            "hospital-0123456789-1764000000000.kept.old",
            "hospital-0123456789-+764000000000.kept",
            "hospital-0123456789-1764000000000-r7-n2.snapshot",
            "hospital-0123456789-1764000000000-r7-n2-0000000z.snapshot",
            "hospital-0123456789-1764000000000-r7-n2-00000009-x.snapshot",
            "hospital-01234567-1764000000000-r.snapshot",
            "hospital-01234567-9-r7.snapshot",
            "xhospital-0123456789-1764000000000.kept",
            &other.mark(AT),
            &other.file(AT, 7, 2, 9),
        ] {
            assert_eq!(names.read(name), None, "{name}");
        }
    }
}
