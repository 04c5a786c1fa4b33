//! A node that hangs costs whoever asks for a tenant a moment: another one is asked.

#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use prost::Message;
use reeve_client::{Api, Fleet, Selector, v1};
use support::*;
use tokio::sync::{Notify, mpsc};
use tonic::Status;

fn answer(tenant: &str, revision: u64) -> v1::ResolveResponse {
    v1::ResolveResponse {
        resolution: Some(v1::Resolution {
            tenant_id: tenant.into(),
            slug: "cho-ray".into(),
            state: v1::tenant::State::Active.into(),
            write: Some(v1::Endpoint {
                host: "db".into(),
                port: 5432,
                ..Default::default()
            }),
            mod_revision: revision,
            ..Default::default()
        }),
        // Of unknown age: asked for again each time.
        freshness: Some(v1::Freshness {
            revision,
            stale: true,
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn fleet(cluster: &Cluster, nodes: &[&Node]) -> Fleet {
    Fleet::builder()
        .nodes(nodes.iter().map(|node| node.addr()))
        .credentials(cluster.client())
        .watch(false)
        .build()
        .unwrap()
}

fn cho_ray() -> Selector {
    Selector::slug("cho-ray").unwrap()
}

/// Nothing is remembered of it, so that there is nothing to fall back on.
fn never_asked() -> Selector {
    Selector::slug("never-asked").unwrap()
}

/// A node that answers at once, or, while it hangs, says that it was asked and answers when it is let.
struct Hanging {
    node: Node,
    hangs: Arc<AtomicBool>,
    go_on: Arc<Notify>,
    asked: mpsc::UnboundedReceiver<()>,
    /// Calls that were given up.
    ended: Arc<AtomicUsize>,
}

struct Ending(Arc<AtomicUsize>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Hanging {
    async fn new(cluster: &Cluster, number: u64, says: v1::ResolveResponse) -> Hanging {
        let (hangs, ended) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let (ask, asked) = mpsc::unbounded_channel();
        let go_on = Arc::<Notify>::default();
        let (is_hanging, ending, may_go_on) = (hangs.clone(), ended.clone(), go_on.clone());
        let handler: Handler = Arc::new(move |_, _| {
            let says = says.clone();
            if is_hanging.load(Ordering::SeqCst) {
                ask.send(()).ok();
                let (ending, may_go_on) = (Ending(ending.clone()), may_go_on.clone());
                return Box::pin(async move {
                    let _ending = ending;
                    may_go_on.notified().await;
                    Ok(one(frame(&says)))
                });
            }
            Box::pin(async move { Ok(one(frame(&says))) })
        });
        Hanging {
            node: cluster.node(number, handler).await,
            hangs,
            go_on,
            asked,
            ended,
        }
    }

    fn hang(&self, hangs: bool) {
        self.hangs.store(hangs, Ordering::SeqCst);
    }
}

/// Two nodes that have answered, so that both are known to be well; whoever is asked first hangs from now on.
async fn first_hangs(cluster: &Cluster, says: [v1::ResolveResponse; 2]) -> (Fleet, Hanging, Hanging) {
    let [one, two] = says;
    let one = Hanging::new(cluster, 1, one).await;
    let two = Hanging::new(cluster, 2, two).await;
    let fleet = fleet(cluster, &[&one.node, &two.node]);
    fleet.resolve(&cho_ray()).await.unwrap();
    let (first, second) = match one.node.calls() {
        0 => (two, one),
        _ => (one, two),
    };
    first.hang(true);
    (fleet, first, second)
}

/// Calls for which a second node was asked, and those that it answered, as a scrape shows them.
fn hedges(fleet: &Fleet) -> [String; 2] {
    let mut registry = prometheus_client::registry::Registry::default();
    fleet.register_metrics(&mut registry);
    let mut page = String::new();
    prometheus_client::encoding::text::encode(&mut page, &registry).unwrap();
    ["asked", "won"].map(|what| {
        let name = format!("reeve_client_hedges_{what}_total ");
        let shown = page.lines().find_map(|line| line.strip_prefix(&name));
        shown.unwrap().to_owned()
    })
}

#[tokio::test]
async fn while_a_node_hangs_another_answers_and_the_first_is_let_go() {
    let cluster = Cluster::new();
    let says = answer("t_00000000000a", 5);
    let (fleet, mut first, second) = first_hangs(&cluster, [says.clone(), says]).await;
    assert_eq!(hedges(&fleet), ["0", "0"], "nobody was slow");
    let found = fleet.resolve(&never_asked()).await.unwrap();
    assert_eq!(found.slug(), "cho-ray");
    first.asked.recv().await.unwrap();
    assert_eq!(second.node.calls(), 1);
    assert_eq!(hedges(&fleet), ["1", "1"]);
    ended(&first).await;
}

#[tokio::test]
async fn while_both_are_asked_the_first_may_still_be_the_first_to_answer() {
    let cluster = Cluster::new();
    let says = answer("t_00000000000a", 5);
    let (fleet, mut first, mut second) = first_hangs(&cluster, [says.clone(), says]).await;
    second.hang(true);
    let selector = never_asked();
    let (found, ()) = tokio::join!(fleet.resolve(&selector), async {
        first.asked.recv().await.unwrap();
        second.asked.recv().await.unwrap();
        // It was not given up for being slow.
        first.go_on.notify_one();
    });
    assert_eq!(found.unwrap().slug(), "cho-ray");
    assert_eq!(hedges(&fleet), ["1", "0"], "the first has answered");
    ended(&second).await;
}

/// Waits until a call that was asked of a node has ended there.
async fn ended(hanging: &Hanging) {
    reeve_local::until("the call to end", Duration::from_secs(10), async || {
        Ok((hanging.ended.load(Ordering::SeqCst) == 1).then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn an_older_answer_of_the_second_is_nobodys_answer() {
    let cluster = Cluster::new();
    // The name was another hospital's once, and one of the nodes has not heard that it is not any more.
    let (new, old) = (answer("t_00000000000b", 100), answer("t_00000000000a", 90));
    let (one, two) = (
        Hanging::new(&cluster, 1, new).await,
        Hanging::new(&cluster, 2, old).await,
    );
    // Each fleet draws the node it begins with; sooner or later one draws the newer.
    loop {
        let fleet = fleet(&cluster, &[&one.node, &two.node]);
        let before = one.node.calls();
        let found = fleet.resolve(&cho_ray()).await.unwrap();
        if one.node.calls() == before {
            continue;
        }
        assert_eq!(found.tenant.as_str(), "t_00000000000b");
        one.hang(true);
        let before = two.node.calls();
        let found = fleet.resolve(&cho_ray()).await.unwrap();
        assert_eq!(two.node.calls(), before + 1, "the second was not asked");
        assert_eq!(found.tenant.as_str(), "t_00000000000b", "it went back in time");
        return;
    }
}

#[tokio::test]
async fn a_change_is_never_asked_of_two() {
    let cluster = Cluster::new();
    let says = answer("t_00000000000a", 5);
    let (one, two) = (
        Hanging::new(&cluster, 1, says.clone()).await,
        Hanging::new(&cluster, 2, says).await,
    );
    one.hang(true);
    two.hang(true);
    let api = Api::connect(&[one.node.addr(), two.node.addr()], &cluster.client()).unwrap();
    let order = v1::CreateTenantRequest {
        request_id: "r-1".into(),
        ..Default::default()
    };
    let mut request = tonic::Request::new(order);
    // Longer than any hedge waits, and shorter than a node is waited for.
    request.set_timeout(Duration::from_secs(2));
    api.tenants().create_tenant(request).await.unwrap_err();
    assert_eq!(one.node.calls() + two.node.calls(), 1);
}

#[tokio::test]
async fn a_second_that_asks_for_peace_is_no_answer() {
    let cluster = Cluster::new();
    let mut first = Hanging::new(&cluster, 1, answer("t_00000000000a", 5)).await;
    let (ask, mut asked) = mpsc::unbounded_channel();
    let handler: Handler = Arc::new(move |_, message| {
        let key = v1::ResolveRequest::decode(message).unwrap().claim.unwrap().key;
        // While one is drawn, it only says that it was.
        let status = match key.as_str() {
            "cho-ray" => reeve_proto::error::status(v1::ErrorReason::TenantNotFound, "nobody", &[]),
            _ => {
                ask.send(()).ok();
                reeve_proto::error::retry(v1::ErrorReason::RateLimited, "peace", Duration::from_secs(60))
            }
        };
        Box::pin(async move { Err::<BoxStream, Status>(status) })
    });
    let second = cluster.node(2, handler).await;
    let fleet = loop {
        let fleet = fleet(&cluster, &[&first.node, &second]);
        if fleet.resolve(&cho_ray()).await.is_ok() {
            break fleet;
        }
    };
    first.hang(true);
    let selector = never_asked();
    let (found, ()) = tokio::join!(fleet.resolve(&selector), async {
        first.asked.recv().await.unwrap();
        asked.recv().await.unwrap();
        first.go_on.notify_one();
    });
    assert_eq!(found.unwrap().slug(), "cho-ray");
}
