//! A node that started again and reaches nobody answers nothing that is not flagged stale.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use reeve_client::v1::read_level::Level;
use reeve_client::v1::{Claim, ErrorReason, Freshness, GetClusterRequest, ReadLevel, ResolveRequest, claim};
use reeve_local::{Fleet, Mode, Node, hand, tenants, until};
use tonic::{Code, Request, Status};

const PATIENCE: Duration = Duration::from_secs(60);
/// What needs the others is given up soon; what a node can say alone comes on a slow machine, too.
const OTHERS_PATIENCE: Duration = Duration::from_secs(2);
const ALONE_PATIENCE: Duration = Duration::from_secs(30);

fn levels(revision: u64) -> [Level; 4] {
    [
        Level::Stale(Default::default()),
        Level::AtLeastRevision(revision),
        Level::Bounded(Default::default()),
        Level::Linearizable(Default::default()),
    ]
}

fn patience(level: Level) -> Duration {
    match level {
        Level::Linearizable(_) | Level::AtLeastRevision(_) => OTHERS_PATIENCE,
        _ => ALONE_PATIENCE,
    }
}

async fn resolve(node: &Node, level: Level) -> Result<Freshness, Status> {
    let mut request = Request::new(ResolveRequest {
        claim: Some(Claim {
            kind: claim::Kind::Slug.into(),
            key: "kept".into(),
        }),
        read: Some(ReadLevel { level: Some(level) }),
        ..Default::default()
    });
    request.set_timeout(patience(level));
    let answer = node.api().resolver().resolve(request).await?.into_inner();
    Ok(answer.freshness.unwrap_or_default())
}

async fn look(node: &Node, level: Level) -> Result<Freshness, Status> {
    let mut request = Request::new(GetClusterRequest {
        read: Some(ReadLevel { level: Some(level) }),
        ..Default::default()
    });
    request.set_timeout(patience(level));
    let answer = node.api().cluster().get_cluster(request).await?.into_inner();
    Ok(answer.freshness.unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_says_before_it_has_recovered_is_flagged() -> Result<()> {
    let no_regions: [&str; 0] = [];
    let fleet = Fleet::builder().regions(no_regions).start().await?;
    let _hands = hand::region(&fleet, "vn", 1).await?;
    let made = tenants::create(fleet.api(), tenants::order("kept", "kept.example", "vn", "ehr")).await?;
    tenants::ended(fleet.api(), &made.id, PATIENCE).await?;
    let leader = fleet.leader().await?.id();
    let node = fleet.node(if leader == 3 { 2 } else { 3 })?;
    let known = resolve(node, Level::Linearizable(Default::default())).await?;
    ensure!(!known.stale && known.staleness.is_some(), "before: {known:?}");

    // It starts again, and every link to the others is cut; callers still reach it.
    node.kill9()?;
    let (out, back) = (format!("n{}->", node.id()), format!("->n{}", node.id()));
    let hops = fleet.hops();
    for name in hops.names().filter(|name| !name.starts_with("client->")) {
        if name.starts_with(&out) || name.ends_with(&back) {
            hops.get(name)?.set(Mode::Cut);
        }
    }
    node.start()?;
    let first = until("an answer", PATIENCE, async || {
        Ok(Some(look(node, Level::Stale(Default::default())).await?))
    })
    .await?;
    ensure!(
        first.stale && first.staleness.is_none(),
        "its first answer: {first:?}"
    );
    let mut answered = 0;
    for level in levels(first.revision) {
        for said in [look(node, level).await, resolve(node, level).await] {
            match said {
                Ok(said) => {
                    answered += 1;
                    ensure!(said.stale && said.staleness.is_none(), "{level:?}: {said:?}");
                }
                Err(status) => {
                    let info = reeve_proto::error::info(&status);
                    match info.reason {
                        // Nobody said anything in time.
                        ErrorReason::Unspecified => {
                            let silent = [Code::Unavailable, Code::DeadlineExceeded, Code::Cancelled];
                            ensure!(silent.contains(&status.code()), "{level:?}: {status}");
                        }
                        ErrorReason::NoLeader | ErrorReason::NotCaughtUp => {}
                        // A no is an answer, too.
                        ErrorReason::TenantNotFound | ErrorReason::TenantNotServing => {
                            answered += 1;
                            let flag = info.metadata.get("stale").map(String::as_str);
                            ensure!(flag == Some("true"), "{level:?}: {status} is not flagged");
                        }
                        _ => bail!("{level:?}: {status}"),
                    }
                }
            }
        }
    }
    ensure!(answered >= 3, "only {answered} answers: that shows little");

    fleet.hops().heal();
    until("an answer that is not flagged", PATIENCE, async || {
        let said = resolve(node, Level::Linearizable(Default::default())).await?;
        Ok((!said.stale && said.revision >= known.revision).then_some(()))
    })
    .await?;
    fleet.shutdown().await
}
