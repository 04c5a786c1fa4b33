//! A tenant's own texts, beside its numbers in one piece of memory.
//!
//! ```text
//! t_0123456789ab_a slug cho-ray⏎domain cho-ray.example⏎
//! └ database ──┘        └ slug
//! ```
//! What is a part of another text already is held with it, as database and slug nearly always are.

use std::fmt;

use arrayvec::ArrayString;

use crate::Selector;

/// Texts up to this length need no memory elsewhere; those of most tenants do not.
const INLINE_BYTES: usize = 92;
/// Ends each name; no claim has one in it.
const END: char = '\n';

/// Slug, role, database, and the claims that lead here.
#[derive(Clone, PartialEq)]
pub(crate) struct Words {
    text: Text,
    role: Span,
    database: Span,
    slug: Span,
    names_at: u16,
}

#[derive(Clone, PartialEq)]
enum Text {
    Inline(ArrayString<INLINE_BYTES>),
    Elsewhere(Box<str>),
}

#[derive(Clone, Copy, PartialEq)]
struct Span {
    at: u16,
    bytes: u16,
}

impl Words {
    /// None when it is more than any registry would say.
    pub(crate) fn new(
        slug: &str,
        role: &str,
        database: &str,
        names: impl IntoIterator<Item = Selector>,
    ) -> Option<Words> {
        let mut text = String::new();
        let role = put(&mut text, role)?;
        let database = put(&mut text, database)?;
        let names: Vec<Selector> = names.into_iter().collect();
        if !names.iter().any(|name| name.key().contains(slug)) {
            put(&mut text, slug)?;
        }
        let names_at = u16::try_from(text.len()).ok()?;
        for name in &names {
            text.push_str(name.key());
            text.push(END);
        }
        let slug = put(&mut text, slug)?;
        Some(Words {
            text: Text::of(text),
            role,
            database,
            slug,
            names_at,
        })
    }

    pub(crate) fn slug(&self) -> &str {
        self.within(self.slug)
    }

    pub(crate) fn role(&self) -> &str {
        self.within(self.role)
    }

    pub(crate) fn database(&self) -> &str {
        self.within(self.database)
    }

    /// The keys of the claims that lead here, and where each begins.
    pub(crate) fn names(&self) -> impl Iterator<Item = (u16, &str)> {
        let mut at = usize::from(self.names_at);
        let names = self.text.as_str()[at..].split_terminator(END);
        names.filter_map(move |name| {
            let begins = u16::try_from(at).ok()?;
            at += name.len() + END.len_utf8();
            Some((begins, name))
        })
    }

    pub(crate) fn has_name(&self, key: &str) -> bool {
        self.names().any(|(_, name)| name == key)
    }

    /// The name that begins there.
    pub(crate) fn name(&self, at: u16) -> &str {
        let rest = self.text.as_str().get(at.into()..).unwrap_or_default();
        rest.split_once(END).map_or(rest, |(name, _)| name)
    }

    /// Whether the name that begins there is this one.
    pub(crate) fn is_name(&self, at: u16, key: &str) -> bool {
        let rest = self.text.as_str().as_bytes().get(at.into()..);
        rest.and_then(|rest| rest.strip_prefix(key.as_bytes()))
            .is_some_and(|rest| rest.first() == Some(&(END as u8)))
    }

    /// The same with one name more.
    pub(crate) fn with(&self, name: &Selector) -> Words {
        Words {
            text: Text::of(format!("{}{}{END}", self.text.as_str(), name.key())),
            ..*self
        }
    }

    fn within(&self, span: Span) -> &str {
        let from = usize::from(span.at);
        self.text
            .as_str()
            .get(from..from + usize::from(span.bytes))
            .unwrap_or_default()
    }
}

/// Where a word is in the text, which grows by it if it is not there.
fn put(text: &mut String, word: &str) -> Option<Span> {
    let at = text.find(word).unwrap_or(text.len());
    if at == text.len() {
        text.push_str(word);
    }
    Some(Span {
        at: u16::try_from(at).ok()?,
        bytes: u16::try_from(word.len()).ok()?,
    })
}

impl Text {
    fn of(text: String) -> Text {
        match ArrayString::from(&text) {
            Ok(inline) => Text::Inline(inline),
            Err(_) => Text::Elsewhere(text.into_boxed_str()),
        }
    }

    fn as_str(&self) -> &str {
        match self {
            Text::Inline(text) => text,
            Text::Elsewhere(text) => text,
        }
    }
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Words")
            .field("slug", &self.slug())
            .field("role", &self.role())
            .field("database", &self.database())
            .field("names", &self.names().map(|(_, name)| name).collect::<Vec<_>>())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_comes_back_whole() {
        let (slug, domain) = (
            Selector::slug("cho-ray").unwrap(),
            Selector::domain("cho-ray.example").unwrap(),
        );
        let long = Selector::domain(&format!("{0}.{0}.example", "a".repeat(60))).unwrap();
        for database in ["t_0123456789ab", "t_0123456789ab_a", "elsewhere", ""] {
            for names in [
                vec![],
                vec![slug.clone(), domain.clone()],
                vec![domain.clone()],
                vec![long.clone(), slug.clone()],
            ] {
                let words = Words::new("cho-ray", "t_0123456789ab_a", database, names.clone()).unwrap();
                assert_eq!(words.slug(), "cho-ray");
                assert_eq!(words.role(), "t_0123456789ab_a");
                assert_eq!(words.database(), database);
                assert!(
                    words
                        .names()
                        .map(|(_, name)| name)
                        .eq(names.iter().map(Selector::key))
                );
                for (at, name) in words.names() {
                    assert_eq!(words.name(at), name);
                    assert!(words.is_name(at, name) && !words.is_name(at, &name[1..]));
                    assert!(!words.is_name(at, &name[..3]) && !words.is_name(at + 1, name));
                }
                let more = words.with(&Selector::slug("ray").unwrap());
                assert!(more.has_name("slug ray") && !words.has_name("slug ray"));
                assert_eq!((more.slug(), more.database()), ("cho-ray", database));
            }
        }
        let nobody = Words::new("", "", "", []).unwrap();
        assert_eq!(
            (nobody.names().count(), nobody.database(), nobody.slug()),
            (0, "", "")
        );
        assert_eq!(Words::new(&"x".repeat(70_000), "", "", []), None);
    }
}
