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
mod rotate;
mod sessions;

pub(crate) use roles::{acts_as_owner, own_nothing_elsewhere};

use std::collections::BTreeMap;
use std::path::PathBuf;

use reeve_domain::TenantId;
use reeve_domain::words::Cidr;
use zeroize::Zeroizing;

use crate::host::ident::Ending;
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

impl Slot {
    /// The one that rests while this one is in use.
    pub fn other(self) -> Slot {
        match self {
            Slot::A => Slot::B,
            Slot::B => Slot::A,
        }
    }

    /// How the role's name ends.
    pub fn ending(self) -> Ending {
        match self {
            Slot::A => Ending::A,
            Slot::B => Ending::B,
        }
    }
}

/// A login and its password.
pub struct Login {
    pub slot: Slot,
    pub password: Zeroizing<String>,
}

/// Which of a tenant's logins is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The one in use.
    InForce,
    /// The one that is to come.
    Next { slot: Slot, version: u64 },
}

/// What a step works with.
pub struct Context<'a> {
    pub host: &'a Host,
    pub tenant: &'a TenantSpec,
    pub login: Option<&'a Login>,
    pub schemas: &'a BTreeMap<String, PathBuf>,
    /// What the instance may hold besides what Reeve made.
    pub allowed: &'a Allowed,
}

impl Context<'_> {
    fn login(&self) -> Result<&Login, host::Error> {
        self.login
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

/// The login that a step must be given.
pub fn needs(name: &str, undo: bool, tenant: &TenantSpec) -> Option<Wanted> {
    match name {
        _ if undo => None,
        "create_roles" | "probe" | "retire_login" => Some(Wanted::InForce),
        "prepare_login" => Some(Wanted::Next {
            slot: tenant.active_slot.other(),
            version: tenant.credential_version + 1,
        }),
        _ => None,
    }
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
        "prepare_login" => rotate::prepare(context).await,
        "retire_login" => rotate::retire(context).await,
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
        // Before it is published, the login that rests is the one that was prepared.
        "prepare_login" => rotate::retire(context).await,
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
