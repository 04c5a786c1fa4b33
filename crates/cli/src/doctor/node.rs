//! The way to one node: its name, its port, its certificate, what it says to this identity, its clock and its version.

use std::io::{Error, ErrorKind};
use std::time::{Duration, SystemTime};

use reeve_client::{Api, Credentials, v1};
use reeve_proto::identity::{Expect, connector};
use rustls::CertificateError as Bad;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tonic::Request;

use super::{Check, Level};
use crate::cluster::alarms::CLOCK_SKEW_MAX;
use crate::cluster::look::stale;
use crate::fail::Failure;
use crate::show::plain;

const NAME: &str = "its name is known";
const DOOR: &str = "its port is open";
const PROOF: &str = "it proves that it is a node of this cluster";
const KNOWS: &str = "it knows you";
const CLOCK: &str = "its clock and this machine's agree";
const VERSION: &str = "it runs the version that this program is";
const PATIENCE: Duration = Duration::from_secs(3);
/// Who is turned away hears it at once; who is let in may hear nothing yet.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(1);

const STEPS: [(&str, &str); 6] = [
    ("node_name", NAME),
    ("node_port", DOOR),
    ("node_certificate", PROOF),
    ("node_knows_you", KNOWS),
    ("node_clock", CLOCK),
    ("node_version", VERSION),
];

/// One step after the other; behind one that fails nothing can be seen.
pub async fn look(address: &str, credentials: Option<&Credentials>) -> Vec<Check> {
    let mut checks = walk(address, credentials).await;
    for (kind, question) in STEPS {
        if checks.iter().all(|check| check.kind != kind) {
            checks.push(Check::skipped(kind, question));
        }
    }
    checks.into_iter().map(|check| check.about(address)).collect()
}

async fn walk(address: &str, credentials: Option<&Credentials>) -> Vec<Check> {
    let mut checks = Vec::new();
    let Some((host, port)) = parts(address) else {
        let fix = "write it as host:port";
        return vec![Check::failed(
            "node_name",
            NAME,
            format!("{address:?} is no address"),
            fix,
        )];
    };
    let mut steps = async || {
        checks.push(name(host, port).await?);
        checks.push(door(host, port).await?);
        let Some(credentials) = credentials else {
            return Ok(());
        };
        checks.push(proof(host, port, credentials).await?);
        checks.extend(said(address, credentials).await?);
        Ok(())
    };
    let ended: Result<(), Check> = steps().await;
    checks.extend(ended.err());
    checks
}

fn parts(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (!host.is_empty()).then_some((host, port.parse().ok()?))
}

async fn name(host: &str, port: u16) -> Result<Check, Check> {
    let failed = |told: String| {
        let fix = "look at its spelling, and at this machine's name service";
        Check::failed("node_name", NAME, told, fix)
    };
    let found = timeout(PATIENCE, lookup_host((host, port))).await;
    let found = found.map_err(|_| failed(format!("{host}: the name service does not answer")))?;
    let mut found = found.map_err(|error| failed(format!("{host}: {error}")))?;
    let first = found
        .next()
        .ok_or_else(|| failed(format!("{host} has no address")))?;
    Ok(Check::ok("node_name", NAME, first.ip().to_string()))
}

async fn door(host: &str, port: u16) -> Result<Check, Check> {
    let failed = |told: &str, fix: &str| Check::failed("node_port", DOOR, told, fix);
    match timeout(PATIENCE, TcpStream::connect((host, port))).await {
        Ok(Ok(_)) => Ok(Check::ok("node_port", DOOR, "")),
        Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => Err(failed(
            "refused: nothing listens there",
            "see whether the node runs, and whether this is its API's port",
        )),
        Ok(Err(error)) => Err(failed(&error.to_string(), "look at the network between")),
        Err(_) => Err(failed(
            "no answer within 3 s",
            "a firewall may swallow it, or the machine is off",
        )),
    }
}

async fn proof(host: &str, port: u16, credentials: &Credentials) -> Result<Check, Check> {
    let kind = "node_certificate";
    let failed = |(told, fix): (String, &str)| Check::failed(kind, PROOF, told, fix);
    let connector = connector(credentials, Expect::AnyNode);
    let connector = connector.map_err(|error| failed((error.to_string(), "")))?;
    let mut stream = connector
        .dial(host, port)
        .await
        .map_err(|error| failed(story(&error)))?;
    // A caller who is not welcome is told so behind the handshake.
    let mut byte = [0];
    match timeout(REFUSAL_PATIENCE, stream.read(&mut byte)).await {
        Ok(Err(error)) if of_tls(&error).is_some() => Err(failed(story(&error))),
        // Who falls silent or breaks off has proved who it is all the same; the next question is whether it answers.
        _ => Ok(Check::ok(kind, PROOF, "")),
    }
}

fn of_tls(error: &Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// What went wrong with a handshake, and what to do.
fn story(error: &Error) -> (String, &'static str) {
    let is_late = error.kind() == ErrorKind::TimedOut;
    let no_tls = "see whether this is the port of a node's API, and what stands between";
    let clock = "see whether both clocks are right; else have the node's certificate renewed (docs/runbooks/CertExpires.md)";
    let other =
        "see whether it is another cluster's node; then name the files that came with its certificate";
    match of_tls(error) {
        Some(rustls::Error::InvalidCertificate(bad)) => match bad {
            Bad::UnknownIssuer | Bad::BadSignature => (
                "its certificate is not from your root: it is unknown to you".to_owned(),
                other,
            ),
            Bad::Expired | Bad::ExpiredContext { .. } => {
                (format!("its certificate has expired: {bad}"), clock)
            }
            Bad::NotValidYet | Bad::NotValidYetContext { .. } => {
                (format!("its certificate is not good yet: {bad}"), clock)
            }
            Bad::Other(why) => (format!("it is somebody else: {}", why.0), other),
            Bad::InvalidPurpose | Bad::InvalidPurposeContext { .. } => (
                "it is somebody else: its certificate is no node's".to_owned(),
                other,
            ),
            bad => (format!("its certificate is refused: {bad}"), other),
        },
        Some(rustls::Error::AlertReceived(alert)) => (
            format!("it turns your certificate away: {alert:?}"),
            "enrol again with `reeve cluster enroll`, or choose another context",
        ),
        _ if is_late => ("it does not shake hands within 5 s".to_owned(), no_tls),
        Some(error) => (format!("it does not speak TLS: {error}"), no_tls),
        None => (format!("it broke off: {error}"), no_tls),
    }
}

/// What it says to this identity. A role that may not ask for more is told so.
async fn said(address: &str, credentials: &Credentials) -> Result<Vec<Check>, Check> {
    let failed = |failure: Failure| {
        let told = [failure.what, failure.why]
            .into_iter()
            .filter(|part| !part.is_empty());
        let told = told.collect::<Vec<_>>().join(": ");
        Check::failed("node_knows_you", KNOWS, told, failure.fix)
    };
    let api = Api::connect(&[address.to_owned()], credentials).map_err(|error| failed(error.into()))?;
    let mut asked = Request::new(v1::WhoAmIRequest {});
    asked.set_timeout(PATIENCE);
    let answer = api
        .access()
        .who_am_i(asked)
        .await
        .map_err(|status| failed(status.into()))?;
    let who = answer.into_inner().principal.unwrap_or_default();
    let role = plain(who.role().as_str_name(), "ROLE_");
    let mut checks = vec![Check::ok(
        "node_knows_you",
        KNOWS,
        format!("as {role} {}", who.id),
    )];

    let mut asked = Request::new(stale());
    asked.set_timeout(PATIENCE);
    let before = SystemTime::now();
    let vitals = api.cluster().get_cluster(asked).await;
    let after = SystemTime::now();
    let vitals = vitals.map(|answer| answer.into_inner().vitals.unwrap_or_default());
    match vitals {
        Ok(vitals) => {
            checks.push(clock(vitals.now, before, after));
            checks.push(version(&vitals.program_version));
        }
        Err(status) => {
            let told = format!("not told to a {role}: {}", status.message());
            for (kind, question) in [("node_clock", CLOCK), ("node_version", VERSION)] {
                checks.push(Check::new(kind, question, Level::Note).told(&told));
            }
        }
    }
    Ok(checks)
}

/// Its clock was read at some moment between asking and hearing.
pub(super) fn clock(theirs: Option<prost_types::Timestamp>, before: SystemTime, after: SystemTime) -> Check {
    let theirs = theirs.and_then(|time| SystemTime::try_from(time).ok());
    let Some(theirs) = theirs else {
        return Check::new("node_clock", CLOCK, Level::Note).told("it does not tell the time");
    };
    let behind = before.duration_since(theirs).unwrap_or_default();
    let ahead = theirs.duration_since(after).unwrap_or_default();
    let skew = behind.max(ahead);
    let told = format!("{:.1} s apart", skew.as_secs_f64());
    match skew > CLOCK_SKEW_MAX {
        true => Check::new("node_clock", CLOCK, Level::Warning)
            .told(told)
            .fix("let NTP set both clocks"),
        false => Check::ok("node_clock", CLOCK, ""),
    }
}

pub(super) fn version(theirs: &str) -> Check {
    let ours = env!("CARGO_PKG_VERSION");
    match theirs == ours {
        true => Check::ok("node_version", VERSION, ours),
        false => Check::new("node_version", VERSION, Level::Warning)
            .told(format!("it runs {theirs}, and this program is {ours}"))
            .fix("take the program of the nodes' version; docs/operations.md, \"Upgrade\""),
    }
}
