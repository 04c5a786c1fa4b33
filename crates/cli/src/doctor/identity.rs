//! Who this machine is to the fleet: certificate, key and root, each for itself and all together.

use std::error::Error;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use reeve_client::Credentials;
use reeve_proto::identity::ca::SKEW;
use reeve_proto::identity::{Certificate, Kind, credentials};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{Check, Level};
use crate::context::Context;

const ABOUT: &str = "identity";
const ROOT: &str = "the root certificate can be read";
const CERT: &str = "the certificate can be read";
const LIVES: &str = "the certificate is good for a while";
const ROOT_LIVES: &str = "the root certificate is good for a while";
const KEY: &str = "the key can be read";
const KEY_MODE: &str = "nobody else can read the key";
const MATCH: &str = "certificate, key and root go together";
const DAY: Duration = Duration::from_secs(86_400);
/// A certificate that ends sooner is told, unless it was never good for twice as long.
const SOON: Duration = Duration::from_secs(7 * 86_400);
const ROOT_SOON: Duration = Duration::from_secs(90 * 86_400);

/// What is wrong, and the identity itself when it can be used.
pub fn look(context: &Context, now: SystemTime) -> (Vec<Check>, Option<Credentials>) {
    let mut checks = Vec::new();
    let root = pem(&context.ca, "root", ROOT, &mut checks);
    let root = root.filter(|pem| {
        let (check, leaf) = readable(pem, &context.ca, "root", ROOT);
        checks.push(check);
        let Some(leaf) = leaf else { return false };
        checks.push(lives(&leaf, now, "root_lives", ROOT_LIVES, ROOT_SOON));
        true
    });
    let mut is_alive = true;
    let chain = pem(&context.cert, "certificate", CERT, &mut checks);
    let chain = chain.filter(|pem| {
        let (check, leaf) = readable(pem, &context.cert, "certificate", CERT);
        checks.push(check);
        let Some(leaf) = leaf else { return false };
        let check = lives(&leaf, now, "certificate_lives", LIVES, SOON);
        is_alive = check.result != Level::Failure;
        checks.push(check);
        true
    });
    let key = key(&context.key, &mut checks);
    let (check, credentials) = match (&chain, &key, &root) {
        (Some(chain), Some(key), Some(root)) => together(chain, key, root),
        _ => (Check::skipped("identity_matches", MATCH), None),
    };
    checks.push(check);
    let checks = checks.into_iter().map(|check| check.about(ABOUT)).collect();
    // With one that is over every node would only say so again.
    (checks, credentials.filter(|_| is_alive))
}

fn pem(path: &Path, kind: &'static str, question: &'static str, checks: &mut Vec<Check>) -> Option<String> {
    match fs::read_to_string(path) {
        Ok(text) => Some(text),
        Err(error) => {
            checks.push(unread(path, kind, question, &error));
            None
        }
    }
}

fn unread(path: &Path, kind: &'static str, question: &'static str, error: &std::io::Error) -> Check {
    let fix = "look whether it is there and yours, or enrol again with `reeve cluster enroll`";
    Check::failed(kind, question, format!("{}: {error}", path.display()), fix)
}

fn readable(
    pem: &str,
    path: &Path,
    kind: &'static str,
    question: &'static str,
) -> (Check, Option<Certificate>) {
    let first = CertificateDer::pem_slice_iter(pem.as_bytes()).next();
    let read = match first {
        Some(Ok(der)) => Certificate::read(&der).map_err(|error| error.to_string()),
        _ => Err("it holds no certificate (PEM)".to_owned()),
    };
    match read {
        Ok(leaf) => (Check::ok(kind, question, path.display().to_string()), Some(leaf)),
        Err(why) => {
            let told = format!("{}: {why}", path.display());
            let fix = "name the right file in the context, or enrol again with `reeve cluster enroll`";
            (Check::failed(kind, question, told, fix), None)
        }
    }
}

fn lives(leaf: &Certificate, now: SystemTime, kind: &'static str, question: &str, soon: Duration) -> Check {
    let again = "enrol again with `reeve cluster enroll`";
    let renew = match leaf.spiffe().map(|who| who.kind().clone()) {
        Ok(Kind::Service(_)) => {
            "the service renews it by itself at half of its life: see whether it runs and may write it"
        }
        _ => again,
    };
    let Ok(left) = leaf.not_after.duration_since(now) else {
        let over = now.duration_since(leaf.not_after).unwrap_or_default();
        return Check::failed(kind, question, format!("it ended {} ago", length(over)), again);
    };
    if let Ok(early) = leaf.not_before.duration_since(now) {
        let told = format!("it begins in {} only", length(early));
        return Check::failed(kind, question, told, "set this machine's clock, or wait");
    }
    // It was made to begin that much before it was given out.
    let life = leaf.not_after.duration_since(leaf.not_before).unwrap_or_default();
    let told = format!("{} left", length(left));
    match left < soon.min(life.saturating_sub(SKEW) / 2) {
        true => Check::new(kind, question, Level::Warning).told(told).fix(renew),
        false => Check::ok(kind, question, told),
    }
}

/// The key's text, when it is one. Nothing of it is ever told.
fn key(path: &Path, checks: &mut Vec<Check>) -> Option<zeroize::Zeroizing<String>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => zeroize::Zeroizing::new(text),
        Err(error) => {
            checks.push(unread(path, "key", KEY, &error));
            checks.push(Check::skipped("key_mode", KEY_MODE));
            return None;
        }
    };
    let is_key = PrivateKeyDer::from_pem_slice(text.as_bytes()).is_ok();
    checks.push(match is_key {
        true => Check::ok("key", KEY, path.display().to_string()),
        false => {
            let told = format!("{} holds no private key (PEM)", path.display());
            let fix = "name the right file in the context, or enrol again with `reeve cluster enroll`";
            Check::failed("key", KEY, told, fix)
        }
    });
    let mode = fs::metadata(path).map(|about| about.permissions().mode() & 0o7777);
    checks.push(match mode {
        Ok(mode) if mode & 0o077 == 0 => Check::ok("key_mode", KEY_MODE, format!("its mode is {mode:04o}")),
        Ok(mode) => {
            let fix = format!(
                "chmod 600 {}; when others use this machine, have the identity revoked and enrol again",
                path.display()
            );
            Check::failed("key_mode", KEY_MODE, format!("its mode is {mode:04o}"), fix)
        }
        Err(error) => unread(path, "key_mode", KEY_MODE, &error),
    });
    is_key.then_some(text)
}

fn together(chain: &str, key: &str, root: &str) -> (Check, Option<Credentials>) {
    let kind = "identity_matches";
    let error = match Credentials::from_pem(chain, key, root) {
        Ok(credentials) => {
            let who = credentials.spiffe().to_string();
            return (
                Check::ok(kind, MATCH, format!("you are {who}")),
                Some(credentials),
            );
        }
        Err(error) => error,
    };
    let fix = match &error {
        credentials::Error::Tls(_) => "the key is another certificate's: name the one that came with it",
        credentials::Error::Chain(_) => {
            "the root is another cluster's: name the one that came with the certificate"
        }
        _ => "enrol again with `reeve cluster enroll`",
    };
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(below) = cause {
        told.push_str(&format!(": {below}"));
        cause = below.source();
    }
    (Check::failed(kind, MATCH, told, fix), None)
}

/// In the largest unit that says enough.
fn length(length: Duration) -> String {
    match length {
        length if length < Duration::from_secs(7_200) => format!("{} min", length.as_secs() / 60),
        length if length < 2 * DAY => format!("{} h", length.as_secs() / 3_600),
        length => format!("{} days", length.as_secs() / 86_400),
    }
}
