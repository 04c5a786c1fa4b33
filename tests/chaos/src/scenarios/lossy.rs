//! A network that loses packets and is slow: chunks stall, connections break, answers stay true. Where this machine can
//! lose packets for real, it does.

use anyhow::Result;

use crate::faults::Fault;

pub async fn play() -> Result<()> {
    super::as_one_copy(
        14,
        &[
            Fault::StutterEverybody,
            Fault::SlowEverybody,
            Fault::StutterEverybody,
            Fault::LosePackets,
        ],
    )
    .await
}
