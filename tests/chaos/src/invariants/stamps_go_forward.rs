//! The stamps of the audit log never run back, whatever the machines' clocks did.

use anyhow::{Context, Result, ensure};
use reeve_domain::audit::Verifier;

use super::audit_chain_whole::Seen;

/// Gives back the last stamp, in milliseconds since 1970.
pub fn judge(seen: &Seen) -> Result<u64> {
    let mut newest = 0;
    for shards in &seen.nodes {
        for (name, records) in shards {
            let (mut verifier, mut last) = (Verifier::new(name), 0);
            for record in records {
                let shown = verifier.check(record)?;
                ensure!(
                    shown.stamp.0 >= last,
                    "record {} of {name} was written {} ms before the one in front of it",
                    shown.sequence,
                    last - shown.stamp.0
                );
                last = shown.stamp.0;
            }
            newest = newest.max(last);
        }
    }
    (newest > 0)
        .then_some(newest)
        .context("nobody wrote anything down")
}
