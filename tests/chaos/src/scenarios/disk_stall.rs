//! The disk of the leader, then of a follower, takes five seconds for each flush: nothing is answered early.

use anyhow::Result;

use crate::faults::Fault;
use crate::world::Who::{Follower, Leader};

pub async fn play() -> Result<()> {
    super::as_one_copy(17, &[Fault::StallDisk(Leader), Fault::StallDisk(Follower)]).await
}
