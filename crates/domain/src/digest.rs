//! SHA-256 over any serializable value, the same on every node.
//!
//! Values are fed through a serializer that writes type tags and lengths, so that no two different values
//! feed the same bytes. Maps are hashed in their own order: use ordered maps only.

use std::fmt::{self, Display};
use std::sync::OnceLock;

use serde::ser::{self, Serialize};
use sha2::{Digest, Sha256};

/// A SHA-256 digest.
pub type Hash = [u8; 32];

/// Hashes a value.
pub fn of<T: Serialize + ?Sized>(value: &T) -> Hash {
    let mut hasher = Hasher::default();
    match value.serialize(&mut hasher) {
        Ok(()) => hasher.finish(),
        // Only a Serialize impl of ours that returns a custom error could get here, and none does.
        Err(Never(message)) => Sha256::digest(message).into(),
    }
}

/// Hashes bytes.
pub fn of_bytes(parts: &[&[u8]]) -> Hash {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// Lowercase hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// A digest that is reckoned once. It says nothing of its own about what it stands in: a copy begins without one, and all
/// are alike.
#[derive(Default)]
pub(crate) struct Memo(OnceLock<Hash>);

impl Memo {
    pub(crate) fn get_or_reckon(&self, reckon: impl FnOnce() -> Hash) -> Hash {
        *self.0.get_or_init(reckon)
    }
}

impl Clone for Memo {
    fn clone(&self) -> Memo {
        Memo::default()
    }
}

impl PartialEq for Memo {
    fn eq(&self, _: &Memo) -> bool {
        true
    }
}

impl Eq for Memo {}

impl fmt::Debug for Memo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("_")
    }
}

/// Small values gather before they are hashed: most are a byte or a word.
struct Hasher {
    sum: Sha256,
    gathered: [u8; GATHERED_MAX],
    len: usize,
}

/// Bytes that are hashed at once.
const GATHERED_MAX: usize = 1024;
/// A tag and a length.
const HEAD: usize = 9;

#[derive(Debug)]
struct Never(String);

impl Display for Never {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Never {}

impl ser::Error for Never {
    fn custom<T: Display>(message: T) -> Never {
        Never(message.to_string())
    }
}

impl Default for Hasher {
    fn default() -> Hasher {
        Hasher {
            sum: Sha256::new(),
            gathered: [0; GATHERED_MAX],
            len: 0,
        }
    }
}

impl Hasher {
    #[inline]
    fn feed(&mut self, tag: u8, bytes: &[u8]) -> Result<(), Never> {
        let mut head = [tag; HEAD];
        head[1..].copy_from_slice(&(bytes.len() as u64).to_be_bytes());
        self.put(head);
        self.gather(bytes);
        Ok(())
    }

    /// The same for a value whose length the compiler knows: most are a byte or a word, and there are many.
    #[inline]
    fn feed_word<const N: usize>(&mut self, tag: u8, bytes: [u8; N]) -> Result<(), Never> {
        let mut head = [tag; HEAD];
        head[1..].copy_from_slice(&(N as u64).to_be_bytes());
        self.put(head);
        self.put(bytes);
        Ok(())
    }

    #[inline]
    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        if self.len + N > GATHERED_MAX {
            self.empty();
        }
        if let Some(room) = self.gathered[self.len..].first_chunk_mut() {
            *room = bytes;
            self.len += N;
        }
    }

    #[inline]
    fn gather(&mut self, bytes: &[u8]) {
        if self.len + bytes.len() > GATHERED_MAX {
            self.empty();
            if bytes.len() > GATHERED_MAX {
                self.sum.update(bytes);
                return;
            }
        }
        self.gathered[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    #[cold]
    fn empty(&mut self) {
        self.sum.update(&self.gathered[..self.len]);
        self.len = 0;
    }

    fn finish(mut self) -> Hash {
        self.sum.update(&self.gathered[..self.len]);
        self.sum.finalize().into()
    }
}

macro_rules! numbers {
    ($($method:ident $type:ty, $tag:literal;)*) => {$(
        fn $method(self, v: $type) -> Result<(), Never> {
            self.feed_word($tag, v.to_be_bytes())
        }
    )*};
}

impl<'a> ser::Serializer for &'a mut Hasher {
    type Ok = ();
    type Error = Never;
    type SerializeSeq = &'a mut Hasher;
    type SerializeTuple = &'a mut Hasher;
    type SerializeTupleStruct = &'a mut Hasher;
    type SerializeTupleVariant = &'a mut Hasher;
    type SerializeMap = &'a mut Hasher;
    type SerializeStruct = &'a mut Hasher;
    type SerializeStructVariant = &'a mut Hasher;

    numbers! {
        serialize_i8 i8, b'i'; serialize_i16 i16, b'i'; serialize_i32 i32, b'i'; serialize_i64 i64, b'i';
        serialize_u8 u8, b'u'; serialize_u16 u16, b'u'; serialize_u32 u32, b'u'; serialize_u64 u64, b'u';
        serialize_f32 f32, b'f'; serialize_f64 f64, b'f';
    }

    fn serialize_bool(self, v: bool) -> Result<(), Never> {
        self.feed_word(b'b', [u8::from(v)])
    }

    fn serialize_char(self, v: char) -> Result<(), Never> {
        self.feed(b'c', v.to_string().as_bytes())
    }

    fn serialize_str(self, v: &str) -> Result<(), Never> {
        self.feed(b's', v.as_bytes())
    }

    fn serialize_bytes(self, v: &[u8]) -> Result<(), Never> {
        self.feed(b'y', v)
    }

    fn serialize_none(self) -> Result<(), Never> {
        self.feed_word(b'0', [])
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Never> {
        self.feed_word(b'1', [])?;
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Never> {
        self.feed_word(b'n', [])
    }

    fn serialize_unit_struct(self, name: &'static str) -> Result<(), Never> {
        self.feed(b'n', name.as_bytes())
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Never> {
        self.feed(b'v', variant.as_bytes())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Never> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Never> {
        self.feed(b'v', variant.as_bytes())?;
        value.serialize(self)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<&'a mut Hasher, Never> {
        self.feed_word(b'[', [])?;
        Ok(self)
    }

    fn serialize_tuple(self, _: usize) -> Result<&'a mut Hasher, Never> {
        self.serialize_seq(None)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<&'a mut Hasher, Never> {
        self.serialize_seq(None)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<&'a mut Hasher, Never> {
        self.feed(b'v', variant.as_bytes())?;
        self.serialize_seq(None)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<&'a mut Hasher, Never> {
        self.feed_word(b'{', [])?;
        Ok(self)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<&'a mut Hasher, Never> {
        self.serialize_map(None)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<&'a mut Hasher, Never> {
        self.feed(b'v', variant.as_bytes())?;
        self.serialize_map(None)
    }
}

macro_rules! sequences {
    ($($trait:ident $method:ident;)*) => {$(
        impl ser::$trait for &mut Hasher {
            type Ok = ();
            type Error = Never;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Never> {
                value.serialize(&mut **self)
            }

            fn end(self) -> Result<(), Never> {
                self.feed_word(b']', [])
            }
        }
    )*};
}

sequences! {
    SerializeSeq serialize_element;
    SerializeTuple serialize_element;
    SerializeTupleStruct serialize_field;
    SerializeTupleVariant serialize_field;
}

impl ser::SerializeMap for &mut Hasher {
    type Ok = ();
    type Error = Never;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Never> {
        key.serialize(&mut **self)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Never> {
        value.serialize(&mut **self)
    }

    fn end(self) -> Result<(), Never> {
        self.feed_word(b'}', [])
    }
}

macro_rules! structs {
    ($($trait:ident;)*) => {$(
        impl ser::$trait for &mut Hasher {
            type Ok = ();
            type Error = Never;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Never> {
                self.feed(b'k', key.as_bytes())?;
                value.serialize(&mut **self)
            }

            fn end(self) -> Result<(), Never> {
                self.feed_word(b'}', [])
            }
        }
    )*};
}

structs! {
    SerializeStruct;
    SerializeStructVariant;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_values_feed_different_bytes() {
        assert_ne!(of(&("ab", "c")), of(&("a", "bc")));
        assert_ne!(of(&vec![vec![1u8], vec![]]), of(&vec![vec![], vec![1u8]]));
        assert_ne!(of(&Some(0u8)), of(&None::<u8>));
        assert_ne!(of(&1u8), of(&1u16));
        assert_ne!(of(&(1i8, 2.5f32, 'x')), of(&(1i8, 2.5f64, 'x')));
        assert_eq!(of("same"), of("same"));
        assert_eq!(hex(&[0, 255]), "00ff");
    }
}
