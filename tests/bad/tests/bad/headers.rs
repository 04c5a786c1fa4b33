//! Headers that no client sends: those that HTTP/2 lets through, and those that it must not.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use http::Method;
use http_body_util::{BodyExt, Full};
use reeve_bad::world::{Who, World};
use reeve_client::v1::claim::Kind;
use reeve_client::v1::resolver_service_client::ResolverServiceClient;
use reeve_client::v1::{Claim, ResolveRequest};
use reeve_proto::error;
use reeve_proto::identity::{Expect, connector};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::codegen::Bytes;
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue};
use tonic::{Request, Status};
use tower::ServiceExt;

use crate::{Tally, Watch, note};

/// Somebody who is asked something odd answers, or hangs up, within this.
const PATIENCE: Duration = Duration::from_secs(10);
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: u8 = 4;
const HEADERS: u8 = 1;
const DATA: u8 = 0;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const RESOLVE: &str = "/reeve.v1.ResolverService/Resolve";

const ANSWERED: &str = "answered";
const RESET: &str = "reset";
const SENT_AWAY: &str = "told to go away";

type Header<'a> = (&'a [u8], &'a [u8]);

pub async fn play(world: &World, watch: &mut Watch, tally: &mut Tally) -> Result<()> {
    let long = "x".repeat(4_000);
    for (name, value) in [
        ("grpc-timeout", "-1S"),
        ("grpc-timeout", "5"),
        ("grpc-timeout", "123456789S"),
        ("grpc-timeout", "99999999H"),
        ("grpc-timeout", "later"),
        ("traceparent", "00-zz"),
        ("traceparent", long.as_str()),
        ("tracestate", "=,=,="),
        ("x-forwarded-host", "bach-mai.example"),
        ("x-forwarded-host", "a b\tc"),
        ("x-forwarded-for", "127.0.0.1, 10.0.0.1"),
        ("authorization", "Bearer ' OR 1=1 --"),
        ("x-tenant", "bach-mai"),
        ("x-real-ip", long.as_str()),
    ] {
        // Nobody reads them, or reads them as nothing: the answer is as without.
        let asked = resolve(world, &[(name, value)]).await;
        let faults = asked.as_ref().err().cloned().into_iter().collect();
        note(
            watch,
            tally,
            &format!("{name}: {:.40}", value),
            faults,
            &format!("{asked:?}"),
        )
        .await?;
    }
    let twice = resolve(world, &[("grpc-timeout", "5S"), ("grpc-timeout", "-1S")]).await;
    let faults = twice.as_ref().err().cloned().into_iter().collect();
    note(watch, tally, "grpc-timeout twice", faults, &format!("{twice:?}")).await?;
    for (name, wanted, headers) in odd_headers() {
        let seen = raw(world, &headers).await;
        let faults = match &seen {
            Ok(seen) if *seen == wanted => Vec::new(),
            Ok(seen) => vec![format!("{seen}, and {wanted} was expected")],
            Err(error) => vec![format!("{error:#}")],
        };
        note(
            watch,
            tally,
            &format!("raw: {name}"),
            faults,
            &format!("{seen:?}"),
        )
        .await?;
    }
    for call in spoken() {
        let seen = speak(world, &call).await;
        let faults = match &seen {
            Ok(seen) if seen == call.told => Vec::new(),
            Ok(seen) => vec![format!("{seen:?}, and {:?} was expected", call.told)],
            Err(error) => vec![format!("{error:#}")],
        };
        note(
            watch,
            tally,
            &format!("spoken: {}", call.name),
            faults,
            &format!("{seen:?}"),
        )
        .await?;
    }
    // Whoever asks afterwards as one should is answered.
    let after = resolve(world, &[]).await;
    note(
        watch,
        tally,
        "and then a good one",
        after.clone().err().into_iter().collect(),
        &format!("{after:?}"),
    )
    .await
}

async fn resolve(world: &World, headers: &[(&str, &str)]) -> Result<(), String> {
    let told = |error: &dyn std::fmt::Display| error.to_string();
    let channel = world.channel(Who::Service).map_err(|error| told(&error))?;
    let mut request = Request::new(ResolveRequest {
        claim: Some(Claim {
            kind: Kind::Slug.into(),
            key: "cho-ray".to_owned(),
        }),
        ..Default::default()
    });
    for (name, value) in headers {
        let name = AsciiMetadataKey::from_bytes(name.as_bytes()).map_err(|error| told(&error))?;
        let value = AsciiMetadataValue::try_from(*value).map_err(|error| told(&error))?;
        request.metadata_mut().append(name, value);
    }
    let answer = ResolverServiceClient::new(channel).resolve(request).await;
    answer.map(drop).map_err(|status| told(&status))
}

/// What goes before the wire's own headers, or in their place.
fn odd_headers() -> Vec<(&'static str, &'static str, Vec<Header<'static>>)> {
    let good: Vec<Header<'static>> = vec![
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", RESOLVE.as_bytes()),
        (b":authority", b"hospital"),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
    ];
    let with = |at: usize, header: Header<'static>| {
        let mut headers = good.clone();
        headers[at] = header;
        headers
    };
    let and = |header: Header<'static>| {
        let mut headers = good.clone();
        headers.push(header);
        headers
    };
    static LONG: [u8; 100_000] = [b'x'; 100_000];
    vec![
        ("as it should be", ANSWERED, good.clone()),
        (
            "an authority with spaces",
            RESET,
            with(3, (b":authority", b"a b c")),
        ),
        (
            "an authority with a line end",
            RESET,
            with(3, (b":authority", b"a\r\nX-Tenant: b")),
        ),
        (
            "an authority with a NUL",
            RESET,
            with(3, (b":authority", b"a\0b")),
        ),
        ("no method", RESET, good[1..].to_vec()),
        ("no path", RESET, with(2, (b"x-path", b"/"))),
        (
            "a path out of the folder",
            ANSWERED,
            with(2, (b":path", b"/../../etc/passwd")),
        ),
        ("a path with a line end", RESET, with(2, (b":path", b"/a\r\nb"))),
        ("a path that is no path", RESET, with(2, (b":path", b"a b"))),
        ("a GET", ANSWERED, with(0, (b":method", b"GET"))),
        (
            "a method that is none",
            SENT_AWAY,
            with(0, (b":method", b"P OST")),
        ),
        (
            "another content",
            ANSWERED,
            with(4, (b"content-type", b"text/html")),
        ),
        ("a name in capitals", SENT_AWAY, and((b"X-Tenant", b"bach-mai"))),
        ("a name with a space", SENT_AWAY, and((b"x tenant", b"bach-mai"))),
        (
            "a value with a line end",
            SENT_AWAY,
            and((b"x-tenant", b"a\r\nx-admin: b")),
        ),
        ("a value with a NUL", SENT_AWAY, and((b"x-tenant", b"a\0b"))),
        (
            "a value that is not ASCII",
            ANSWERED,
            and((b"x-tenant", b"\xff\xfe")),
        ),
        ("two paths", RESET, and((b":path", RESOLVE.as_bytes()))),
        (
            "a pseudo header that is none",
            SENT_AWAY,
            and((b":tenant", b"bach-mai")),
        ),
        ("a header of HTTP/1", RESET, and((b"connection", b"upgrade"))),
        (
            "another length than what comes",
            RESET,
            and((b"content-length", b"1")),
        ),
        ("a length that is none", RESET, and((b"content-length", b"-1"))),
        (
            "binary that is not base64",
            ANSWERED,
            and((b"x-tenant-bin", b"!!!")),
        ),
        (
            "an encoding that is none",
            ANSWERED,
            and((b"grpc-encoding", b"nonsense")),
        ),
        ("a hundred thousand letters", SENT_AWAY, and((b"x-tenant", &LONG))),
    ]
}

/// A call with one thing odd about it, and what it is answered: the status of HTTP, that of gRPC and the reason.
struct Spoken {
    name: &'static str,
    told: &'static str,
    method: Method,
    path: &'static str,
    header: (&'static str, &'static [u8]),
}

fn spoken() -> Vec<Spoken> {
    let with = |name, told, header| Spoken {
        name,
        told,
        method: Method::POST,
        path: RESOLVE,
        header,
    };
    let content = |name, told, content| with(name, told, ("content-type", content));
    let plain = |name, told| with(name, told, ("te", b"trailers"));
    let bad = "200 3 BAD_FIELD";
    let not_offered = "200 12 NOT_OFFERED";
    vec![
        plain("no claim", bad),
        Spoken {
            path: "/../../etc/passwd",
            ..plain("a path out of the folder", not_offered)
        },
        Spoken {
            method: Method::GET,
            ..plain("a GET", "405")
        },
        content("another content", "415", b"text/html"),
        content(
            "a form, as a browser sends it anywhere",
            "415",
            b"application/x-www-form-urlencoded",
        ),
        content("almost its content", "415", b"application/grpcx"),
        content("its content, named in full", bad, b"application/grpc+proto"),
        with("a value that is not ASCII", bad, ("x-tenant", b"\xff\xfe")),
        with("binary that is not base64", bad, ("x-tenant-bin", b"!!!")),
        with(
            "an encoding that is none",
            not_offered,
            ("grpc-encoding", b"nonsense"),
        ),
    ]
}

/// Sends a call that has no claim, as no client of ours would.
async fn speak(world: &World, call: &Spoken) -> Result<String> {
    let channel = world.channel(Who::Service)?;
    let mut request = http::Request::new(tonic::body::Body::new(Full::new(Bytes::from_static(&[0; 5]))));
    *request.method_mut() = call.method.clone();
    *request.uri_mut() = call.path.parse()?;
    let (name, value) = call.header;
    let headers = request.headers_mut();
    headers.insert("content-type", "application/grpc".parse()?);
    headers.insert(
        name.parse::<http::HeaderName>()?,
        http::HeaderValue::from_bytes(value)?,
    );
    let answer = channel
        .oneshot(request)
        .await
        .map_err(|error| anyhow!("{error}"))?;
    let (parts, body) = answer.into_parts();
    let ended = body.collect().await.map_err(|error| anyhow!("{error}"))?;
    let status = Status::from_header_map(&parts.headers)
        .or_else(|| ended.trailers().and_then(Status::from_header_map));
    let told = status.map(|status| {
        let reason = error::word(error::info(&status).reason);
        format!(" {} {reason}", status.code() as i32)
    });
    Ok(format!("{}{}", parts.status.as_u16(), told.unwrap_or_default()))
}

/// Sends one call as bytes, and waits until it is answered, reset or hung up on.
async fn raw(world: &World, headers: &[Header<'_>]) -> Result<&'static str> {
    let dial = connector(&world.service, Expect::AnyNode)?;
    let (host, port) = world.asked.rsplit_once(':').context("an address")?;
    let mut tls = dial.dial(host, port.parse()?).await?;
    let block: Vec<u8> = headers.iter().flat_map(|header| literal(*header)).collect();
    let mut sent = [PREFACE.to_vec(), frame(SETTINGS, 0, 0, &[])].concat();
    sent.extend(heads(&block));
    // A message of no bytes: a resolve without a claim.
    sent.extend(frame(DATA, END_STREAM, 1, &[0, 0, 0, 0, 0]));
    // Whoever hangs up in the middle of it has answered.
    let _ = tls.write_all(&sent).await;
    let answer = async {
        loop {
            let mut head = [0; 9];
            if tls.read_exact(&mut head).await.is_err() {
                return "hung up";
            }
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let mut body = vec![0; length];
            if tls.read_exact(&mut body).await.is_err() {
                return "hung up";
            }
            match head[3] {
                HEADERS => return ANSWERED,
                3 => return RESET,
                7 => return SENT_AWAY,
                _ => {}
            }
        }
    };
    tokio::time::timeout(PATIENCE, answer)
        .await
        .context("nothing came of it")
}

/// A block of headers, in as many frames as it needs.
fn heads(block: &[u8]) -> Vec<u8> {
    const FRAME_BYTES_MAX: usize = 16_384;
    const CONTINUATION: u8 = 9;
    let parts: Vec<&[u8]> = block.chunks(FRAME_BYTES_MAX).collect();
    let last = parts.len() - 1;
    let frames = parts.iter().enumerate().flat_map(|(i, part)| {
        let kind = if i == 0 { HEADERS } else { CONTINUATION };
        let flags = if i == last { END_HEADERS } else { 0 };
        frame(kind, flags, 1, part)
    });
    frames.collect()
}

fn frame(kind: u8, flags: u8, stream: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = (body.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(body);
    bytes
}

/// A header as HPACK writes one that is in no table.
fn literal((name, value): Header<'_>) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        length(text.len(), &mut bytes);
        bytes.extend(text);
    }
    bytes
}

fn length(mut number: usize, bytes: &mut Vec<u8>) {
    const PREFIX_MAX: usize = 127;
    if number < PREFIX_MAX {
        return bytes.push(number as u8);
    }
    bytes.push(PREFIX_MAX as u8);
    number -= PREFIX_MAX;
    while number >= 128 {
        bytes.push((number % 128 + 128) as u8);
        number /= 128;
    }
    bytes.push(number as u8);
}
