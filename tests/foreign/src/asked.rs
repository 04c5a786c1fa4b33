//! A case as Rust asks it: through reeve-client, told as the other languages tell it.

use anyhow::{Context, Result, bail};
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions};
use reeve_client::{Api, v1};
use serde_json::{Value, json};
use tonic::{Code, Response, Status};
use tonic_types::StatusExt;

use crate::table::Case;

/// What came of it.
pub async fn ask(api: &Api, case: &Case) -> Result<Value> {
    let mut resolver = api.resolver();
    match case.call.as_str() {
        "Resolve" => told(case, resolver.resolve(request::<v1::ResolveRequest>(case)?).await),
        "BatchResolve" => told(
            case,
            resolver
                .batch_resolve(request::<v1::BatchResolveRequest>(case)?)
                .await,
        ),
        "GetCredential" => told(
            case,
            resolver
                .get_credential(request::<v1::GetCredentialRequest>(case)?)
                .await,
        ),
        "AcknowledgeCredential" => told(
            case,
            resolver
                .acknowledge_credential(request::<v1::AcknowledgeCredentialRequest>(case)?)
                .await,
        ),
        other => bail!("case {:?}: {other:?} cannot be called", case.name),
    }
}

fn request<T: Message + Default>(case: &Case) -> Result<T> {
    let kind = kind(&format!("{}Request", case.call))?;
    let read = DynamicMessage::deserialize(kind, &case.request);
    let read = read.with_context(|| format!("case {:?}", case.name))?;
    Ok(read.transcode_to()?)
}

fn told<T: Message>(case: &Case, answered: Result<Response<T>, Status>) -> Result<Value> {
    Ok(match answered {
        Ok(answer) => json!({"code": "OK", "answer": shown(case, &answer.into_inner())?}),
        Err(status) => refused(&status),
    })
}

/// proto3's JSON, with the names of the fields as the proto files write them.
fn shown(case: &Case, answer: &impl Message) -> Result<Value> {
    let mut message = DynamicMessage::new(kind(&format!("{}Response", case.call))?);
    message.transcode_from(answer)?;
    let options = SerializeOptions::new()
        .use_proto_field_name(true)
        .skip_default_fields(false);
    Ok(message.serialize_with_options(serde_json::value::Serializer, &options)?)
}

fn refused(status: &Status) -> Value {
    let details = status.get_error_details();
    let metadata = details.error_info().map(|info| &info.metadata);
    let violations = details.bad_request().map(|bad| bad.field_violations.as_slice());
    let fields: Vec<&str> = violations
        .unwrap_or_default()
        .iter()
        .map(|one| one.field.as_str())
        .collect();
    let reason = reeve_client::reason(status);
    json!({
        "code": word(status.code()),
        "reason": reason.map(|reason| reason.as_str_name().trim_start_matches("ERROR_REASON_")),
        "metadata": metadata,
        "fields": fields,
        "message": status.message(),
    })
}

/// `InvalidArgument` as gRPC writes it: `INVALID_ARGUMENT`.
fn word(code: Code) -> String {
    let mut word = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_ascii_uppercase() && !word.is_empty() {
            word.push('_');
        }
        word.push(letter.to_ascii_uppercase());
    }
    word
}

fn kind(name: &str) -> Result<MessageDescriptor> {
    let pool = DescriptorPool::decode(reeve_proto::DESCRIPTORS)?;
    let found = pool.get_message_by_name(&format!("reeve.v1.{name}"));
    found.with_context(|| format!("there is no message {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_written_as_grpc_writes_them() {
        assert_eq!(word(Code::NotFound), "NOT_FOUND");
        assert_eq!(word(Code::Internal), "INTERNAL");
    }
}
