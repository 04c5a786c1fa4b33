//! Resolving from memory, by watch, and while nobody answers.

#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod support;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use prost::Message;
use reeve_client::{
    Error, Fleet, Selector,
    v1::{self, tenant::State, watch_response as event, watch_response::Event},
};
use support::*;
use tokio::sync::mpsc;
use tonic::Status;

fn resolution(state: State, mod_revision: u64) -> v1::Resolution {
    v1::Resolution {
        tenant_id: "t_0123456789ab".into(),
        slug: "cho-ray".into(),
        state: state.into(),
        epoch: 1,
        placement_number: 1,
        database: "t_0123456789ab".into(),
        role: "t_0123456789ab_a".into(),
        credential_version: 1,
        write: Some(v1::Endpoint {
            network: "default".into(),
            host: "db".into(),
            port: 5432,
        }),
        claims: vec![v1::Claim {
            kind: v1::claim::Kind::Slug.into(),
            key: "cho-ray".into(),
        }],
        mod_revision,
        ..Default::default()
    }
}

fn answer(state: State, staleness: Option<Duration>) -> v1::ResolveResponse {
    let staleness = staleness.map(|s| s.try_into().unwrap());
    let stale = staleness.is_none();
    let freshness = v1::Freshness {
        revision: 9,
        staleness,
        stale,
        node_id: 1,
    };
    v1::ResolveResponse {
        resolution: Some(resolution(state, 5)),
        freshness: Some(freshness),
        explanation: Vec::new(),
    }
}

fn fleet(cluster: &Cluster, nodes: &[&Node], watch: bool) -> Fleet {
    let nodes = nodes.iter().map(|node| node.addr());
    Fleet::builder()
        .nodes(nodes)
        .credentials(cluster.client())
        .watch(watch)
        .build()
        .unwrap()
}

/// A node whose answers are of unknown age, and that does not answer while it is told so.
async fn sometimes_down(cluster: &Cluster) -> (Node, Arc<Mutex<bool>>) {
    let down = Arc::new(Mutex::new(false));
    let (is_down, old) = (down.clone(), answer(State::Active, None));
    let handler: Handler = Arc::new(move |_, _| {
        let answer = match *is_down.lock().unwrap() {
            true => Err(Status::unavailable("down")),
            false => Ok(one(frame(&old))),
        };
        Box::pin(async move { answer })
    });
    (cluster.node(1, handler).await, down)
}

fn cho_ray() -> Selector {
    Selector::slug("cho-ray").unwrap()
}

#[tokio::test]
async fn a_fresh_answer_is_asked_for_once_however_many_want_it() {
    let cluster = Cluster::new();
    let node = cluster
        .node(
            1,
            table([("Resolve", answer(State::Active, Some(Duration::ZERO)))]),
        )
        .await;
    let fleet = fleet(&cluster, &[&node], false);
    let selector = cho_ray();
    let all = futures::future::join_all((0..50).map(|_| fleet.resolve(&selector))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(node.calls(), 1);
}

#[tokio::test]
async fn an_active_tenant_is_served_while_nobody_answers() {
    let cluster = Cluster::new();
    let (node, down) = sometimes_down(&cluster).await;
    let fleet = fleet(&cluster, &[&node], false);
    fleet.resolve(&cho_ray()).await.unwrap();
    fleet.resolve(&cho_ray()).await.unwrap();
    assert_eq!(node.calls(), 2, "an answer of unknown age is asked for again");
    *down.lock().unwrap() = true;
    fleet.resolve(&cho_ray()).await.unwrap();
    let never_seen = fleet.resolve(&Selector::slug("lab").unwrap()).await;
    assert!(matches!(never_seen, Err(Error::Retry(_))), "{never_seen:?}");
}

#[tokio::test]
async fn while_nobody_answers_all_are_served_and_one_asks() {
    let cluster = Cluster::new();
    let (node, down) = sometimes_down(&cluster).await;
    let fleet = fleet(&cluster, &[&node], false);
    let selector = cho_ray();
    fleet.resolve(&selector).await.unwrap();
    *down.lock().unwrap() = true;
    let before = node.calls();
    for _ in 0..2 {
        let all = futures::future::join_all((0..50).map(|_| fleet.resolve(&selector))).await;
        assert!(all.iter().all(Result::is_ok));
    }
    // Each of two questions goes round a few times before it is given up.
    let asked = node.calls() - before;
    assert!((1..30).contains(&asked), "{asked} calls for 100 requests");
    *down.lock().unwrap() = false;
    let answered = async {
        while fleet.resolve(&selector).await.is_ok() && node.calls() - before == asked {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let back = tokio::time::timeout(Duration::from_secs(30), answered).await;
    back.expect("it is asked again when somebody answers");
}

#[tokio::test]
async fn an_answer_older_than_what_is_known_is_nobodys_answer() {
    let cluster = Cluster::new();
    let of = |tenant: &str, revision: u64| {
        let mut answer = answer(State::Active, None);
        let resolution = answer.resolution.as_mut().unwrap();
        (resolution.tenant_id, resolution.mod_revision) = (tenant.into(), revision);
        answer.freshness.as_mut().unwrap().revision = revision;
        answer
    };
    // The name was the first hospital's once, and the second node has not heard that it is not any more.
    let answers = [of("t_00000000000b", 100), of("t_00000000000a", 90)];
    let calls = Mutex::new(answers.into_iter());
    let handler: Handler = Arc::new(move |_, _| {
        let answer = calls.lock().unwrap().next().unwrap();
        Box::pin(async move { Ok(one(frame(&answer))) })
    });
    let node = cluster.node(1, handler).await;
    let fleet = fleet(&cluster, &[&node], false);
    for _ in 0..2 {
        let found = fleet.resolve(&cho_ray()).await.unwrap();
        assert_eq!(found.tenant.as_str(), "t_00000000000b");
    }
    assert_eq!(node.calls(), 2, "it was asked again");
}

#[tokio::test]
async fn a_refusal_older_than_what_is_known_drops_nothing() {
    use reeve_proto::error;
    let cluster = Cluster::new();
    for reason in [v1::ErrorReason::TenantNotFound, v1::ErrorReason::TenantNotServing] {
        // The tenant is newer than what the node that refuses has heard of; then that node has caught up.
        let refused = |revision: &str| Err(error::status(reason, "no", &[("revision", revision)]));
        let calls = [
            Ok(one(frame(&answer(State::Active, None)))),
            refused("8"),
            Err(Status::unavailable("down")),
            refused("9"),
        ];
        let calls = Mutex::new(calls.into_iter());
        let silent = || Err(Status::unavailable("down"));
        let handler: Handler = Arc::new(move |_, _| {
            let answer = calls.lock().unwrap().next().unwrap_or_else(silent);
            Box::pin(async move { answer })
        });
        let node = cluster.node(1, handler).await;
        let fleet = fleet(&cluster, &[&node], false);
        fleet.resolve(&cho_ray()).await.unwrap();
        let known = fleet.resolve(&cho_ray()).await;
        assert_eq!(known.unwrap().tenant.as_str(), "t_0123456789ab", "{reason:?}");
        // The answer that is not there is asked for again, and the next one is of the same revision.
        let refused = fleet.resolve(&cho_ray()).await.unwrap_err();
        assert!(!refused.is_transient(), "{refused:?}");
        let gone = fleet.resolve(&cho_ray()).await;
        assert!(gone.is_err(), "{reason:?} left a fallback: {gone:?}");
        assert!(node.calls() >= 4);
    }
}

#[tokio::test]
async fn a_suspended_tenant_fails_closed() {
    let cluster = Cluster::new();
    let node = cluster
        .node(
            1,
            table([("Resolve", answer(State::Suspended, Some(Duration::ZERO)))]),
        )
        .await;
    let fleet = fleet(&cluster, &[&node], false);
    for _ in 0..2 {
        let refused = fleet.resolve(&cho_ray()).await;
        assert!(matches!(refused, Err(Error::NotServing { .. })), "{refused:?}");
    }
}

#[tokio::test]
async fn nobody_is_remembered_for_a_moment() {
    use reeve_proto::error;
    let cluster = Cluster::new();
    let reason = v1::ErrorReason::TenantNotFound;
    let handler = fails(move || error::status(reason, "no such tenant", &[("revision", "7")]));
    let node = cluster.node(1, handler).await;
    let fleet = fleet(&cluster, &[&node], false);
    for _ in 0..5 {
        assert!(matches!(fleet.resolve(&cho_ray()).await, Err(Error::Unknown(_))));
    }
    assert_eq!(node.calls(), 1);
}

/// Where a scripted watch hands each new stream to the test, with the revision it was asked to resume after.
type Streams = mpsc::UnboundedReceiver<(u64, mpsc::UnboundedSender<Event>)>;

async fn watched(cluster: &Cluster, number: u64) -> (Node, Streams) {
    let (arrived, streams) = mpsc::unbounded_channel();
    let handler: Handler = Arc::new(move |path, message| {
        if !path.ends_with("/Watch") {
            return Box::pin(async { Err(Status::unavailable("only the watch lives")) });
        }
        let asked = v1::WatchRequest::decode(message).unwrap();
        let (send, receive) = mpsc::unbounded_channel();
        arrived.send((asked.after_revision, send)).ok();
        let events = futures::stream::unfold(receive, |mut receive| async {
            let event: Event = receive.recv().await?;
            Some((Ok(frame(&v1::WatchResponse { event: Some(event) })), receive))
        });
        Box::pin(async move { Ok(Box::pin(events) as BoxStream) })
    });
    (cluster.node(number, handler).await, streams)
}

fn delta(revision: u64, state: State) -> Event {
    let changed = vec![resolution(state, revision)];
    Event::Delta(event::Delta {
        revision,
        changed,
        removed_tenant_ids: Vec::new(),
    })
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < Duration::from_secs(10), "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn the_watch_fills_the_cache_and_carries_changes_into_it() {
    let cluster = Cluster::new();
    let (node, mut streams) = watched(&cluster, 1).await;
    let fleet = fleet(&cluster, &[&node], true);
    let (after, events) = streams.recv().await.unwrap();
    assert_eq!(after, 0);
    events.send(Event::Initial(resolution(State::Active, 5))).unwrap();
    events
        .send(Event::InitialDone(event::InitialDone { revision: 9 }))
        .unwrap();
    fleet.ready().await.unwrap();
    fleet.resolve(&cho_ray()).await.unwrap();
    assert_eq!(node.calls(), 1, "only the watch itself");

    events.send(delta(10, State::Suspended)).unwrap();
    until("suspended", async || {
        matches!(fleet.resolve(&cho_ray()).await, Err(Error::NotServing { .. }))
    })
    .await;

    // A slow consumer is cut off, and resumes behind what it has seen.
    events
        .send(Event::Lagged(event::Lagged {
            resume_after_revision: 10,
        }))
        .unwrap();
    let (after, events) = streams.recv().await.unwrap();
    assert_eq!(after, 10);
    events.send(delta(12, State::Active)).unwrap();
    until("active again", async || fleet.resolve(&cho_ray()).await.is_ok()).await;

    // History that is gone means starting over; who is missing then is gone.
    events
        .send(Event::Compacted(event::Compacted { oldest_revision: 100 }))
        .unwrap();
    let (after, events) = streams.recv().await.unwrap();
    assert_eq!(after, 0);
    events
        .send(Event::InitialDone(event::InitialDone { revision: 120 }))
        .unwrap();
    until("gone", async || {
        matches!(fleet.resolve(&cho_ray()).await, Err(Error::Retry(_)))
    })
    .await;
}

fn page(registry: &prometheus_client::registry::Registry) -> Vec<String> {
    let mut page = String::new();
    prometheus_client::encoding::text::encode(&mut page, registry).unwrap();
    page.lines().map(str::to_owned).collect()
}

fn resolves(source: &str, outcome: &str, count: u64) -> String {
    format!(r#"reeve_client_resolves_total{{source="{source}",outcome="{outcome}"}} {count}"#)
}

#[tokio::test]
async fn what_a_fleet_does_is_counted_for_as_long_as_it_lives() {
    let cluster = Cluster::new();
    let down = Arc::new(Mutex::new(false));
    let is_down = down.clone();
    let handler: Handler = Arc::new(move |_, message| {
        let key = v1::ResolveRequest::decode(message).unwrap().claim.unwrap().key;
        let answer = match (*is_down.lock().unwrap(), key.as_str()) {
            (true, _) => Err(Status::unavailable("down")),
            // Of unknown age: asked for again each time, and a fallback when nobody answers.
            (false, "cho-ray") => Ok(one(frame(&answer(State::Active, None)))),
            (false, "lab") => Ok(one(frame(&answer(State::Suspended, Some(Duration::ZERO))))),
            _ => {
                let reason = v1::ErrorReason::TenantNotFound;
                Err(reeve_proto::error::status(
                    reason,
                    "no such tenant",
                    &[("revision", "7")],
                ))
            }
        };
        Box::pin(async move { answer })
    });
    let node = cluster.node(1, handler).await;
    let fleet = fleet(&cluster, &[&node], false);
    let mut registry = prometheus_client::registry::Registry::default();
    fleet.register_metrics(&mut registry);
    let slug = |slug: &str| Selector::slug(slug).unwrap();
    fleet.resolve(&cho_ray()).await.unwrap();
    for _ in 0..3 {
        fleet.resolve(&slug("nobody")).await.unwrap_err();
    }
    *down.lock().unwrap() = true;
    fleet.resolve(&cho_ray()).await.unwrap();
    fleet.resolve(&slug("stranger")).await.unwrap_err();
    *down.lock().unwrap() = false;
    fleet.resolve(&slug("lab")).await.unwrap_err();
    let shown = page(&registry);
    for line in [
        resolves("registry", "served", 1),
        resolves("registry", "unknown", 1),
        resolves("memory", "unknown", 2),
        resolves("fallback", "served", 1),
        resolves("registry", "failed", 1),
        resolves("registry", "not_serving", 1),
        resolves("memory", "served", 0),
        // One for each that is counted as the registry's, and the one that came back empty-handed and fell back.
        "reeve_client_resolve_duration_seconds_count 5".to_owned(),
        "reeve_client_watch_connected 0".to_owned(),
        "reeve_client_pools 0".to_owned(),
        "reeve_client_tenant_mismatches_total 0".to_owned(),
    ] {
        assert!(shown.contains(&line), "{line} is not in {shown:#?}");
    }
    assert!(
        !shown.iter().any(|line| line.contains("staleness")),
        "nothing was heard"
    );
    drop(fleet);
    assert_eq!(page(&registry), ["# EOF"], "the scrape keeps it alive");
}

#[tokio::test]
async fn a_watch_shows_that_it_lives_and_how_old_its_word_is() {
    let cluster = Cluster::new();
    let (node, mut streams) = watched(&cluster, 1).await;
    let fleet = fleet(&cluster, &[&node], true);
    let mut registry = prometheus_client::registry::Registry::default();
    fleet.register_metrics(&mut registry);
    let (_, events) = streams.recv().await.unwrap();
    events.send(Event::Initial(resolution(State::Active, 5))).unwrap();
    events
        .send(Event::InitialDone(event::InitialDone { revision: 9 }))
        .unwrap();
    fleet.ready().await.unwrap();
    fleet.resolve(&cho_ray()).await.unwrap();
    let shown = page(&registry);
    for line in [
        resolves("memory", "served", 1),
        "reeve_client_watch_connected 1".to_owned(),
        "reeve_client_cache_entries 1".to_owned(),
    ] {
        assert!(shown.contains(&line), "{line} is not in {shown:#?}");
    }
    let age = shown
        .iter()
        .find_map(|line| line.strip_prefix("reeve_client_cache_staleness_seconds "));
    let age: f64 = age.unwrap().parse().unwrap();
    assert!((0.0..5.0).contains(&age), "{age}");
    drop(events);
    until("the watch is seen to be cut off", async || {
        page(&registry).contains(&"reeve_client_watch_connected 0".to_owned())
    })
    .await;
}

#[tokio::test]
async fn a_silent_watch_is_resumed_over_another_node() {
    let cluster = Cluster::new();
    let ((one, mut at_one), (two, mut at_two)) = (watched(&cluster, 1).await, watched(&cluster, 2).await);
    let _fleet = fleet(&cluster, &[&one, &two], true);
    let (events, other) = tokio::select! {
        Some((0, events)) = at_one.recv() => (events, &mut at_two),
        Some((0, events)) = at_two.recv() => (events, &mut at_one),
    };
    events
        .send(Event::InitialDone(event::InitialDone { revision: 9 }))
        .unwrap();
    // From here on it says nothing, although its connection stays.
    let (after, _events) = tokio::time::timeout(Duration::from_secs(8), other.recv())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(after, 9);
}
