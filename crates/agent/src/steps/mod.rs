//! Steps: each names a goal, looks whether it holds, makes it true, and says what it proved.
//!
//! ```text
//! create_roles ─► create_database ─► open_doors ─► migrate ─► seed ─► probe ─► audit   (forwards)
//! drop_roles   ◄─ drop_database   ◄─ close_doors ◄─ a failure at any of them           (back), then prove_absence
//! ```
//! Safe to say again after any crash.

mod absence;
mod audit;
mod database;
mod doors;
mod manifest;
mod migrate;
mod probe;
mod reach;
mod roles;

pub(crate) use roles::acts_as_owner;

use std::collections::BTreeMap;
use std::path::PathBuf;

use reeve_domain::TenantId;
use reeve_domain::words::Cidr;
use zeroize::Zeroizing;

use crate::host::{self, Host};
use crate::senses::isolation::Allowed;

/// What a step must know of its tenant.
#[derive(Clone, Debug)]
pub struct TenantSpec {
    pub id: TenantId,
    pub connection_limit: u32,
    pub allowlist: Vec<Cidr>,
    pub channel: String,
    /// 0: the newest in the folder.
    pub target_version: u32,
    pub active_slot: Slot,
    pub credential_version: u64,
}

/// Which of the two logins is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    A,
    B,
}

/// Both passwords of a tenant.
pub struct Credentials {
    pub a: Zeroizing<String>,
    pub b: Zeroizing<String>,
}

impl Credentials {
    fn of(&self, slot: Slot) -> &str {
        match slot {
            Slot::A => &self.a,
            Slot::B => &self.b,
        }
    }
}

/// What a step works with.
pub struct Context<'a> {
    pub host: &'a Host,
    pub tenant: &'a TenantSpec,
    pub credentials: Option<&'a Credentials>,
    pub schemas: &'a BTreeMap<String, PathBuf>,
    /// What the instance may hold besides what Reeve made.
    pub allowed: &'a Allowed,
}

impl Context<'_> {
    fn credentials(&self) -> Result<&Credentials, host::Error> {
        self.credentials
            .ok_or_else(|| host::Error::retry("CREDENTIAL", "the step needs the tenant's credential"))
    }
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done(Proof),
    AlreadyTrue(Proof),
}

/// What was checked, done and proved, in plain words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proof {
    pub lines: Vec<String>,
    /// After a migration: the version and the checksum of all that is applied.
    pub schema: Option<(u32, String)>,
}

impl Proof {
    fn of(line: impl Into<String>) -> Proof {
        Proof {
            lines: vec![line.into()],
            schema: None,
        }
    }
}

type Result_ = Result<Outcome, host::Error>;

/// Whether a step must be given the tenant's passwords.
pub fn needs_credentials(name: &str, undo: bool) -> bool {
    !undo && matches!(name, "create_roles" | "probe")
}

/// Makes a step's goal true.
pub async fn forward(name: &str, context: &Context<'_>) -> Result_ {
    match name {
        "create_roles" => roles::create(context).await,
        "create_database" => database::create(context).await,
        "open_doors" => doors::open(context).await,
        "migrate" => migrate::migrate(context).await,
        "seed" => migrate::seed(context).await,
        "probe" => probe::probe(context).await,
        "audit" => audit::audit(context).await,
        "change_doors" => doors::change(context).await,
        "close_doors" => doors::close(context).await,
        "drop_database" => database::drop(context).await,
        "drop_roles" => roles::drop(context).await,
        "prove_absence" => absence::prove(context).await,
        _ => Err(host::Error::permanent(
            "UNKNOWN_STEP",
            format!("this agent knows no step {name}"),
        )),
    }
}

/// Takes back what a step left.
pub async fn undo(name: &str, context: &Context<'_>) -> Result_ {
    match name {
        "create_roles" => roles::drop(context).await,
        "create_database" => database::drop(context).await,
        "open_doors" => doors::close(context).await,
        // The order says what the tenant's own list is still.
        "change_doors" => doors::change(context).await,
        "migrate" | "seed" | "probe" | "audit" => {
            Ok(Outcome::AlreadyTrue(Proof::of("it leaves nothing of its own")))
        }
        "prove_absence" => absence::prove(context).await,
        _ => Err(host::Error::permanent(
            "UNKNOWN_STEP",
            format!("this agent cannot take back {name}"),
        )),
    }
}
