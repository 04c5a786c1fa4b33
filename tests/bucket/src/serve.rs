//! Connections, and what becomes of the requests on them.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use s3s::service::S3Service;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::fault::{Fault, Faults};

const BUSY: &str = "<?xml version=\"1.0\"?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>";

type Error = Box<dyn std::error::Error + Send + Sync>;
type Body = UnsyncBoxBody<Bytes, Error>;

/// Takes connections until it is dropped, and they with it.
pub(crate) async fn run(listener: TcpListener, tls: Option<TlsAcceptor>, s3: S3Service, faults: Arc<Faults>) {
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            taken = listener.accept() => {
                if let Ok((stream, _)) = taken {
                    open.spawn(connection(stream, tls.clone(), s3.clone(), faults.clone()));
                }
            }
            Some(_) = open.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, s3: S3Service, faults: Arc<Faults>) {
    let service = service_fn(|request| answer(request, &s3, &faults));
    let builder = http1::Builder::new();
    // How a connection ends is the caller's to judge.
    match tls {
        None => {
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        }
        Some(tls) => {
            if let Ok(stream) = tls.accept(stream).await {
                let _ = builder.serve_connection(TokioIo::new(stream), service).await;
            }
        }
    }
}

async fn answer(
    request: Request<Incoming>,
    s3: &S3Service,
    faults: &Faults,
) -> Result<Response<Body>, Error> {
    let path = request.uri().to_string();
    match faults.judge(request.method().as_str(), &path) {
        None => carry_out(request, s3).await,
        Some(Fault::Busy) => {
            faults.meet();
            let body = Full::new(Bytes::from_static(BUSY.as_bytes()));
            let body = body.map_err(|never: Infallible| match never {}).boxed_unsync();
            let mut answer = Response::new(body);
            *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            Ok(answer)
        }
        Some(Fault::Stall { after }) => {
            let _kept = take(request, after).await;
            faults.meet();
            pending().await
        }
        Some(Fault::Cut { after }) => {
            let _kept = take(request, after).await;
            faults.meet();
            Err("cut".into())
        }
        Some(Fault::LoseAnswer) => {
            carry_out(request, s3).await?;
            faults.meet();
            Err("cut".into())
        }
        Some(Fault::FlipAnswer { byte }) => {
            let (parts, body) = carry_out(request, s3).await?.into_parts();
            faults.meet();
            Ok(Response::from_parts(parts, flip(body, byte)))
        }
        Some(Fault::CutAnswer { after }) => {
            let (parts, body) = carry_out(request, s3).await?.into_parts();
            faults.meet();
            Ok(Response::from_parts(parts, cut_after(body, after)))
        }
    }
}

async fn carry_out(request: Request<Incoming>, s3: &S3Service) -> Result<Response<Body>, Error> {
    let answered = s3.call(request.map(s3s::Body::from)).await;
    let answered = answered.map_err(|error| io::Error::other(format!("{error:?}")))?;
    Ok(answered.map(BodyExt::boxed_unsync))
}

/// A body with one bit changed.
fn flip(body: Body, byte: usize) -> Body {
    let frames = futures::stream::unfold((body, 0), move |(mut body, passed)| async move {
        let frame = body.frame().await?;
        let frame = frame.map(|frame| {
            let mut data = frame.into_data().unwrap_or_default().to_vec();
            if let Some(hit) = byte.checked_sub(passed).and_then(|at| data.get_mut(at)) {
                *hit ^= 1;
            }
            Bytes::from(data)
        });
        let passed = passed + frame.as_ref().map_or(0, Bytes::len);
        Some((frame.map(Frame::data), (body, passed)))
    });
    StreamBody::new(frames).boxed_unsync()
}

/// Takes the beginning of a request.
async fn take(request: Request<Incoming>, bytes: usize) -> Incoming {
    let mut body = request.into_body();
    let mut taken = 0;
    while taken < bytes {
        match body.frame().await {
            Some(Ok(frame)) => taken += frame.data_ref().map_or(0, Bytes::len),
            _ => break,
        }
    }
    body
}

/// A body that breaks off.
fn cut_after(body: Body, bytes: usize) -> Body {
    let frames = futures::stream::unfold((body, bytes), |(mut body, left)| async move {
        if left == 0 {
            let cut: Result<Frame<Bytes>, Error> = Err("cut".into());
            // What was sent so far is to arrive.
            tokio::task::yield_now().await;
            return Some((cut, (body, 0)));
        }
        let frame = body.frame().await?;
        let frame = frame.map(|frame| {
            let mut data = frame.into_data().unwrap_or_default();
            data.truncate(left);
            data
        });
        let left = left - frame.as_ref().map_or(0, Bytes::len);
        Some((frame.map(Frame::data), (body, left)))
    });
    StreamBody::new(frames).boxed_unsync()
}
