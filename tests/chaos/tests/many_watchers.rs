//! Ten thousand watchers on one node: each hears each change, and none costs much.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use reeve_chaos::memory::{has_huge_pages, resident_bytes};
use reeve_client::v1::resolver_service_client::ResolverServiceClient;
use reeve_client::v1::watch_response::Event;
use reeve_client::v1::{
    GetClusterRequest, ResumeTenantRequest, SuspendTenantRequest, WatchRequest, WatchResponse,
};
use reeve_client::{Api, Error, request_id};
use reeve_local::{Fleet, hand, tenants};
use reeve_proto::identity::{Expect, Tuning, channel, connector};
use tonic::Streaming;
use tonic::transport::Channel;

const CONNECTIONS: usize = 100;
const STREAMS_EACH: usize = 100;
const CHANGES: usize = 4;
/// A connection that is refused for the moment is dialled again after this.
const PAUSE: Duration = Duration::from_millis(100);
/// What one watcher may cost the node.
const BYTES_EACH_MAX: u64 = 64 << 10;
const PATIENCE: Duration = Duration::from_secs(240);

async fn open(channel: Channel, after_revision: u64) -> Result<Streaming<WatchResponse>> {
    loop {
        let request = WatchRequest {
            after_revision,
            bookmark_interval: Duration::from_secs(10).try_into().ok(),
            ..Default::default()
        };
        match ResolverServiceClient::new(channel.clone()).watch(request).await {
            Ok(opened) => return Ok(opened.into_inner()),
            Err(status) if Error::from(status.clone()).is_transient() => tokio::time::sleep(PAUSE).await,
            Err(status) => return Err(status.into()),
        }
    }
}

/// Suspends or resumes the tenant; the revision of it.
async fn change(api: &Api, tenant: &str, number: usize) -> Result<u64> {
    let (tenant, request_id) = (tenant.to_owned(), request_id());
    let mut api = api.tenants();
    let answer = if number.is_multiple_of(2) {
        let order = SuspendTenantRequest {
            request_id,
            tenant,
            ..Default::default()
        };
        api.suspend_tenant(order).await?.into_inner().tenant
    } else {
        let order = ResumeTenantRequest {
            request_id,
            tenant,
            ..Default::default()
        };
        api.resume_tenant(order).await?.into_inner().tenant
    };
    Ok(answer.context("no tenant")?.mod_revision)
}

/// Reads until this revision has come; the revisions on the way.
async fn hear(mut stream: Streaming<WatchResponse>, upto: u64) -> Result<Vec<u64>> {
    let mut heard = Vec::new();
    while heard.last().is_none_or(|last| *last < upto) {
        let message = stream.message().await?.context("a stream ended")?;
        match message.event.context("an empty message")? {
            Event::Delta(delta) => heard.push(delta.revision),
            Event::Bookmark(_) => {}
            other => anyhow::bail!("{other:?}"),
        }
    }
    Ok(heard)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_watchers_on_one_node_hear_each_change() -> Result<()> {
    let no_regions: [&str; 0] = [];
    let fleet = Fleet::builder()
        .nodes(1)
        .regions(no_regions)
        .direct()
        .start()
        .await?;
    let _hands = hand::region(&fleet, "vn", 1).await?;
    let order = tenants::order("watched", "watched.example", "vn", "ehr");
    let made = tenants::create(fleet.api(), order).await?;
    tenants::ended(fleet.api(), &made.id, PATIENCE).await?;

    let node = fleet.node(1)?;
    let mut cluster = node.api().cluster();
    let now = cluster
        .get_cluster(GetClusterRequest::default())
        .await?
        .into_inner();
    let after = now.freshness.context("no freshness")?.revision;
    ensure!(!has_huge_pages(node)?, "memory is rounded up to huge pages");
    let before = resident_bytes(node)?;
    let mut opening = Vec::new();
    for _ in 0..CONNECTIONS {
        let dial = connector(fleet.admin(), Expect::AnyNode)?;
        let channel = channel(node.address(), dial, &Tuning::default())?;
        opening.extend((0..STREAMS_EACH).map(|_| open(channel.clone(), after)));
    }
    let streams = tokio::time::timeout(PATIENCE, try_join_all(opening)).await??;
    let opened = resident_bytes(node)?;

    let mut changes = Vec::new();
    for number in 0..CHANGES {
        changes.push(change(fleet.api(), "watched", number).await?);
    }
    let last = *changes.last().context("no change")?;
    let hearing = try_join_all(streams.into_iter().map(|stream| hear(stream, last)));
    let heard = tokio::time::timeout(PATIENCE, hearing)
        .await
        .context("some were not told")??;
    let most = opened.max(resident_bytes(node)?);
    let each = most.saturating_sub(before) / heard.len() as u64;
    println!(
        "{} watchers, {each} bytes each; before {before}, opened {opened}, most {most}",
        heard.len()
    );

    ensure!(
        heard.len() == CONNECTIONS * STREAMS_EACH,
        "{} watchers",
        heard.len()
    );
    let odd = heard.iter().find(|heard| **heard != changes);
    ensure!(odd.is_none(), "told {odd:?}, and {changes:?} were made");
    ensure!(each < BYTES_EACH_MAX, "a watcher costs {each} bytes");
    fleet.shutdown().await
}
