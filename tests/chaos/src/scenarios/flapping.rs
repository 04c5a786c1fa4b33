//! Links that break and heal ten times a second: leaders may change as often as they like, answers stay true.

use anyhow::Result;

use crate::faults::Fault;
use crate::world::Who::{Follower, Leader};

pub async fn play() -> Result<()> {
    super::as_one_copy(
        12,
        &[Fault::Flap(Leader), Fault::Flap(Follower), Fault::Flap(Leader)],
    )
    .await
}
