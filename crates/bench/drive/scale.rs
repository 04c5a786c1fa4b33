//! Many tenants: what each takes in memory, how soon a node is back, and whether anybody waits for a snapshot.
//!
//! ```text
//! a registry of its own ─► load (API, hands) ─► lists ─► writes without and with snapshots ─► one away ─► all restarted
//! ```
//! The tenants come in by the API, each with all its steps: nothing here is made by hand.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use reeve_bench::memory;
use reeve_bench::summary::{Row, Settings, Unit};
use reeve_cli::bench::load::Load;
use reeve_cli::bench::tally::Tally;
use reeve_cli::bench::target::Target;
use reeve_cli::bench::{resolve, write};
use reeve_client::v1::read_level::Level;
use reeve_client::v1::{
    GetClusterRequest, ListTenantsRequest, ReadLevel, ResolveRequest, Role, Tenant, WaitOperationRequest,
    claim,
};
use reeve_client::{Api, v1};
use reeve_local::{Fleet, Node, hand, tenants, until};

use crate::plan::{CONNECTIONS, Plan};
use crate::registry::{self, REGION};
use crate::say;

/// Databases that one group may hold.
const GROUP_MAX: usize = 2_000;
/// Onboardings under way.
const ONBOARDING: usize = 256;
/// Requests of one principal are remembered and bounded; some room is left.
const PER_PRINCIPAL: usize = 90_000;
const PAGE: u32 = 1_000;
/// Tenants that the same is measured with before the others come.
const FEW: usize = 1_000;
/// Writes a second while snapshots are built and while none is: far below what the nodes bear.
const WRITES_PER_SECOND: u32 = 300;
const WRITING: usize = 256;
/// Entries between two snapshots of a node, while they are to be built all the time; and while none is.
const OFTEN: u64 = 1_000;
const NEVER: u64 = 1 << 40;
/// What a node does unless told otherwise.
const USUAL: u64 = 20_000;
/// More than twice what is kept behind a snapshot, and less than what calls for one.
const CHANGES: u64 = 15_000;
const PATIENCE: Duration = Duration::from_secs(300);

pub async fn run(plan: &Plan, program: &Path) -> Result<Vec<(&'static str, Row)>> {
    let count = plan.scale;
    let fleet = registry::fleet(program, "scale").await?;
    let empty = resident(&fleet)?;
    let _hands = hand::region(&fleet, REGION, count.div_ceil(GROUP_MAX) + 1).await?;

    let few = FEW.min(count);
    load(&fleet, 0, few).await?;
    let resolves_of_few = resolves(&fleet, plan, few).await?;
    let began = Instant::now();
    load(&fleet, few, count).await?;
    say(&format!(
        "{count} tenants in {:.0} s",
        began.elapsed().as_secs_f64()
    ));
    let loaded = resident(&fleet)?;
    let resolves_of_all = resolves(&fleet, plan, count).await?;
    let listed = list(&fleet, count).await?;
    let stall = stall(&fleet, plan, &listed.first).await?;
    let catch_up = catch_up(&fleet, &listed.first).await?;
    let start = cold_start(&fleet, &listed.first, count).await?;
    let restarted = resident(&fleet)?;
    fleet.shutdown().await?;

    let per_tenant = |after: f64| (after - empty) / count as f64;
    let settings = Settings {
        tenants: count,
        note: Some(format!(
            "loaded through the API; {} KiB a node when empty; 99.9 % of writes within {:.1} ms without snapshots and {:.1} ms with; first page {:.1} ms, last {:.1} ms",
            empty as u64 / 1_024,
            stall.without.quantile_ms(0.999),
            stall.with.quantile_ms(0.999),
            listed.first_page.as_secs_f64() * 1e3,
            listed.last_page.as_secs_f64() * 1e3,
        )),
        ..plan.settings()
    };
    let row = |value: f64, unit| Row::alone(value, unit, settings.clone());
    let failed = |tally: &Tally| tally.errors().values().sum::<u64>();
    let stalled = Settings {
        failed: [failed(&stall.with), failed(&stall.without)],
        in_flight: Some(WRITING),
        ..settings.clone()
    };
    let more = (stall.with.max_ms() - stall.without.max_ms()).max(0.0);
    let beside = |ours: f64, peer: f64, unit| {
        anyhow::Ok(Row::paired(
            reeve_bench::pairing::Pairing::of(&[ours], &[peer])?,
            unit,
            settings.clone(),
        ))
    };
    Ok(vec![
        (
            "tenants_100k_bytes_per_tenant",
            row(per_tenant(loaded), Unit::Bytes),
        ),
        (
            "tenants_100k_restarted_bytes_per_tenant",
            row(per_tenant(restarted), Unit::Bytes),
        ),
        (
            "tenants_100k_cold_start_s",
            row(start.as_secs_f64(), Unit::Seconds),
        ),
        ("tenants_100k_snapshot_s", row(stall.snapshot_s, Unit::Seconds)),
        (
            "tenants_100k_snapshot_write_stall_max_ms",
            Row::alone(more, Unit::Milliseconds, stalled),
        ),
        (
            "tenants_100k_list_all_s",
            row(listed.all.as_secs_f64(), Unit::Seconds),
        ),
        (
            "tenants_100k_catch_up_s",
            row(catch_up.as_secs_f64(), Unit::Seconds),
        ),
        (
            "tenants_100k_resolve_vs_1k",
            beside(resolves_of_all, resolves_of_few, Unit::PerSecond)?,
        ),
    ])
}

/// What the largest node holds in memory, in bytes.
fn resident(fleet: &Fleet) -> Result<f64> {
    let pids = fleet.nodes().iter().filter_map(|node| node.pid());
    let all: Vec<u64> = pids.map(memory::resident).collect::<Result<_>>()?;
    all.into_iter()
        .max()
        .map(|most| most as f64)
        .context("no node runs")
}

fn domain(number: usize) -> String {
    format!("clinic-{number}.example")
}

/// Brings the tenants of these numbers in, each to its end.
async fn load(fleet: &Fleet, from: usize, to: usize) -> Result<()> {
    for begin in (from..to).step_by(PER_PRINCIPAL) {
        let loader = fleet
            .enroll(Role::Operator, &format!("loader-{begin}"), &[])
            .await?;
        let api = Api::connect(&fleet.addresses(), &loader)?;
        let onboard = |number| onboard(&api, number);
        stream::iter((begin..to.min(begin + PER_PRINCIPAL)).map(onboard))
            .buffer_unordered(ONBOARDING)
            .try_collect::<()>()
            .await?;
    }
    Ok(())
}

async fn onboard(api: &Api, number: usize) -> Result<()> {
    let order = tenants::order(&format!("clinic-{number}"), &domain(number), REGION, "ehr");
    let mut operation = tenants::create(api, order).await?;
    until("an onboarding to end", PATIENCE, async || {
        let asked = WaitOperationRequest {
            operation: operation.id.clone(),
            timeout: None,
        };
        operation = api
            .operations()
            .wait_operation(asked)
            .await?
            .into_inner()
            .operation
            .context("no operation")?;
        Ok(tenants::has_ended(&operation).then_some(()))
    })
    .await
}

/// Resolves a second, over all of so many tenants.
async fn resolves(fleet: &Fleet, plan: &Plan, count: usize) -> Result<f64> {
    let claims = (0..count).map(|number| v1::Claim {
        kind: claim::Kind::Domain.into(),
        key: domain(number),
    });
    let target = Target::new(fleet.addresses(), fleet.admin().clone())?;
    let channels = target.channels(CONNECTIONS)?;
    let tally = resolve::measure(
        &channels,
        claims.collect(),
        resolve::Level::Bounded,
        &plan.reading(),
    )
    .await;
    ensure!(tally.count() > 0, "no resolve succeeded: {:?}", tally.errors());
    Ok(tally.per_second())
}

struct Listed {
    first: Vec<Tenant>,
    first_page: Duration,
    last_page: Duration,
    all: Duration,
}

async fn list(fleet: &Fleet, count: usize) -> Result<Listed> {
    let began = Instant::now();
    let (mut pages, mut seen, mut first, mut page_token) = (Vec::new(), 0, Vec::new(), String::new());
    loop {
        let asked = ListTenantsRequest {
            page_size: PAGE,
            page_token,
            ..Default::default()
        };
        let page_began = Instant::now();
        let page = fleet.api().tenants().list_tenants(asked).await?.into_inner();
        pages.push(page_began.elapsed());
        seen += page.tenants.len();
        if first.is_empty() {
            first = page.tenants;
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    ensure!(seen == count, "{seen} of {count} tenants are listed");
    Ok(Listed {
        first,
        first_page: pages.first().copied().unwrap_or_default(),
        last_page: pages.last().copied().unwrap_or_default(),
        all: began.elapsed(),
    })
}

struct Stall {
    without: Tally,
    with: Tally,
    /// The mean of those that were written meanwhile.
    snapshot_s: f64,
}

/// The same writes by the clock, first while no snapshot is built, then while every node builds one after the other.
async fn stall(fleet: &Fleet, plan: &Plan, tenants: &[Tenant]) -> Result<Stall> {
    restart_all(fleet, NEVER).await?;
    let without = writes(fleet, plan, "calm", tenants).await?;
    restart_all(fleet, OFTEN).await?;
    let before = snapshots(fleet).await?;
    let with = writes(fleet, plan, "busy", tenants).await?;
    let after = snapshots(fleet).await?;
    let made = after.1 - before.1;
    ensure!(
        made >= fleet.nodes().len() as f64,
        "only {made} snapshots were written meanwhile"
    );
    say(&format!(
        "{made} snapshots; longest write {:.1} ms without and {:.1} ms with",
        without.max_ms(),
        with.max_ms()
    ));
    Ok(Stall {
        without,
        with,
        snapshot_s: (after.0 - before.0) / made,
    })
}

async fn writes(fleet: &Fleet, plan: &Plan, who: &str, tenants: &[Tenant]) -> Result<Tally> {
    let writer = fleet.enroll(Role::Operator, who, &[]).await?;
    let channels = Target::new(fleet.addresses(), writer)?.channels(CONNECTIONS)?;
    let load = Load {
        in_flight: WRITING,
        rate: std::num::NonZeroU32::new(WRITES_PER_SECOND),
        ..plan.scale_writing()
    };
    let tally = write::measure(&channels, write::changes(tenants.to_vec()), &load).await;
    ensure!(tally.count() > 0, "no write succeeded: {:?}", tally.errors());
    Ok(tally)
}

/// Seconds spent on snapshots that were written, and their number, over all nodes.
async fn snapshots(fleet: &Fleet) -> Result<(f64, f64)> {
    let mut sum = (0.0, 0.0);
    for node in fleet.nodes() {
        let page = memory::http_get(node.http(), "/metrics").await?;
        let of = |name: &str| {
            memory::metric(
                &page,
                &format!("reeve_raft_snapshot_duration_seconds_{name}"),
                "write",
            )
        };
        sum = (sum.0 + of("sum"), sum.1 + of("count"));
    }
    Ok(sum)
}

/// How long until a follower that was away has caught up by a snapshot: the log it lacks is gone.
async fn catch_up(fleet: &Fleet, tenants: &[Tenant]) -> Result<Duration> {
    let leader = fleet.leader().await?.id();
    let away = fleet
        .nodes()
        .iter()
        .find(|node| node.id() != leader)
        .context("one node only")?;
    away.stop().await?;
    change(
        fleet,
        "meanwhile",
        tenants,
        vec![fleet.node(leader)?.address().to_owned()],
    )
    .await?;
    let began = Instant::now();
    away.start()?;
    let revision = revision(fleet.node(leader)?, Level::Linearizable(Default::default())).await?;
    wait_for(away, revision).await?;
    Ok(began.elapsed())
}

/// Changes until the log is long.
async fn change(fleet: &Fleet, who: &str, tenants: &[Tenant], doors: Vec<String>) -> Result<()> {
    let writer = fleet.enroll(Role::Operator, who, &[]).await?;
    let channels = Target::new(doors, writer)?.channels(CONNECTIONS)?;
    let load = Load {
        in_flight: WRITING,
        warm_up: Duration::ZERO,
        measured: PATIENCE,
        rate: None,
        calls_max: Some(CHANGES),
    };
    let tally = write::measure(&channels, write::changes(tenants.to_vec()), &load).await;
    ensure!(
        tally.count() == CHANGES,
        "{} of {CHANGES} changes: {:?}",
        tally.count(),
        tally.errors()
    );
    Ok(())
}

/// From starting all nodes to a linearizable answer of each, ready by its own word; behind a snapshot lies a log as
/// long as the product's own settings let it grow.
async fn cold_start(fleet: &Fleet, tenants: &[Tenant], count: usize) -> Result<Duration> {
    restart_all(fleet, USUAL).await?;
    change(fleet, "before", tenants, fleet.addresses()).await?;
    for node in fleet.nodes() {
        node.stop().await?;
    }
    let began = Instant::now();
    for node in fleet.nodes() {
        node.start()?;
    }
    let level = ReadLevel {
        level: Some(Level::Linearizable(Default::default())),
    };
    for node in fleet.nodes() {
        until("a restarted node to answer", PATIENCE, async || {
            let asked = ResolveRequest {
                claim: Some(v1::Claim {
                    kind: claim::Kind::Domain.into(),
                    key: domain(count - 1),
                }),
                read: Some(level),
                ..Default::default()
            };
            node.api().resolver().resolve(asked).await?;
            ensure!(
                memory::http_get(node.http(), "/readyz")
                    .await?
                    .starts_with("HTTP/1.1 200"),
                "not ready"
            );
            Ok(Some(()))
        })
        .await?;
    }
    Ok(began.elapsed())
}

/// Starts one node after the other anew with another number of entries between snapshots.
async fn restart_all(fleet: &Fleet, snapshot_entries: u64) -> Result<()> {
    for node in fleet.nodes() {
        node.stop().await?;
        set_snapshots(
            &fleet.dir().join(format!("n{}/registry.toml", node.id())),
            snapshot_entries,
        )?;
        node.start()?;
        fleet.wait_whole().await?;
    }
    Ok(())
}

fn set_snapshots(file: &Path, entries: u64) -> Result<()> {
    let mut settings: toml::Table = toml::from_str(&std::fs::read_to_string(file)?)?;
    let raft = settings
        .entry("raft")
        .or_insert_with(|| toml::Table::new().into());
    let raft = raft.as_table_mut().context("raft is no table")?;
    raft.insert("snapshot_entries".into(), i64::try_from(entries)?.into());
    Ok(std::fs::write(file, toml::to_string(&settings)?)?)
}

async fn revision(node: &Node, level: Level) -> Result<u64> {
    let asked = GetClusterRequest {
        read: Some(ReadLevel { level: Some(level) }),
        ..Default::default()
    };
    let cluster = node.api().cluster().get_cluster(asked).await?.into_inner();
    Ok(cluster.freshness.unwrap_or_default().revision)
}

async fn wait_for(node: &Node, wanted: u64) -> Result<()> {
    until("a node to catch up", PATIENCE, async || {
        let has = revision(node, Level::Stale(Default::default())).await?;
        Ok((has >= wanted).then_some(()))
    })
    .await
}
