//! The bytes of a record that are hashed: a version, then every field with its length before it.

use crate::audit::record::{Shown, VERSION};
use crate::ids::{Revision, Stamp};

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A layout that this program does not know.
    #[error("record of version {0}; this program reads version {VERSION}")]
    Version(u16),
    /// Too short, too long, or not text where text belongs.
    #[error("record is malformed at byte {0}")]
    Malformed(usize),
}

pub(super) fn encode(shown: &Shown) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    out.extend(shown.version.to_be_bytes());
    let certificate: &[u8] = shown.certificate.as_ref().map_or(&[], |c| c);
    let fields: [&[u8]; 17] = [
        shown.shard.as_bytes(),
        &shown.sequence.to_be_bytes(),
        &shown.stamp.0.to_be_bytes(),
        &shown.revision.0.to_be_bytes(),
        shown.actor.as_bytes(),
        certificate,
        shown.action.as_bytes(),
        shown.resource.as_bytes(),
        shown.outcome.as_bytes(),
        shown.reason.as_bytes(),
        shown.request_id.as_bytes(),
        shown.trace_id.as_bytes(),
        &shown.before,
        &shown.after,
        &shown.salt,
        &shown.personal,
        &shown.previous,
    ];
    for field in fields {
        out.extend((field.len() as u32).to_be_bytes());
        out.extend(field);
    }
    out
}

/// Reads canonical bytes back; anything unknown or left over is an error.
pub fn decode(bytes: &[u8]) -> Result<Shown, DecodeError> {
    let mut reader = Reader { bytes, at: 0 };
    let version = u16::from_be_bytes(reader.exact()?);
    if version != VERSION {
        return Err(DecodeError::Version(version));
    }
    let shown = Shown {
        version,
        shard: reader.text()?,
        sequence: reader.number()?,
        stamp: Stamp(reader.number()?),
        revision: Revision(reader.number()?),
        actor: reader.text()?,
        certificate: reader.optional_hash()?,
        action: reader.text()?,
        resource: reader.text()?,
        outcome: reader.text()?,
        reason: reader.text()?,
        request_id: reader.text()?,
        trace_id: reader.text()?,
        before: reader.array()?,
        after: reader.array()?,
        salt: reader.array()?,
        personal: reader.field()?.to_vec(),
        previous: reader.array()?,
    };
    if reader.at != bytes.len() {
        return Err(DecodeError::Malformed(reader.at));
    }
    Ok(shown)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let end = self.at.checked_add(len).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or(DecodeError::Malformed(self.at))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn exact<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let at = self.at;
        self.take(N)?.try_into().map_err(|_| DecodeError::Malformed(at))
    }

    fn field(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = u32::from_be_bytes(self.exact()?);
        self.take(len as usize)
    }

    fn text(&mut self) -> Result<String, DecodeError> {
        let at = self.at;
        String::from_utf8(self.field()?.to_vec()).map_err(|_| DecodeError::Malformed(at))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let at = self.at;
        self.field()?.try_into().map_err(|_| DecodeError::Malformed(at))
    }

    fn number(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    fn optional_hash(&mut self) -> Result<Option<[u8; 32]>, DecodeError> {
        let at = self.at;
        match self.field()? {
            [] => Ok(None),
            bytes => bytes.try_into().map(Some).map_err(|_| DecodeError::Malformed(at)),
        }
    }
}
