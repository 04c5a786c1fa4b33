use reeve_domain::audit::decode;
use reeve_domain::policy::Role;
use reeve_proto::v1;
use reeve_proto::v1::cluster_service_client::ClusterServiceClient;
use tonic::Code;

use super::*;
use crate::backup::check;
use crate::vault::RootKey;

#[tokio::test]
async fn an_admin_takes_a_whole_copy_and_is_written_down_first() {
    let world = World::founded().await;
    enrol(&world, v1::Role::Service, "ehr", &[]).await;
    let mut cluster = ClusterServiceClient::new(world.channel_as(ADMIN));
    let asked = cluster.save_snapshot(v1::SaveSnapshotRequest {}).await;
    let mut stream = asked.unwrap().into_inner();
    let about = stream.message().await.unwrap().unwrap().about.unwrap();
    let (mut file, mut last) = (Vec::new(), v1::SaveSnapshotResponse::default());
    while let Some(piece) = stream.message().await.unwrap() {
        file.extend(&piece.data);
        last = piece;
    }
    let mut actions = Vec::new();
    let take = &mut |change: crate::archive::Change| {
        let record = decode(&change.record.unwrap().canonical).unwrap();
        actions.push((record.actor, record.action));
        Ok(())
    };
    let (report, state) = check(file.as_slice(), Some(&RootKey::new(&[5; 32])), take).unwrap();
    let state = state.unwrap();
    assert_eq!(
        (state.revision.0, last.saved_changes),
        (about.revision, about.changes)
    );
    assert_eq!(report.sum, hex::encode(last.sha256));
    assert_eq!(state.hash().to_vec(), about.state_hash);
    assert_eq!(
        actions.last().unwrap(),
        &(ADMIN.to_owned(), "snapshot.save".to_owned())
    );
    assert!(state.principals.values().any(|known| known.role == Role::Service));
}

#[tokio::test]
async fn nobody_but_an_admin_takes_a_copy() {
    let world = World::founded().await;
    for (role, name) in [
        (v1::Role::Service, "ehr"),
        (v1::Role::Operator, "vera"),
        (v1::Role::Auditor, "ben"),
    ] {
        let channel = enrol(&world, role, name, &[]).await;
        let mut cluster = ClusterServiceClient::new(channel);
        let refused = cluster
            .save_snapshot(v1::SaveSnapshotRequest {})
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{role:?}: {refused}");
    }
}
