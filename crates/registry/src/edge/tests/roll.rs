use reeve_proto::v1;
use reeve_proto::v1::cluster_service_client::ClusterServiceClient;

use super::*;

fn remove(node_id: u64, confirm: &str, force: bool) -> v1::RemoveNodeRequest {
    v1::RemoveNodeRequest {
        request_id: id(),
        node_id,
        confirm: confirm.into(),
        force,
    }
}

#[tokio::test]
async fn a_node_leaves_only_when_it_is_the_one_that_is_meant_and_not_the_last() {
    let world = World::founded().await;
    let mut cluster = ClusterServiceClient::new(world.channel_as(ADMIN));
    for confirm in ["", "1", "clinic/1", "hospital/2"] {
        let refused = cluster.remove_node(remove(1, confirm, true)).await.unwrap_err();
        assert_eq!(reason(&refused), "CONFIRMATION_MISSING", "{confirm}");
        assert!(refused.message().contains("hospital/1"), "{refused}");
    }
    let refused = cluster
        .remove_node(remove(9, "hospital/9", false))
        .await
        .unwrap_err();
    assert_eq!(reason(&refused), "NODE_NOT_FOUND");
    for force in [false, true] {
        let refused = cluster
            .remove_node(remove(1, "hospital/1", force))
            .await
            .unwrap_err();
        assert_eq!(reason(&refused), "WRONG_STATE");
        assert!(refused.message().contains("last voter"), "{refused}");
    }
    assert_eq!(world.state().nodes.len(), 1);
}

#[tokio::test]
async fn a_node_says_how_it_is() {
    let world = World::founded().await;
    let mut cluster = ClusterServiceClient::new(world.channel_as(ADMIN));
    let asked = v1::GetClusterRequest::default();
    let said = cluster.get_cluster(asked).await.unwrap().into_inner();
    assert_eq!(said.state_hash, "", "nobody asked for it");
    let asked = v1::GetClusterRequest {
        with_state_hash: true,
        ..Default::default()
    };
    let hashed = cluster.get_cluster(asked).await.unwrap().into_inner();
    assert_eq!(hashed.state_hash, hex::encode(world.state().hash()));
    let vitals = said.vitals.unwrap();
    assert_eq!(vitals.program_version, env!("CARGO_PKG_VERSION"));
    assert!(vitals.hears_quorum && vitals.archive_whole && vitals.audit_chains_whole);
    assert!(vitals.last_index > 0 && vitals.fsync_p99.is_some());
    assert!(vitals.now.is_some() && vitals.backup_every.is_none() && !vitals.disk_full);
}
