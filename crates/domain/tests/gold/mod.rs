//! Golden bytes: what was written once is read for ever, and written alike for as long as it is written at all.
//! `UPDATE=1` writes the files that are missing, and changes none.
#![allow(dead_code, reason = "each test uses its own part of it")]

use std::collections::BTreeSet;
use std::fmt::{self, Debug};
use std::path::{Path, PathBuf};

use reeve_domain::digest;
use serde::de::{DeserializeOwned, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, forward_to_deserialize_any};

const BYTES_PER_LINE: usize = 40;

pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

pub fn updates() -> bool {
    std::env::var_os("UPDATE").is_some()
}

/// Reads the golden bytes as what they were, and writes it to the same bytes.
pub fn check<T: Serialize + DeserializeOwned + PartialEq + Debug>(name: &str, value: &T) {
    let read = kept(name, value);
    assert_eq!(&read, value, "{name} is read as something else");
}

/// Reads the golden bytes and writes them alike; the value is only what a missing file is made of.
pub fn kept<T: Serialize + DeserializeOwned>(name: &str, value: &T) -> T {
    let path = folder().join(format!("{name}.hex"));
    if updates() && !path.exists() {
        let bytes = rmp_serde::to_vec_named(value).unwrap();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let lines: Vec<String> = bytes.chunks(BYTES_PER_LINE).map(digest::hex).collect();
        std::fs::write(&path, lines.join("\n") + "\n").unwrap();
    }
    let golden = bytes(name);
    let read: T = rmp_serde::from_slice(&golden).unwrap_or_else(|why| panic!("{name} is not read: {why}"));
    let again = rmp_serde::to_vec_named(&read).unwrap();
    assert_eq!(golden, again, "{name} is written in another way now");
    read
}

/// What a golden file holds.
pub fn bytes(name: &str) -> Vec<u8> {
    let text = std::fs::read_to_string(folder().join(format!("{name}.hex")));
    unhex(&text.unwrap_or_else(|_| panic!("{name} has no golden file")))
}

/// The same for one value of each variant, and none is without.
pub fn check_all<T: Serialize + DeserializeOwned + PartialEq + Debug>(name: &str, values: &[T]) {
    for value in values {
        check(&format!("{name}/{}", word(value)), value);
    }
    let shown: BTreeSet<String> = values.iter().map(word).collect();
    let all: BTreeSet<String> = variants::<T>().into_iter().map(str::to_owned).collect();
    assert_eq!(shown, all, "{name}: a variant without its golden file");
    let files = std::fs::read_dir(folder().join(name)).unwrap().count();
    assert_eq!(files, shown.len(), "{name}: a golden file without its variant");
}

pub fn word<T: Debug>(value: &T) -> String {
    let text = format!("{value:?}");
    text.split([' ', '(', '{']).next().unwrap().to_owned()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|d| u8::from_str_radix(std::str::from_utf8(d).unwrap(), 16).unwrap())
        .collect()
}

/// The names of all variants, as bytes have them. What only rehearsals know was never written.
pub fn variants<T: DeserializeOwned>() -> Vec<&'static str> {
    let mut found = Vec::new();
    let asked = T::deserialize(Listener(&mut found));
    assert!(asked.is_err() && !found.is_empty(), "not an enum");
    found.retain(|name| *name != "Rehearse");
    found
}

/// Listens to which variants somebody knows, and gives nothing.
struct Listener<'a>(&'a mut Vec<&'static str>);

impl<'de> Deserializer<'de> for Listener<'_> {
    type Error = serde::de::value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(Error::custom("nothing is here"))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Self::Error> {
        self.0.extend(variants);
        Err(Error::custom("nothing is here"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// The paths of all fields that are written of a value; keys that are numbers are `*`.
pub fn paths<T: Serialize>(value: &T) -> BTreeSet<String> {
    let bytes = rmp_serde::to_vec_named(value).unwrap();
    let tree: Tree = rmp_serde::from_slice(&bytes).unwrap();
    let mut paths = BTreeSet::new();
    tree.walk("", &mut paths);
    paths
}

/// A value without its content.
enum Tree {
    Leaf(Option<String>),
    List(Vec<Tree>),
    Map(Vec<(Tree, Tree)>),
}

impl Tree {
    fn walk(&self, at: &str, paths: &mut BTreeSet<String>) {
        match self {
            Tree::Leaf(_) => {}
            Tree::List(all) => all.iter().for_each(|one| one.walk(at, paths)),
            Tree::Map(all) => {
                for (key, value) in all {
                    let Tree::Leaf(key) = key else { continue };
                    let key = key.as_deref().unwrap_or("*");
                    let path = if at.is_empty() {
                        key.to_owned()
                    } else {
                        format!("{at}.{key}")
                    };
                    value.walk(&path, paths);
                    paths.insert(path);
                }
            }
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Tree, D::Error> {
        from.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Tree, E> {
        Ok(Tree::Leaf(Some(text.to_owned())))
    }

    fn visit_bytes<E: Error>(self, _: &[u8]) -> Result<Tree, E> {
        Ok(Tree::Leaf(None))
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Tree, E> {
        Ok(Tree::Leaf(None))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Tree, E> {
        Ok(Tree::Leaf(None))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Tree, E> {
        Ok(Tree::Leaf(None))
    }

    fn visit_unit<E: Error>(self) -> Result<Tree, E> {
        Ok(Tree::Leaf(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Tree, A::Error> {
        let mut all = Vec::new();
        while let Some(one) = list.next_element()? {
            all.push(one);
        }
        Ok(Tree::List(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let mut all = Vec::new();
        while let Some(pair) = map.next_entry()? {
            all.push(pair);
        }
        Ok(Tree::Map(all))
    }
}
