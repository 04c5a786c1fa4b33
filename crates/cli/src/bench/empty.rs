//! Calling what does nothing: what every call costs before it does anything.

use reeve_client::v1;
use reeve_client::v1::bench_service_client::BenchServiceClient;
use tonic::transport::Channel;

use super::load::{Load, drive};
use super::tally::Tally;
use super::target::reason_of;

/// Calls for a while.
pub async fn measure(channels: &[Channel], load: &Load) -> Tally {
    drive(load, |worker| {
        let client = BenchServiceClient::new(channels[worker % channels.len()].clone());
        move |_| {
            let mut client = client.clone();
            async move {
                let answered = client.empty(v1::EmptyRequest {}).await;
                answered.map(drop).map_err(|status| reason_of(&status))
            }
        }
    })
    .await
}
