//! What is open for as long as its caller likes: it ends when the node stops, and its caller hears to ask another node.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use reeve_proto::Rpc;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::edge::status;

/// Whether a call of this kind waits for something to happen. All others are work, and go on to their ends.
/// A tail of the audit log is one or the other; it looks for itself.
pub(super) fn is_open_ended(rpc: Rpc) -> bool {
    matches!(
        rpc,
        Rpc::AgentSession | Rpc::ResolverWatch | Rpc::OperationWatchOperation | Rpc::OperationWaitOperation
    )
}

/// Runs such a call until this node is about to stop.
pub(super) async fn attend(run: impl Future<Output = Response>, leaving: &CancellationToken) -> Response {
    tokio::select! {
        biased;
        response = run => response.map(|body| {
            let leaving = Some(Box::pin(leaving.clone().cancelled_owned()));
            Body::new(Attended { body, leaving })
        }),
        () = leaving.cancelled() => status::stopping().into_http(),
    }
}

/// A stream that ends with a last word.
struct Attended {
    body: Body,
    /// None once the last word was said.
    leaving: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl http_body::Body for Attended {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        // What is there already goes out first.
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        let is_leaving =
            |leaving: &mut Pin<Box<WaitForCancellationFutureOwned>>| leaving.as_mut().poll(cx).is_ready();
        if !self.leaving.as_mut().is_some_and(is_leaving) {
            return Poll::Pending;
        }
        self.leaving = None;
        self.body = Body::empty();
        let mut last_word = HeaderMap::new();
        match status::stopping().add_header(&mut last_word) {
            Ok(()) => Poll::Ready(Some(Ok(Frame::trailers(last_word)))),
            Err(_) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
