//! Pages of a listing, and the opaque token that continues one.
//!
//! A token carries the last key shown and a checksum over that key and the query, so that it is refused
//! under another query. It grants nothing: the next page is cut from what its caller may see.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
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

    #[test]
    fn sizes_are_bounded() {
        assert_eq!(page(0, "", "").unwrap().size, 100);
        assert_eq!(page(5000, "", "").unwrap().size, 1000);
    }
}
