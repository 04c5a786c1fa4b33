//! Calls whose messages are bytes: whatever a caller could put on the wire.

use std::time::Duration;

use anyhow::{Result, bail};
use prost::bytes::{Buf as _, BufMut as _};
use prost_reflect::MethodDescriptor;
use reeve_proto::v1::SessionResponse;
use reeve_proto::v1::session_response::Message as Down;
use tokio_stream::StreamExt;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};

/// Longer than any call may take; who says nothing until then is stuck.
const PATIENCE: Duration = Duration::from_secs(20);
/// What calls that answer at once are given, and those that wait for what never comes.
pub const DEADLINE: &str = "10S";
pub const DEADLINE_SHORT: &str = "300m";

/// What came of a call.
#[derive(Debug)]
pub enum Outcome {
    Done,
    Refused(Status),
    /// An agent's word was turned away in the answer to it.
    TurnedAway(String),
}

/// Asks, and hears the first answer; in a session, where a beat is answered before it is read to its end, what is bad in
/// it is waited for.
pub async fn ask(
    channel: &Channel,
    method: &MethodDescriptor,
    messages: Vec<Vec<u8>>,
    metadata: MetadataMap,
    is_bad: bool,
) -> Result<Outcome> {
    let asked = tokio::time::timeout(PATIENCE, call(channel, method, messages, metadata, is_bad));
    match asked.await {
        Ok(Ok(outcome)) => Ok(outcome),
        Ok(Err(status)) => Ok(Outcome::Refused(status)),
        Err(_) => bail!("no answer within {} s", PATIENCE.as_secs()),
    }
}

async fn call(
    channel: &Channel,
    method: &MethodDescriptor,
    mut messages: Vec<Vec<u8>>,
    metadata: MetadataMap,
    is_bad: bool,
) -> Result<Outcome, Status> {
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    let path = PathAndQuery::try_from(path).map_err(|error| Status::internal(error.to_string()))?;
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready()
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    let is_last = method.is_server_streaming();
    if method.is_client_streaming() {
        // The sending side stays open: an agent that has said all is still there.
        let said = tokio_stream::iter(messages).chain(tokio_stream::pending());
        let answer = grpc.streaming(request(said, metadata), path, Raw).await?;
        return session(answer.into_inner(), is_bad).await;
    }
    let message = messages.pop().unwrap_or_default();
    if is_last {
        let answer = grpc
            .server_streaming(request(message, metadata), path, Raw)
            .await?;
        answer.into_inner().message().await?;
        return Ok(Outcome::Done);
    }
    grpc.unary(request(message, metadata), path, Raw).await?;
    Ok(Outcome::Done)
}

/// Hears an agent's session until what was said last is answered.
async fn session(mut answers: Streaming<Vec<u8>>, is_bad: bool) -> Result<Outcome, Status> {
    while let Some(bytes) = answers.message().await? {
        let answer: SessionResponse = prost::Message::decode(bytes.as_slice())
            .map_err(|error: prost::DecodeError| Status::data_loss(error.to_string()))?;
        let refused = match answer.message {
            Some(Down::ReportAck(ack)) => ack.refused,
            Some(Down::FindingsAck(ack)) => ack.refused,
            Some(Down::BeatAck(_)) => String::new(),
            _ => continue,
        };
        match refused.is_empty() {
            true if is_bad => {}
            true => return Ok(Outcome::Done),
            false => return Ok(Outcome::TurnedAway(refused)),
        }
    }
    Ok(Outcome::Done)
}

fn request<T>(message: T, metadata: MetadataMap) -> Request<T> {
    let mut request = Request::new(message);
    *request.metadata_mut() = metadata;
    request
}

struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, message: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut bytes = vec![0; buffer.remaining()];
        buffer.copy_to_slice(&mut bytes);
        Ok(Some(bytes))
    }
}
