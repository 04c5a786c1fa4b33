//! Why the shelf cannot be used, in words that a person can act on. What a store sends back is never shown whole: it
//! repeats keys and signatures.

use std::error::Error;
use std::fmt;

use crate::wire::WireError;

/// What is wrong with the shelf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Nobody answers there.
    Unreachable,
    /// Whoever answers shows a certificate that nobody vouches for.
    Untrusted,
    /// It began and did not go on.
    Stalled,
    /// The connection ended in the middle.
    Cut,
    NoBucket,
    WrongKey,
    WrongRegion,
    Denied,
    ClockSkew,
    Busy,
    Full,
    /// There is no key to use, or not one that may be used.
    Credentials,
    Settings,
    /// A folder, and what lies in it.
    Folder,
    /// What lies there is not what was written.
    Damaged,
    /// Something was taken away that should be there.
    Missing,
    /// The whole took too long.
    Late,
    /// The registry itself is not ready for it.
    Registry,
    Other,
}

impl Reason {
    /// A stable word.
    pub fn word(self) -> &'static str {
        match self {
            Reason::Unreachable => "unreachable",
            Reason::Untrusted => "untrusted",
            Reason::Stalled => "stalled",
            Reason::Cut => "cut",
            Reason::NoBucket => "no_bucket",
            Reason::WrongKey => "wrong_key",
            Reason::WrongRegion => "wrong_region",
            Reason::Denied => "denied",
            Reason::ClockSkew => "clock_skew",
            Reason::Busy => "busy",
            Reason::Full => "full",
            Reason::Credentials => "credentials",
            Reason::Settings => "settings",
            Reason::Folder => "folder",
            Reason::Damaged => "damaged",
            Reason::Missing => "missing",
            Reason::Late => "late",
            Reason::Registry => "registry",
            Reason::Other => "other",
        }
    }

    /// What to do about it.
    pub fn fix(self) -> &'static str {
        match self {
            Reason::Unreachable => {
                "is backup.s3.endpoint right, its server up, and the way to it open from this node?"
            }
            Reason::Untrusted => {
                "name the CA of the endpoint's certificate in backup.s3.ca_file; is it the right endpoint?"
            }
            Reason::Stalled | Reason::Cut => {
                "look at the store and the network to it; on a slow line raise backup.s3.patience_ms"
            }
            Reason::NoBucket => "make the bucket, or name another one in backup.url",
            Reason::WrongKey => {
                "put the right keys in backup.s3.access_key_file and secret_key_file (or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)"
            }
            Reason::WrongRegion => "set backup.s3.region to the bucket's",
            Reason::Denied => "let this key list, read, write and delete below the prefix",
            Reason::ClockSkew => "set this machine's clock (NTP)",
            Reason::Busy => "look at the store; the next look tries again",
            Reason::Full => "make room in the store, or raise its quota",
            Reason::Credentials => {
                "give backup.s3.access_key_file and secret_key_file, mode 0600, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            }
            Reason::Settings => "put the [backup] settings right, and start the node again",
            Reason::Folder => "mount the folder, make room in it, and give it to the node's user",
            Reason::Damaged => {
                "look at the store's disks and at this node's memory and archive; the next look writes another one"
            }
            Reason::Missing => "find out who deletes below the prefix; the next backup is whole again",
            Reason::Late => "look at the store and the network to it, or raise backup.deadline_ms",
            Reason::Registry => {
                "it heals by itself once a leader is found and the archive is whole; else see the node's log"
            }
            Reason::Other => "see the node's log",
        }
    }
}

/// A reason, and what was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    pub reason: Reason,
    pub what: String,
}

impl fmt::Display for Trouble {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}: {}", self.reason.word(), self.what)
    }
}

impl Error for Trouble {}

impl Trouble {
    pub fn new(reason: Reason, what: impl Into<String>) -> Trouble {
        let what = what.into();
        Trouble { reason, what }
    }

    /// Why a request was not answered.
    fn of_wire(error: &WireError) -> Trouble {
        let reason = match error {
            WireError::Connect { .. } => Reason::Unreachable,
            WireError::Certificate { .. } => Reason::Untrusted,
            WireError::Stalled { .. } => Reason::Stalled,
            WireError::Cut { .. } => Reason::Cut,
            WireError::TooLong { .. } => Reason::Other,
            WireError::Address(_) => Reason::Settings,
        };
        Trouble::new(reason, error.to_string())
    }

    /// What an object store's error means.
    pub fn of_store(error: &object_store::Error) -> Trouble {
        if let Some(wire) = find::<WireError>(error) {
            return Trouble::of_wire(wire);
        }
        let text = chain(error);
        if let Some(code) = between(&text, "<Code>", "</Code>") {
            return of_code(code);
        }
        if text.contains("redirect") || text.contains("301 ") {
            return Trouble::new(Reason::WrongRegion, "the store points elsewhere");
        }
        match error {
            object_store::Error::Unauthenticated { .. } => {
                Trouble::new(Reason::WrongKey, "the store does not know this key")
            }
            object_store::Error::PermissionDenied { .. } if !is_local(&text) => {
                Trouble::new(Reason::Denied, "the store refuses")
            }
            object_store::Error::NotFound { path, .. } => {
                Trouble::new(Reason::Missing, format!("{path} is not there"))
            }
            _ => match between(&text, "non-2xx status code: ", ":") {
                Some(status) if status.starts_with("507") => Trouble::new(Reason::Full, "the store is full"),
                Some(status) if status.starts_with('5') || status.starts_with("429") => {
                    Trouble::new(Reason::Busy, format!("the store answers {status}"))
                }
                Some(status) => Trouble::new(Reason::Other, format!("the store answers {status}")),
                None if is_local(&text) => Trouble::new(Reason::Folder, text),
                None => Trouble::new(Reason::Other, "the store answers what is not understood"),
            },
        }
    }

    /// What a page means that came instead of an answer.
    pub fn of_page(status: u16, page: &str) -> Trouble {
        match between(page, "<Code>", "</Code>") {
            Some(code) => of_code(code),
            None if status >= 500 => Trouble::new(Reason::Busy, format!("the store answers {status}")),
            None => Trouble::new(Reason::Other, format!("the store answers {status}")),
        }
    }
}

/// A store's own word for what is wrong.
fn of_code(code: &str) -> Trouble {
    let (reason, what) = match code {
        "NoSuchBucket" => (Reason::NoBucket, "there is no such bucket"),
        "SignatureDoesNotMatch" => (
            Reason::WrongKey,
            "the secret key is not the one of the access key",
        ),
        "InvalidAccessKeyId" | "NotSignedUp" | "InvalidToken" | "ExpiredToken" => (
            Reason::WrongKey,
            "the store does not know the access key, or not any more",
        ),
        "RequestTimeTooSkewed" | "RequestExpired" => (
            Reason::ClockSkew,
            "this machine's clock and the store's differ too much",
        ),
        "AuthorizationHeaderMalformed" | "PermanentRedirect" | "IllegalLocationConstraintException" => {
            (Reason::WrongRegion, "the bucket is in another region")
        }
        "AccessDenied" | "AllAccessDisabled" | "AccountProblem" => (Reason::Denied, "the store refuses"),
        "QuotaExceeded" | "XMinioStorageFull" | "XMinioAdminBucketQuotaExceeded" | "EntityTooLarge" => {
            (Reason::Full, "the store takes no more")
        }
        "SlowDown" | "InternalError" | "ServiceUnavailable" | "RequestTimeout" => {
            (Reason::Busy, "the store is busy")
        }
        "NoSuchKey" | "NoSuchUpload" => (Reason::Missing, "it is not there any more"),
        "NotImplemented" => (Reason::Other, "the store lacks a part of S3 that is needed"),
        _ => (Reason::Other, "the store refuses"),
    };
    // Nothing but letters, whatever the store sends.
    let code: String = code
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(60)
        .collect();
    Trouble::new(reason, format!("{what} ({code})"))
}

fn is_local(text: &str) -> bool {
    text.contains("(os error ")
}

fn between<'a>(text: &'a str, begin: &str, end: &str) -> Option<&'a str> {
    let rest = &text[text.find(begin)? + begin.len()..];
    Some(rest[..rest.find(end)?].trim())
}

/// The first of a kind in a chain of causes.
fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(found) = cause.downcast_ref() {
            return Some(found);
        }
        next = cause.source();
    }
    None
}

/// An error with what is behind it, in one line.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = cause.source();
    }
    text
}
