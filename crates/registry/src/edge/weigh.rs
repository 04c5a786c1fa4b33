//! A request's body on its way in: each byte is counted, no message is too long, and it has so much time to come.
//!
//! ```text
//! network ─► Incoming: announced too long? ─► room for its bytes? ─► here in time? ─► tonic ─► handler
//! ```
//! A request is given back when it was answered; in a stream of messages, each is given back when it is whole.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;
use reeve_proto::error::{self, Reason};
use reeve_proto::seats::{Bound, Seat};
use tokio::time::{Instant, Sleep};
use tonic::Status;

use crate::edge::room::{CALL_PAUSE, refuse};

/// What stands before each message: a flag, and four bytes of length.
const HEAD_BYTES: usize = 5;

/// The room that a request's bytes take, until all who hold it are done.
pub(super) type Weight = Arc<Mutex<Seat<Arc<str>>>>;

/// What a body may be.
#[derive(Clone)]
pub(super) struct Terms {
    /// The longest message.
    pub message: Bound,
    /// How long the whole body may take; none when it goes on for as long as its caller likes.
    pub patience: Option<Bound>,
    /// Where its bytes are counted; none where so few calls are let in that they need not be.
    pub weight: Option<Weight>,
}

impl Terms {
    /// Whether it is one message and then ends.
    fn is_one(&self) -> bool {
        self.patience.is_some()
    }

    /// What is left of it holds its callers to these terms.
    pub(super) fn hold(self, body: Body) -> Body {
        let until = self
            .patience
            .map(|patience| Instant::now() + Duration::from_millis(patience.most as u64));
        Body::new(Incoming {
            body,
            terms: self,
            messages: Messages::default(),
            seen: 0,
            until,
            alarm: None,
        })
    }

    fn too_long(&self) -> Status {
        let Bound { setting, most } = self.message;
        error::field(
            "request",
            format!("is larger than {most} bytes ({setting}); send less at once"),
        )
    }

    fn too_slow(&self) -> Status {
        let (setting, most) = self
            .patience
            .map_or(("", 0), |patience| (patience.setting, patience.most));
        let message = format!("the request did not come whole within {most} ms ({setting}); send it again");
        let most = most.to_string();
        let metadata = [("limit", setting), ("most", most.as_str())];
        error::retry_with(Reason::RateLimited, message, CALL_PAUSE, &metadata)
    }
}

struct Incoming {
    body: Body,
    terms: Terms,
    messages: Messages,
    seen: usize,
    until: Option<Instant>,
    /// Set at the first wait: what is here at once needs none.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Incoming {
    /// Counts what came.
    fn take(&mut self, chunk: &[u8]) -> Result<(), Status> {
        let most = self.terms.message.most;
        self.seen += chunk.len();
        let is_short = self.messages.take(chunk, most);
        if !is_short || (self.terms.is_one() && self.seen > most + HEAD_BYTES) {
            return Err(self.terms.too_long());
        }
        let Some(weight) = &self.terms.weight else {
            return Ok(());
        };
        let size = match self.terms.is_one() {
            true => self.seen,
            false => self.messages.held,
        };
        weight
            .lock()
            .resize(size)
            .map_err(|full| refuse(full, CALL_PAUSE))
    }

    /// Whether its time is over. Only a body that was waited for before is asked: one look at the clock is one too many
    /// for those that are here at once.
    fn is_late(&self) -> bool {
        self.alarm.is_some() && self.until.is_some_and(|until| Instant::now() >= until)
    }

    /// Waits for more of it, and no longer than it may take.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(until) = self.until else {
            return Poll::Pending;
        };
        let alarm = self
            .alarm
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        alarm.as_mut().poll(cx)
    }
}

impl http_body::Body for Incoming {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Ready(Some(_)) if self.is_late() => return Poll::Ready(Some(Err(self.terms.too_slow()))),
            Poll::Ready(Some(frame)) => frame,
            Poll::Pending => {
                return self.poll_late(cx).map(|()| Some(Err(self.terms.too_slow())));
            }
        };
        let frame = frame.map_err(|error| Status::from_error(error.into()))?;
        if let Some(chunk) = frame.data_ref() {
            self.take(chunk)?;
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Where messages begin and end in what comes.
#[derive(Default)]
struct Messages {
    /// Bytes of a message that is not whole, its head included.
    held: usize,
    length: usize,
}

impl Messages {
    /// Takes the next bytes; false when they announce a message that is longer than it may be.
    fn take(&mut self, mut chunk: &[u8], most: usize) -> bool {
        while let Some(first) = chunk.first() {
            if self.held < HEAD_BYTES {
                // The first byte of a head is its flag.
                self.length = match self.held {
                    0 => 0,
                    _ => (self.length << 8) | usize::from(*first),
                };
                self.held += 1;
                chunk = &chunk[1..];
                if self.held == HEAD_BYTES && self.length > most {
                    return false;
                }
            }
            if self.held >= HEAD_BYTES {
                let whole = HEAD_BYTES + self.length;
                let taken = chunk.len().min(whole - self.held);
                self.held += taken;
                chunk = &chunk[taken..];
                if self.held == whole {
                    *self = Messages::default();
                }
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(length: usize) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend((length as u32).to_be_bytes());
        bytes.resize(HEAD_BYTES + length, 7);
        bytes
    }

    #[test]
    fn a_message_is_held_until_it_is_whole_however_it_is_cut() {
        let sent = [message(3), message(0), message(300)].concat();
        for size in 1..sent.len() {
            let (mut messages, mut seen) = (Messages::default(), 0);
            for chunk in sent.chunks(size) {
                assert!(messages.take(chunk, 300));
                seen += chunk.len();
                let begun = [0, 8, 13, 318].into_iter().rfind(|begin| *begin <= seen).unwrap();
                assert_eq!(messages.held, seen - begun, "{size} at {seen}");
            }
            assert_eq!(messages.held, 0);
        }
    }

    #[test]
    fn a_message_that_is_too_long_is_known_by_its_head() {
        let head = &message(301)[..HEAD_BYTES];
        assert!(!Messages::default().take(head, 300));
        let mut messages = Messages::default();
        assert!(messages.take(&message(300), 300) && messages.take(&head[..4], 300));
        assert!(!messages.take(&head[4..], 300));
    }
}
