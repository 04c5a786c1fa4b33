//! Many tenants are fetched in few calls, and each answer counts as a single one would.

#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod support;

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use prost::Message;
use reeve_client::{
    Error, Failure, Fleet, FleetMock, Selector,
    v1::{self, ErrorReason, batch_resolve_response::Item, tenant::State},
};
use reeve_proto::error;
use support::*;
use tonic::Status;

/// Claims that one call to a node may hold.
const NODE_MAX: usize = 1_000;
const REVISION: u64 = 9;

fn slug(name: &str) -> Selector {
    Selector::slug(name).unwrap()
}

fn slugs(count: usize) -> impl Iterator<Item = Selector> {
    (0..count).map(|n| slug(&format!("hospital-{n}")))
}

fn resolution(claim: &v1::Claim, state: State) -> v1::Resolution {
    let number: u64 = claim
        .key
        .bytes()
        .fold(7, |hash, b| hash * 31 % 0xffff_ffff + u64::from(b));
    let tenant = format!("t_{number:012x}");
    v1::Resolution {
        slug: claim.key.clone(),
        state: state.into(),
        epoch: 1,
        placement_number: 1,
        database: tenant.clone(),
        role: format!("{tenant}_a"),
        credential_version: 1,
        write: Some(v1::Endpoint {
            network: "default".into(),
            host: "db".into(),
            port: 5432,
        }),
        claims: vec![claim.clone()],
        mod_revision: 5,
        tenant_id: tenant,
        ..Default::default()
    }
}

/// What a node says of a claim: by the name that it has.
fn item(claim: v1::Claim) -> Item {
    let (resolution, reason) = match claim.key.as_str() {
        "nobody" => (None, ErrorReason::TenantNotFound),
        "stale" => (None, ErrorReason::TenantNotServing),
        "sick" => (None, ErrorReason::TenantNotReady),
        "silent" => (None, ErrorReason::Unspecified),
        "asleep" => (
            Some(resolution(&claim, State::Suspended)),
            ErrorReason::Unspecified,
        ),
        _ => (Some(resolution(&claim, State::Active)), ErrorReason::Unspecified),
    };
    Item {
        claim: Some(claim),
        resolution,
        reason: reason.into(),
    }
}

fn answer(items: Vec<Item>, revision: u64) -> v1::BatchResolveResponse {
    let freshness = v1::Freshness {
        revision,
        staleness: Some(prost_types::Duration::default()),
        stale: false,
        node_id: 1,
    };
    v1::BatchResolveResponse {
        items,
        freshness: Some(freshness),
    }
}

fn claims(message: bytes::Bytes) -> Vec<v1::Claim> {
    v1::BatchResolveRequest::decode(message).unwrap().claims
}

type Answers = fn(Vec<v1::Claim>) -> Result<v1::BatchResolveResponse, Status>;

/// A node that knows batches only, and answers by their claims.
async fn node(
    cluster: &Cluster,
    answers: impl Fn(Vec<v1::Claim>) -> Result<v1::BatchResolveResponse, Status> + Send + Sync + 'static,
) -> Node {
    let handler: Handler = Arc::new(move |path, message| {
        let answer = match path.ends_with("/BatchResolve") {
            true => answers(claims(message)).map(|answer| one(frame(&answer))),
            false => Err(Status::permission_denied("only batches")),
        };
        Box::pin(async move { answer })
    });
    cluster.node(1, handler).await
}

fn fleet(cluster: &Cluster, node: &Node) -> Fleet {
    let builder = Fleet::builder().nodes([node.addr()]).watch(false);
    builder.credentials(cluster.client()).build().unwrap()
}

#[tokio::test]
async fn each_tenant_is_kept_as_a_single_answer_would_be_and_found_without_a_node() {
    let cluster = Cluster::new();
    let node = node(&cluster, |claims| {
        Ok(answer(claims.into_iter().map(item).collect(), REVISION))
    })
    .await;
    let fleet = fleet(&cluster, &node);
    let names = [
        "cho-ray", "nobody", "stale", "sick", "silent", "asleep", "cho-ray", "hue",
    ];
    let warm = fleet.warm_up(names.map(slug)).await;
    assert_eq!((warm.known, warm.nobody), (2, vec![slug("nobody")]));
    let refused: Vec<_> = warm.refused.iter().map(|(who, _)| who.clone()).collect();
    assert_eq!(refused, ["stale", "sick", "silent", "asleep"].map(slug));
    let why: Vec<_> = warm.refused.iter().map(|(_, why)| why).collect();
    assert!(matches!(
        why[..],
        [
            Error::NotServing { .. },
            Error::Refused(_),
            Error::Answer(_),
            Error::NotServing { .. }
        ]
    ));
    assert_eq!(why[1].reason(), Some(ErrorReason::TenantNotReady));

    for name in ["cho-ray", "hue"] {
        assert_eq!(fleet.resolve(&slug(name)).await.unwrap().slug(), name);
    }
    let nobody = fleet.resolve(&slug("nobody")).await;
    assert!(matches!(nobody, Err(Error::Unknown(_))), "{nobody:?}");
    let asleep = fleet.resolve(&slug("asleep")).await;
    assert!(matches!(asleep, Err(Error::NotServing { .. })), "{asleep:?}");
    let again = fleet.warm_up(["cho-ray", "nobody", "asleep"].map(slug)).await;
    assert_eq!((again.known, again.nobody.len(), again.refused.len()), (1, 1, 1));
    assert_eq!(node.calls(), 1, "all of this is in memory");
}

#[tokio::test]
async fn any_number_goes_in_batches_that_a_node_takes_a_few_at_a_time() {
    let cluster = Cluster::new();
    let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::new(Mutex::new(HashSet::new()));
    let (at_work, at_most, all) = (inside.clone(), most.clone(), seen.clone());
    let handler: Handler = Arc::new(move |_, message| {
        let claims = claims(message);
        assert!(claims.len() <= NODE_MAX);
        for claim in &claims {
            assert!(all.lock().unwrap().insert(claim.key.clone()), "{claim:?} twice");
        }
        let (inside, most) = (at_work.clone(), at_most.clone());
        Box::pin(async move {
            most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            // So that those that may be here at once are.
            for _ in 0..1_000 {
                tokio::task::yield_now().await;
            }
            inside.fetch_sub(1, Ordering::SeqCst);
            let items = claims.into_iter().map(item).collect();
            Ok(one(frame(&answer(items, REVISION))))
        })
    });
    let node = cluster.node(1, handler).await;
    let fleet = fleet(&cluster, &node);
    let warm = fleet.warm_up(slugs(6_001).chain(slugs(100))).await;
    assert_eq!((warm.known, warm.nobody.len(), warm.refused.len()), (6_001, 0, 0));
    assert_eq!(seen.lock().unwrap().len(), 6_001);
    let most = most.load(Ordering::SeqCst);
    assert!((1..=4).contains(&most), "{most} at once");
    let calls = node.calls();
    fleet.resolve(&slug("hospital-6000")).await.unwrap();
    assert_eq!(node.calls(), calls);
}

#[tokio::test]
async fn a_batch_that_fails_leaves_the_others_and_what_is_known() {
    let cluster = Cluster::new();
    // The second batch is the one that begins here.
    let bad = |claims: &[v1::Claim]| claims.iter().any(|claim| claim.key == "hospital-500");
    let kinds: [Answers; 4] = [
        |_| Err(Status::internal("broken")),
        // One too few.
        |claims| Ok(answer(claims.into_iter().skip(1).map(item).collect(), REVISION)),
        // One is of somebody else.
        |mut claims| {
            claims[3].key = "charite".to_owned();
            Ok(answer(claims.into_iter().map(item).collect(), REVISION))
        },
        |_| Ok(v1::BatchResolveResponse::default()),
    ];
    for (n, kind) in kinds.into_iter().enumerate() {
        let node = node(&cluster, move |claims| match bad(&claims) {
            true => kind(claims),
            false => Ok(answer(claims.into_iter().map(item).collect(), REVISION)),
        })
        .await;
        let fleet = fleet(&cluster, &node);
        let warm = fleet.warm_up(slugs(1_200)).await;
        let told = (warm.known, warm.nobody.len(), warm.refused.len());
        assert_eq!(told, (700, 0, 500), "{n}: {:?}", warm.refused.first());
        assert!(fleet.resolve(&slug("hospital-0")).await.is_ok());
        assert!(fleet.resolve(&slug("hospital-1199")).await.is_ok());
        for of_the_bad in ["hospital-500", "hospital-503", "hospital-999", "charite"] {
            let missing = fleet.resolve(&slug(of_the_bad)).await;
            assert!(matches!(missing, Err(Error::Denied(_))), "{n}: {missing:?}");
        }
    }
}

#[tokio::test]
async fn a_node_that_is_behind_takes_nothing_back() {
    let cluster = Cluster::new();
    let calls = AtomicUsize::new(0);
    // First of unknown age, so that it is asked for again; then from a node that has not heard of anybody.
    let node = node(&cluster, move |claims| {
        match calls.fetch_add(1, Ordering::SeqCst) {
            0 => {
                let mut first = answer(claims.into_iter().map(item).collect(), REVISION);
                first.freshness.as_mut().unwrap().staleness = None;
                Ok(first)
            }
            1 => {
                let nobody = |claim| Item {
                    claim: Some(claim),
                    resolution: None,
                    reason: ErrorReason::TenantNotFound.into(),
                };
                Ok(answer(claims.into_iter().map(nobody).collect(), REVISION - 1))
            }
            _ => Err(Status::unavailable("down")),
        }
    })
    .await;
    let fleet = fleet(&cluster, &node);
    for _ in 0..2 {
        let warm = fleet.warm_up([slug("cho-ray")]).await;
        assert_eq!((warm.known, warm.nobody.len()), (1, 0), "{warm:?}");
    }
    assert_eq!(node.calls(), 2);
}

#[tokio::test]
async fn a_node_that_asks_for_a_pause_is_asked_again_and_not_for_ever() {
    let cluster = Cluster::new();
    let busy = || error::retry(ErrorReason::RateLimited, "later", Duration::from_millis(1));
    let calls = AtomicUsize::new(0);
    let once = node(&cluster, move |claims| {
        match calls.fetch_add(1, Ordering::SeqCst) {
            0 => Err(busy()),
            _ => Ok(answer(claims.into_iter().map(item).collect(), REVISION)),
        }
    })
    .await;
    let warm = fleet(&cluster, &once).warm_up([slug("cho-ray")]).await;
    assert_eq!((warm.known, once.calls()), (1, 2), "{warm:?}");
    let always = node(&cluster, move |_| Err(busy())).await;
    let warm = fleet(&cluster, &always).warm_up([slug("cho-ray")]).await;
    assert!(matches!(&warm.refused[..], [(_, Error::Busy { .. })]), "{warm:?}");
    assert_eq!(always.calls(), 4);
}

#[tokio::test]
async fn a_mock_warms_up_by_what_the_test_wrote() {
    let mock = FleetMock::new();
    mock.tenant("cho-ray", [slug("cho-ray")]);
    mock.tenant("hue", [slug("hue")]);
    mock.fail(&slug("hue"), Failure::Suspended);
    let warm = mock.fleet().warm_up(["cho-ray", "hue", "nobody"].map(slug)).await;
    assert_eq!((warm.known, warm.nobody), (1, vec![slug("nobody")]));
    assert!(matches!(&warm.refused[..], [(who, Error::NotServing { .. })] if *who == slug("hue")));
}
