//! A watch on the wire: what many are sent alike is encoded once and shared.
//!
//! ```text
//! batch ─► wire(network): the first watcher encodes ─► Frame::Shared in every queue     Frame::Own: listings, bookmarks
//! ```
//! tonic's generated service encodes each message for each caller, so this one call has a route and a codec of its own.

use axum::Router;
use axum::extract::Request;
use axum::routing::post;
use bytes::{BufMut, Bytes};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use prost::Message;
use reeve_proto::Rpc;
use reeve_proto::v1::{WatchRequest, WatchResponse};
use tonic::codec::{Codec, EncodeBuf, Encoder};
use tonic::server::{Grpc, ServerStreamingService};
use tonic::{Response, Status};
use tonic_prost::ProstDecoder;

use super::watch::Watcher;
use crate::edge::desk::Desk;

/// One message to a watcher.
pub(super) enum Frame {
    Own(Box<WatchResponse>),
    /// A `WatchResponse`, encoded.
    Shared(Bytes),
}

/// Serves watches in place of the generated service.
pub(in crate::edge) fn route(router: Router, desk: Desk, request_bytes: usize) -> Router {
    let serve = move |request: Request| async move {
        let mut grpc = Grpc::new(Frames).apply_max_message_size_config(Some(request_bytes), None);
        grpc.server_streaming(Watches { desk }, request).await
    };
    router.route(Rpc::ResolverWatch.path(), post(serve))
}

struct Watches {
    desk: Desk,
}

impl ServerStreamingService<WatchRequest> for Watches {
    type Response = Frame;
    type ResponseStream = BoxStream<'static, Result<Frame, Status>>;
    type Future = BoxFuture<'static, Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: tonic::Request<WatchRequest>) -> Self::Future {
        let desk = self.desk.clone();
        Box::pin(async move {
            let (call, wire) = desk.admit(request)?;
            let watcher = Watcher::begin(desk, call, wire)?;
            Ok(Response::new(watcher.spawn()))
        })
    }
}

struct Frames;

impl Codec for Frames {
    type Encode = Frame;
    type Decode = WatchRequest;
    type Encoder = Frames;
    type Decoder = ProstDecoder<WatchRequest>;

    fn encoder(&mut self) -> Frames {
        Frames
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::default()
    }
}

impl Encoder for Frames {
    type Item = Frame;
    type Error = Status;

    fn encode(&mut self, frame: Frame, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        match frame {
            Frame::Own(message) => message
                .encode(buffer)
                .map_err(|error| Status::internal(error.to_string())),
            Frame::Shared(bytes) => {
                buffer.put(bytes);
                Ok(())
            }
        }
    }
}
