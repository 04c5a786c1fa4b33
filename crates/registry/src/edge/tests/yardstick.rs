use reeve_proto::v1::bench_service_client::BenchServiceClient;
use tonic::Code;

use super::*;
use crate::edge::Options;

#[tokio::test]
async fn an_empty_call_is_served_where_it_was_asked_for() {
    let options = Options {
        empty: true,
        ..Options::default()
    };
    let world = World::with(options).await;
    let empty = |channel| async move { BenchServiceClient::new(channel).empty(v1::EmptyRequest {}).await };
    empty(world.channel_as(ADMIN)).await.unwrap();

    // It stands behind the same door as everything else.
    let auditor = enrol(&world, v1::Role::Auditor, "vera", &[]).await;
    assert_eq!(reason(&empty(auditor).await.unwrap_err()), "PERMISSION_DENIED");
    let nobody = empty(world.channel_as_nobody()).await.unwrap_err();
    assert_eq!(reason(&nobody), "UNAUTHENTICATED");
}

#[tokio::test]
async fn elsewhere_there_is_no_such_call() {
    let world = World::founded().await;
    let mut admin = BenchServiceClient::new(world.channel_as(ADMIN));
    let refused = admin.empty(v1::EmptyRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    assert_eq!(reason(&refused), "NOT_OFFERED");
    assert!(refused.message().contains("no such call"), "{refused:?}");
}
