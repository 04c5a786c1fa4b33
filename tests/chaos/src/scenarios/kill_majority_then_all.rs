//! kill -9 of a majority, leader included, then of everybody, under load: what was acknowledged is there.

use anyhow::Result;

use crate::faults::Fault;
use crate::faults::kill::Crowd::{All, Follower, Majority};

pub async fn play() -> Result<()> {
    let faults = [
        Fault::Kill(Majority),
        Fault::Kill(All),
        Fault::Kill(Follower),
        Fault::Kill(All),
    ];
    super::as_one_copy(16, &faults).await
}
