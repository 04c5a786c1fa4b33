//! Between the thread that writes or reads a backup and the store: a few pieces that wait.

use std::io::{self, Read};

use bytes::Bytes;
use tokio::sync::mpsc;

/// Pieces that wait.
pub(super) const QUEUE_MAX: usize = 8;

/// Takes each piece on to whoever uploads them.
pub(super) fn give(to: mpsc::Sender<Bytes>) -> impl FnMut(Vec<u8>) -> io::Result<()> {
    move |piece| {
        let sent = to.blocking_send(piece.into());
        sent.map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the upload has ended"))
    }
}

/// What is downloaded, as something to read from.
pub(super) struct Received {
    from: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl Received {
    pub(super) fn new(from: mpsc::Receiver<io::Result<Bytes>>) -> Received {
        Received {
            from,
            piece: Bytes::new(),
        }
    }
}

impl Read for Received {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.from.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let taken = into.len().min(self.piece.len());
        into[..taken].copy_from_slice(&self.piece.split_to(taken));
        Ok(taken)
    }
}
