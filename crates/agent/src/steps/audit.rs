//! The audit: nothing that can be found stands between the tenant and its own walls.

use super::{Context, Outcome, Proof, Result_};
use crate::host::Error;
use crate::senses::isolation;

/// Looks at the whole instance and into the tenant's database. What is found is tried again: it may be being mended.
pub(super) async fn audit(context: &Context<'_>) -> Result_ {
    let found = isolation::look_at(context.host, context.allowed, &context.tenant.id).await?;
    let Some(first) = found.first() else {
        return Ok(Outcome::Done(Proof::of(
            "audit: F1 to F13 looked at, and nothing found that bars the tenant",
        )));
    };
    let more = match found.len() {
        1 => String::new(),
        count => format!(", and {} more", count - 1),
    };
    Err(Error::retry(
        "FINDING",
        format!("{}: {}{more}", first.rule, first.subject),
    ))
}
