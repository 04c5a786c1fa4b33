//! Pages of a listing, and the opaque token that continues one.
//!
//! A token carries the last key shown and a checksum over that key and the query, so that it is refused
//! under another query. It grants nothing: the next page is cut from what its caller may see.

use std::ops::Bound;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use imbl::OrdMap;
use reeve_domain::digest;
use reeve_proto::convert::BadField;

/// Entries of a page that does not say.
const SIZE_DEFAULT: usize = 100;
/// Entries of the largest page; a larger wish is cut to it.
const SIZE_MAX: usize = 1000;
const BINDING_BYTES: usize = 16;

/// One page of one query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Page {
    pub size: usize,
    /// The last key of the page before; none at the beginning.
    pub after: Option<String>,
    query: String,
}

impl Page {
    /// Reads size and token. `query` is everything that decides which entries are listed.
    pub(super) fn parse(size: u32, token: &str, query: String) -> Result<Page, BadField> {
        let size = match size {
            0 => SIZE_DEFAULT,
            wanted => SIZE_MAX.min(wanted as usize),
        };
        let after = match token {
            "" => None,
            token => Some(open(token, &query).ok_or_else(|| {
                BadField::new("page_token", "belongs to another query; begin again without one")
            })?),
        };
        Ok(Page { size, after, query })
    }

    /// Cuts the page out of entries that come in key order, and says where the next one begins.
    pub(super) fn cut<T>(
        &self,
        entries: impl Iterator<Item = T>,
        key: impl Fn(&T) -> String,
    ) -> (Vec<T>, String) {
        let mut shown: Vec<T> = entries.take(self.size + 1).collect();
        if shown.len() <= self.size {
            return (shown, String::new());
        }
        shown.truncate(self.size);
        let next = shown.last().map(|last| seal(&key(last), &self.query));
        (shown, next.unwrap_or_default())
    }
}

/// All entries behind one, in order: a page begins where it begins, and not at the first entry of all.
pub(super) fn behind<'a, K: Ord, V>(
    map: &'a OrdMap<K, V>,
    after: Option<&K>,
) -> impl Iterator<Item = (&'a K, &'a V)> {
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    map.range::<_, K>((from, Bound::Unbounded))
}

/// Reads the key that a page goes on behind.
pub(super) fn key<T, E: ToString>(
    text: Option<&str>,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<Option<T>, BadField> {
    let key = text.map(parse).transpose();
    key.map_err(|error| BadField::new("page_token", error.to_string()))
}

fn seal(key: &str, query: &str) -> String {
    let mut bytes = binding(key, query).to_vec();
    bytes.extend(key.as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

fn open(token: &str, query: &str) -> Option<String> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    let (bound, key) = bytes.split_at_checked(BINDING_BYTES)?;
    let key = String::from_utf8(key.to_vec()).ok()?;
    (binding(&key, query) == *bound).then_some(key)
}

fn binding(key: &str, query: &str) -> [u8; BINDING_BYTES] {
    let length = (query.len() as u64).to_be_bytes();
    let hash = digest::of_bytes(&[b"page", &length, query.as_bytes(), key.as_bytes()]);
    let mut bound = [0; BINDING_BYTES];
    bound.copy_from_slice(&hash[..BINDING_BYTES]);
    bound
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(size: u32, token: &str, query: &str) -> Result<Page, BadField> {
        Page::parse(size, token, query.to_owned())
    }

    fn cut(page: &Page, from: u32) -> (Vec<u32>, String) {
        let after = page
            .after
            .as_ref()
            .map_or(from, |k| k.parse::<u32>().unwrap() + 1);
        page.cut(after..25, |n| n.to_string())
    }

    #[test]
    fn pages_follow_each_other_and_end_with_an_empty_token() {
        let first = page(10, "", "tenants").unwrap();
        let (shown, token) = cut(&first, 0);
        assert_eq!((shown.len(), shown[9]), (10, 9));
        let (shown, token) = cut(&page(10, &token, "tenants").unwrap(), 0);
        assert_eq!(shown[0], 10);
        let (shown, token) = cut(&page(10, &token, "tenants").unwrap(), 0);
        assert_eq!((shown.len(), token.as_str()), (5, ""));
    }

    #[test]
    fn a_token_of_another_query_is_refused() {
        let (_, token) = cut(&page(10, "", "region=vn").unwrap(), 0);
        assert_eq!(page(10, &token, "region=eu").unwrap_err().field, "page_token");
        for odd in ["x", "!!", &token[1..], &format!("{token}AA")] {
            assert!(page(10, odd, "region=vn").is_err(), "{odd}");
        }
    }

    thread_local! {
        static COMPARED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
    }

    /// A key that counts how often it is looked at.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Looked(u32);

    impl PartialOrd for Looked {
        fn partial_cmp(&self, other: &Looked) -> Option<std::cmp::Ordering> {
            Some(self.cmp(other))
        }
    }

    impl Ord for Looked {
        fn cmp(&self, other: &Looked) -> std::cmp::Ordering {
            COMPARED.set(COMPARED.get() + 1);
            self.0.cmp(&other.0)
        }
    }

    #[test]
    fn the_last_page_costs_as_much_as_the_first() {
        const ALL: u32 = 10_000;
        let map: OrdMap<Looked, ()> = (0..ALL).map(|n| (Looked(n), ())).collect();
        let page_after = |after: Option<u32>| {
            COMPARED.set(0);
            let shown: Vec<u32> = behind(&map, after.map(Looked).as_ref())
                .take(10)
                .map(|(key, ())| key.0)
                .collect();
            (shown, COMPARED.get())
        };
        assert_eq!(page_after(None).0, Vec::from_iter(0..10));
        for after in [0, ALL / 2, ALL - 11] {
            let (shown, compared) = page_after(Some(after));
            assert_eq!(shown, Vec::from_iter(after + 1..after + 11));
            assert!(compared < 200, "{compared} looks behind {after}");
        }
        assert_eq!(page_after(Some(ALL)).0, Vec::<u32>::new());
    }

    #[test]
    fn sizes_are_bounded() {
        assert_eq!(page(0, "", "").unwrap().size, 100);
        assert_eq!(page(5000, "", "").unwrap().size, 1000);
    }
}
