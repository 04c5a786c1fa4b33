//! A node that hears nobody, and one that reaches nobody, the leader and a follower: clients still reach it, and it
//! must not tell them what it cannot know.

use anyhow::Result;

use crate::faults::Fault;
use crate::world::Who::{Follower, Leader};

pub async fn play() -> Result<()> {
    let faults = [
        Fault::HearsNobody(Leader),
        Fault::ReachesNobody(Leader),
        Fault::HearsNobody(Follower),
        Fault::ReachesNobody(Follower),
    ];
    super::as_one_copy(15, &faults).await
}
