//! What is looked for, and how bad it is.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How the subject of an unknown role or database begins, when nobody is known whose it could be.
pub const NOBODYS: &str = "nobody's ";

/// One thing that an audit or a probe looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Rule {
    /// A right on a database that is not its tenant's, or everybody's.
    Grant,
    /// A tenant's role is a member of what is not the tenant's.
    Membership,
    /// A role that may do more than roles may.
    Attribute,
    /// An object in a tenant's database names another tenant's role.
    Reference,
    /// A role or database that nobody knows, or that is not whose it should be.
    Unknown,
    /// Somebody is in a database that is not theirs.
    Session,
    /// Somebody is connected without TLS.
    Clear,
    /// pg_hba.conf lets in what it must not, or is not what was written.
    Hba,
    /// A setting that sticks to a role or database.
    RoleSetting,
    /// A login that should not be one, or that is not protected.
    Login,
    /// A password that the registry did not give.
    Password,
    /// The server runs by other settings than it was given.
    Setting,
    /// Something inside a database, or shared by all of them, that opens a way.
    Object,
    /// A probe came through where it must be turned away.
    Leak,
    /// Probes could neither come through nor be turned away, time after time.
    Unproved,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Somebody may read or write what is not theirs.
    Critical,
    /// One wall of two is weaker than it should be.
    Warning,
}

impl Severity {
    /// The word operators read.
    pub fn word(self) -> &'static str {
        match self {
            Severity::Critical => "critical",
            Severity::Warning => "warning",
        }
    }
}

impl Rule {
    /// All of them, in the order of their codes.
    pub const ALL: [Rule; 15] = [
        Rule::Grant,
        Rule::Membership,
        Rule::Attribute,
        Rule::Reference,
        Rule::Unknown,
        Rule::Session,
        Rule::Clear,
        Rule::Hba,
        Rule::RoleSetting,
        Rule::Login,
        Rule::Password,
        Rule::Setting,
        Rule::Object,
        Rule::Leak,
        Rule::Unproved,
    ];

    /// "F1" to "F13" of the audit, "P1" and "P2" of the prober: stable, in findings, metrics and runbooks.
    pub fn code(self) -> &'static str {
        match self {
            Rule::Grant => "F1",
            Rule::Membership => "F2",
            Rule::Attribute => "F3",
            Rule::Reference => "F4",
            Rule::Unknown => "F5",
            Rule::Session => "F6",
            Rule::Clear => "F7",
            Rule::Hba => "F8",
            Rule::RoleSetting => "F9",
            Rule::Login => "F10",
            Rule::Password => "F11",
            Rule::Setting => "F12",
            Rule::Object => "F13",
            Rule::Leak => "P1",
            Rule::Unproved => "P2",
        }
    }

    /// The rule of a code.
    pub fn parse(code: &str) -> Option<Rule> {
        Rule::ALL.into_iter().find(|rule| rule.code() == code)
    }

    /// How bad it is when it is broken.
    pub fn severity(self) -> Severity {
        match self {
            Rule::Grant
            | Rule::Membership
            | Rule::Attribute
            | Rule::Reference
            | Rule::Session
            | Rule::Clear
            | Rule::Hba
            | Rule::Login
            | Rule::Setting
            | Rule::Leak => Severity::Critical,
            Rule::Unknown | Rule::RoleSetting | Rule::Password | Rule::Object | Rule::Unproved => {
                Severity::Warning
            }
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}
