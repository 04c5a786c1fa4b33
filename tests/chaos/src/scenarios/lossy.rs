//! A network that loses packets and is slow: chunks stall, connections break, answers stay true.

use anyhow::Result;

use crate::faults::Fault;

pub async fn play() -> Result<()> {
    super::as_one_copy(
        14,
        &[
            Fault::StutterEverybody,
            Fault::SlowEverybody,
            Fault::StutterEverybody,
        ],
    )
    .await
}
