//! What is written, in pieces to whoever takes them on.

use std::io::{self, Write};

const PIECE_BYTES: usize = 256 << 10;

/// Gathers what is written, and gives it on in pieces of one size; the last one is what is left.
pub struct Pieces<F> {
    give: F,
    piece: Vec<u8>,
}

impl<F: FnMut(Vec<u8>) -> io::Result<()>> Pieces<F> {
    /// For one who waits for each piece until it is taken.
    pub fn new(give: F) -> Pieces<F> {
        Pieces {
            give,
            piece: Vec::with_capacity(PIECE_BYTES),
        }
    }
}

impl<F: FnMut(Vec<u8>) -> io::Result<()>> Write for Pieces<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PIECE_BYTES - self.piece.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        if self.piece.len() == PIECE_BYTES {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE_BYTES));
        (self.give)(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_have_one_size_but_the_last_and_nothing_is_lost() {
        let mut given = Vec::new();
        let mut pieces = Pieces::new(|piece| {
            given.push(piece);
            Ok(())
        });
        let whole: Vec<u8> = (0..2 * PIECE_BYTES + 7).map(|at| at as u8).collect();
        for part in whole.chunks(1_000) {
            pieces.write_all(part).unwrap();
        }
        pieces.flush().unwrap();
        pieces.flush().unwrap();
        let sizes: Vec<usize> = given.iter().map(Vec::len).collect();
        assert_eq!(sizes, [PIECE_BYTES, PIECE_BYTES, 7]);
        assert_eq!(given.concat(), whole);
    }
}
