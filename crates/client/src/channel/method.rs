//! What may be done with a call that failed half-way, read from the API's own description.

use std::{collections::HashMap, sync::LazyLock, time::Duration};

use prost::{
    Message,
    bytes::Buf,
    encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field},
};
use prost_types::{FileDescriptorSet, MethodDescriptorProto};

/// One RPC's shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Method {
    pub(crate) shape: Shape,
    repeat: Repeat,
    /// How long one node may take before the next is asked; none for calls that wait on purpose.
    pub(crate) patience: Option<Duration>,
    /// Whether a second node may be asked while the first one thinks.
    pub(crate) is_hedged: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Unary,
    ServerStream,
    /// The caller's messages pass by once and cannot be sent again.
    ClientStream,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Repeat {
    /// A read, or a change that is idempotent by itself.
    Always,
    /// A change; the field with this number makes it safe, if it is filled.
    WithRequestId(u32),
    /// Only while it was certainly not sent.
    Never,
}

const READ_PATIENCE: Duration = Duration::from_secs(2);
const WRITE_PATIENCE: Duration = Duration::from_secs(5);
const FRAME_HEAD_BYTES: usize = 5;

static METHODS: LazyLock<HashMap<String, Method>> = LazyLock::new(|| {
    // Our own build wrote these bytes; were they unreadable, every call would count as unknown.
    FileDescriptorSet::decode(reeve_proto::DESCRIPTORS)
        .map(|set| table(&set))
        .unwrap_or_default()
});

impl Method {
    /// An unknown method is passed through once, as it comes.
    const UNKNOWN: Method = Method {
        shape: Shape::ClientStream,
        repeat: Repeat::Never,
        patience: None,
        is_hedged: false,
    };

    pub(crate) fn of(path: &str) -> Method {
        METHODS.get(path).copied().unwrap_or(Method::UNKNOWN)
    }

    /// Whether this request may be sent again although an earlier try may have arrived.
    pub(crate) fn may_repeat(&self, frame: &[u8]) -> bool {
        match self.repeat {
            Repeat::Always => true,
            Repeat::WithRequestId(field) => has_text(frame, field),
            Repeat::Never => false,
        }
    }
}

fn table(set: &FileDescriptorSet) -> HashMap<String, Method> {
    let request_ids: HashMap<String, u32> = set
        .file
        .iter()
        .flat_map(|file| file.message_type.iter().map(move |message| (file, message)))
        .filter_map(|(file, message)| {
            let field = message.field.iter().find(|field| field.name() == "request_id")?;
            Some((
                format!(".{}.{}", file.package(), message.name()),
                u32::try_from(field.number()).ok()?,
            ))
        })
        .collect();
    let mut methods = HashMap::new();
    for file in &set.file {
        for service in &file.service {
            for method in &service.method {
                let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                methods.insert(
                    path,
                    describe(method, request_ids.get(method.input_type()).copied()),
                );
            }
        }
    }
    methods
}

fn describe(method: &MethodDescriptorProto, request_id: Option<u32>) -> Method {
    let name = method.name();
    let begins = |words: &[&str]| words.iter().any(|word| name.starts_with(word));
    // Joining is idempotent on the CSR; renewing twice costs one more certificate; an acknowledgement only grows.
    let harmless = begins(&[
        "Acknowledge",
        "Get",
        "List",
        "Resolve",
        "Batch",
        "Watch",
        "Wait",
        "Who",
        "Join",
        "Enroll",
        "Renew",
    ]);
    let repeat = match request_id {
        Some(field) => Repeat::WithRequestId(field),
        None if harmless => Repeat::Always,
        None => Repeat::Never,
    };
    let shape = match (method.client_streaming(), method.server_streaming()) {
        (true, _) => Shape::ClientStream,
        (false, true) => Shape::ServerStream,
        (false, false) => Shape::Unary,
    };
    let is_read = begins(&["Get", "List", "Resolve", "Batch", "Who"]);
    let patience = match name.starts_with("Wait") {
        true => None,
        false if is_read => Some(READ_PATIENCE),
        false => Some(WRITE_PATIENCE),
    };
    Method {
        shape,
        repeat,
        patience,
        is_hedged: name == "Resolve",
    }
}

/// Whether a gRPC frame holds a message whose text field is not empty.
fn has_text(frame: &[u8], wanted: u32) -> bool {
    let plain = frame.first() == Some(&0);
    let Some(mut message) = frame.get(FRAME_HEAD_BYTES..).filter(|_| plain) else {
        return false;
    };
    while message.has_remaining() {
        let Ok((field, wire)) = decode_key(&mut message) else {
            return false;
        };
        if field == wanted && wire == WireType::LengthDelimited {
            let length = decode_varint(&mut message).unwrap_or_default();
            return length > 0 && message.len() as u64 >= length;
        }
        if skip_field(wire, field, &mut message, DecodeContext::default()).is_err() {
            return false;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use reeve_proto::v1;

    fn frame(message: &impl Message) -> Vec<u8> {
        let mut frame = vec![0];
        frame.extend(u32::try_from(message.encoded_len()).unwrap().to_be_bytes());
        frame.extend(message.encode_to_vec());
        frame
    }

    #[test]
    fn reads_repeat_and_changes_only_with_a_request_id() {
        let resolve = Method::of("/reeve.v1.ResolverService/Resolve");
        assert!(resolve.may_repeat(&frame(&v1::ResolveRequest::default())));

        let create = Method::of("/reeve.v1.TenantService/CreateTenant");
        let mut order = v1::CreateTenantRequest {
            slug: "a".into(),
            ..Default::default()
        };
        assert!(!create.may_repeat(&frame(&order)));
        order.request_id = "r-1".into();
        assert!(create.may_repeat(&frame(&order)));
        assert!(
            !create.may_repeat(&frame(&order)[..7]),
            "a cut message is not trusted"
        );
    }

    #[test]
    fn shapes_follow_the_description() {
        assert_eq!(
            Method::of("/reeve.v1.ResolverService/Watch").shape,
            Shape::ServerStream
        );
        assert_eq!(
            Method::of("/reeve.v1.AgentService/Session").shape,
            Shape::ClientStream
        );
        assert_eq!(
            Method::of("/reeve.v1.OperationService/WaitOperation").patience,
            None
        );
        assert_eq!(Method::of("/elsewhere.Service/Call"), Method::UNKNOWN);
        assert!(!Method::of("/reeve.v1.ClusterService/TransferLeader").may_repeat(&[0; 5]));
    }

    #[test]
    fn the_question_that_a_request_waits_for_is_the_one_that_may_be_asked_of_two() {
        let hedged: Vec<&String> = METHODS
            .iter()
            .filter(|(_, method)| method.is_hedged)
            .map(|(path, _)| path)
            .collect();
        assert_eq!(hedged, ["/reeve.v1.ResolverService/Resolve"]);
    }

    #[test]
    fn every_method_is_described() {
        let set = FileDescriptorSet::decode(reeve_proto::DESCRIPTORS).unwrap();
        let count: usize = set
            .file
            .iter()
            .flat_map(|f| &f.service)
            .map(|s| s.method.len())
            .sum();
        assert!(count > 20 && METHODS.len() == count, "{count}");
    }
}
