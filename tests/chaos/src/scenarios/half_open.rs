//! Connections that are dead while neither end knows: they are given up, and dialled anew.

use anyhow::Result;

use crate::faults::Fault;
use crate::world::Who::{Follower, Leader};

pub async fn play() -> Result<()> {
    super::as_one_copy(
        13,
        &[
            Fault::HalfOpen(Leader),
            Fault::HalfOpen(Follower),
            Fault::Freeze(Leader),
        ],
    )
    .await
}
