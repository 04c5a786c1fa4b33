//! Frames: kind, length, CRC-32C, body. The last one is the sum over all before it, and nothing follows.

use std::io::{self, Read, Write};

use sha2::{Digest, Sha256};

use super::BackupError;

pub(super) const MAGIC: &[u8; 8] = b"REEVEBK1";
/// The longest body; a longer one is damage.
const BODY_MAX: usize = 64 << 20;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Key,
    Header,
    State,
    Changes,
    Foot,
    Sum,
}

impl Kind {
    pub(super) fn byte(self) -> u8 {
        match self {
            Kind::Key => b'K',
            Kind::Header => b'H',
            Kind::State => b'S',
            Kind::Changes => b'C',
            Kind::Foot => b'F',
            Kind::Sum => b'Z',
        }
    }

    fn of(byte: u8) -> Option<Kind> {
        let all = [
            Kind::Key,
            Kind::Header,
            Kind::State,
            Kind::Changes,
            Kind::Foot,
            Kind::Sum,
        ];
        all.into_iter().find(|kind| kind.byte() == byte)
    }

    /// What a body is sealed for: the same bytes do not open as another frame, or at another place.
    pub(super) fn place(self, number: u64) -> Vec<u8> {
        format!("backup/{number}/{}", char::from(self.byte())).into_bytes()
    }
}

/// Over number, kind and length as well: a frame that was moved or cut differently does not fit.
fn sum_of(number: u64, head: &[u8; 5], body: &[u8]) -> u32 {
    let sum = crc32c::crc32c(&number.to_be_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(sum, head), body)
}

fn head_of(kind: Kind, length: u32) -> [u8; 5] {
    let [a, b, c, d] = length.to_be_bytes();
    [kind.byte(), a, b, c, d]
}

/// Writes frames.
pub(super) struct FrameWriter<W> {
    to: W,
    sum: Sha256,
    number: u64,
}

impl<W: Write> FrameWriter<W> {
    pub(super) fn begin(mut to: W) -> io::Result<FrameWriter<W>> {
        to.write_all(MAGIC)?;
        Ok(FrameWriter {
            to,
            sum: Sha256::new_with_prefix(MAGIC),
            number: 0,
        })
    }

    /// The number of the next frame.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn put(&mut self, kind: Kind, body: &[u8]) -> io::Result<()> {
        let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= BODY_MAX);
        let length = length.ok_or_else(|| io::Error::other("a block is too long"))?;
        let head = head_of(kind, length);
        let sum = sum_of(self.number, &head, body).to_be_bytes();
        for bytes in [&head[..], &sum, body] {
            self.sum.update(bytes);
            self.to.write_all(bytes)?;
        }
        self.number += 1;
        Ok(())
    }

    /// Ends the file; gives back its sum.
    pub(super) fn end(mut self) -> io::Result<[u8; 32]> {
        let sum: [u8; 32] = self.sum.clone().finalize().into();
        self.put(Kind::Sum, &sum)?;
        self.to.flush()?;
        Ok(sum)
    }
}

/// One frame, where it was found.
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) number: u64,
    /// Its first byte in the file.
    pub(super) at: u64,
    pub(super) body: Vec<u8>,
}

impl Frame {
    pub(super) fn damaged(&self, why: impl Into<String>) -> BackupError {
        BackupError::Damaged {
            block: self.number,
            at: self.at,
            why: why.into(),
        }
    }
}

/// Reads frames, and believes none whose checksum does not match.
pub(super) struct FrameReader<R> {
    from: R,
    sum: Sha256,
    number: u64,
    at: u64,
    /// The sum over the file, once its end was read.
    ended: Option<[u8; 32]>,
}

impl<R: Read> FrameReader<R> {
    pub(super) fn begin(mut from: R) -> Result<FrameReader<R>, BackupError> {
        let mut magic = [0; MAGIC.len()];
        from.read_exact(&mut magic)
            .map_err(|_| BackupError::NoSnapshot("it is too short".to_owned()))?;
        if &magic != MAGIC {
            let why = "byte 0: it does not begin as one, or its first bytes were changed";
            return Err(BackupError::NoSnapshot(why.to_owned()));
        }
        Ok(FrameReader {
            from,
            sum: Sha256::new_with_prefix(MAGIC),
            number: 0,
            at: MAGIC.len() as u64,
            ended: None,
        })
    }

    /// How many frames were read.
    pub(super) fn frames(&self) -> u64 {
        self.number
    }

    /// How many bytes were read.
    pub(super) fn bytes(&self) -> u64 {
        self.at
    }

    /// The sum over the file, once its end was read.
    pub(super) fn sum(&self) -> Option<[u8; 32]> {
        self.ended
    }

    fn damaged(&self, why: impl Into<String>) -> BackupError {
        BackupError::Damaged {
            block: self.number,
            at: self.at,
            why: why.into(),
        }
    }

    fn take(&mut self, into: &mut [u8]) -> Result<(), BackupError> {
        self.from.read_exact(into).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.damaged("the file ends here"),
            _ => BackupError::Io(error),
        })
    }

    /// The next frame; none at the end, once the sum over the file was found right.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, BackupError> {
        if self.ended.is_some() {
            return Ok(None);
        }
        let mut head = [0; 5];
        let mut sum = [0; 4];
        self.take(&mut head)?;
        self.take(&mut sum)?;
        let [byte, a, b, c, d] = head;
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        let kind = Kind::of(byte).ok_or_else(|| self.damaged(format!("it is of no known kind ({byte})")))?;
        if length > BODY_MAX {
            return Err(self.damaged(format!("it claims to be {length} bytes long")));
        }
        let mut body = vec![0; length];
        self.take(&mut body)?;
        if u32::from_be_bytes(sum) != sum_of(self.number, &head, &body) {
            return Err(self.damaged("its checksum does not match"));
        }
        let frame = Frame {
            kind,
            number: self.number,
            at: self.at,
            body,
        };
        if kind == Kind::Sum {
            self.end(&frame)?;
            self.at += (head.len() + sum.len() + length) as u64;
            return Ok(None);
        }
        for bytes in [&head[..], &sum, &frame.body] {
            self.sum.update(bytes);
        }
        self.at += (head.len() + sum.len() + length) as u64;
        self.number += 1;
        Ok(Some(frame))
    }

    fn end(&mut self, frame: &Frame) -> Result<(), BackupError> {
        let sum: [u8; 32] = self.sum.clone().finalize().into();
        if frame.body != sum {
            return Err(frame.damaged("the sum over the file does not match"));
        }
        self.ended = Some(sum);
        let mut more = [0; 1];
        match self.from.read(&mut more)? {
            0 => Ok(()),
            _ => Err(frame.damaged("bytes follow the end")),
        }
    }
}
