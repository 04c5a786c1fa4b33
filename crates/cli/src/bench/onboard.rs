//! Onboarding: tenants of the run's own come in and leave again, so many at once. How long each took, how long its steps
//! did, and how long it waited for its turn.
//!
//! Times are those of the registry's log, in milliseconds: from the order to the end, as everybody sees them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use clap::Args;
use futures::stream::{self, StreamExt};
use reeve_client::v1::operation::State;
use reeve_client::{Api, v1};
use serde::Serialize;
use tonic::{Code, Request, Status};

use super::at_least_one;
use super::tally::Tally;
use super::target::reason_of;
use super::times::{Row, note, shown};
use crate::fail::Failure;
use crate::session::Session;
use crate::show::{Page, Show, pairs};

/// One question for the end of an operation; asked again until it has ended.
const ASK: Duration = Duration::from_secs(30);
/// A registry that cannot be asked is asked again, up to this.
const PATIENCE: Duration = Duration::from_secs(600);
const PAUSE: Duration = Duration::from_millis(500);
/// An order has a request id: it is said again until it is taken, or so long.
const ORDER: Duration = Duration::from_secs(60);
/// Steps whose time is the schema's own.
const SCHEMA: [&str; 2] = ["migrate", "seed"];

/// How many, and where.
#[derive(Debug, Args)]
pub struct Plan {
    /// Home region of the tenants
    #[arg(long, value_name = "REGION")]
    region: String,
    /// Their schema channel
    #[arg(long, default_value = "ehr", value_name = "NAME")]
    channel: String,
    /// Tenants
    #[arg(long, default_value_t = 200, value_parser = at_least_one, value_name = "N")]
    tenants: usize,
    /// Of them so many at once
    #[arg(long, default_value_t = 8, value_parser = at_least_one, value_name = "N")]
    at_once: usize,
    /// Leave them there
    #[arg(long)]
    keep: bool,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Report {
    what: &'static str,
    region: String,
    channel: String,
    at_once: usize,
    kinds: Vec<Kind>,
}

/// All operations of one kind.
#[derive(Debug, Serialize)]
struct Kind {
    kind: &'static str,
    seconds: f64,
    per_second: f64,
    times: Vec<Row>,
    errors: BTreeMap<String, u64>,
}

impl Report {
    /// Why nothing came of it, if nothing did.
    pub fn worst_error(&self) -> Option<String> {
        let failed = self.kinds.iter().flat_map(|kind| &kind.errors);
        let worst = failed.max_by_key(|(_, times)| **times);
        worst.map(|(reason, times)| format!("{reason}, {times} times"))
    }
}

impl Show for Report {
    fn page(&self) -> Page {
        let mut page = pairs([
            (
                "what",
                format!("{} {} in {}", self.what, self.channel, self.region),
            ),
            ("at once", self.at_once.to_string()),
        ]);
        for kind in &self.kinds {
            let times = shown(kind.kind, &kind.times);
            let errors: Vec<String> = kind.errors.iter().map(|(why, n)| format!("{why} {n}")).collect();
            let rate = format!("{:.1} a second over {:.1} s", kind.per_second, kind.seconds);
            let foot = format!("{rate} {}", errors.join(", "));
            page = page.and(times.over(foot.trim_end()));
        }
        page
    }
}

/// Brings them in and takes them out again.
pub async fn run(plan: Plan, session: &Session) -> Result<Report, Failure> {
    let api = session.api()?;
    // Nobody else's name, and found again when this is interrupted.
    let run = reeve_client::request_id().replace('-', "");
    let run = &run[run.len().saturating_sub(8)..];
    let slugs: Vec<String> = (0..plan.tenants).map(|n| format!("bench-{run}-{n}")).collect();
    session.say(&format!("{} tenants, named bench-{run}-…", slugs.len()));
    let mut kinds = vec![all("ONBOARD", &slugs, plan.at_once, |slug| onboard(api, &plan, slug)).await];
    if !plan.keep {
        kinds.push(all("OFFBOARD", &slugs, plan.at_once, |slug| offboard(api, slug)).await);
    }
    Ok(Report {
        what: "onboard",
        region: plan.region,
        channel: plan.channel,
        at_once: plan.at_once,
        kinds,
    })
}

async fn all<'a, F>(
    kind: &'static str,
    slugs: &'a [String],
    at_once: usize,
    operate: impl Fn(&'a str) -> F,
) -> Kind
where
    F: Future<Output = Result<v1::Operation, String>>,
{
    let began = Instant::now();
    let operating = stream::iter(slugs).map(|slug| operate(slug));
    let ended: Vec<_> = operating.buffer_unordered(at_once).collect().await;
    Kind::of(kind, began.elapsed(), ended)
}

impl Kind {
    fn of(kind: &'static str, took: Duration, ended: Vec<Result<v1::Operation, String>>) -> Kind {
        let mut errors: BTreeMap<String, u64> = BTreeMap::new();
        let (mut whole, mut beside, mut waited) = (Tally::default(), Tally::default(), Tally::default());
        let mut steps: Vec<(String, Tally)> = Vec::new();
        for ended in ended {
            let operation = match ended {
                Ok(operation) => operation,
                Err(reason) => {
                    *errors.entry(reason).or_default() += 1;
                    continue;
                }
            };
            let times = Times::of(&operation);
            note(&mut whole, times.whole);
            note(&mut beside, times.whole.saturating_sub(times.schema));
            note(&mut waited, times.waited);
            for (name, took) in times.steps {
                if !steps.iter().any(|(known, _)| *known == name) {
                    steps.push((name.clone(), Tally::default()));
                }
                let tally = steps.iter_mut().find(|(known, _)| *known == name);
                tally.into_iter().for_each(|(_, tally)| note(tally, took));
            }
        }
        let mut rows = vec![
            Row::of("whole", &whole),
            Row::of("beside the schema", &beside),
            Row::of("waited for its turn", &waited),
        ];
        rows.extend(steps.iter().map(|(name, tally)| Row::of(name, tally)));
        let seconds = took.as_secs_f64();
        Kind {
            kind,
            seconds,
            per_second: whole.count() as f64 / seconds.max(f64::EPSILON),
            times: rows,
            errors,
        }
    }
}

/// What an operation's own times say.
#[derive(Debug, PartialEq, Eq)]
struct Times {
    whole: Duration,
    /// Of it the schema's own.
    schema: Duration,
    /// From the order to the first step.
    waited: Duration,
    steps: Vec<(String, Duration)>,
}

impl Times {
    fn of(operation: &v1::Operation) -> Times {
        let between = |from: &Option<prost_types::Timestamp>, to: &Option<prost_types::Timestamp>| {
            let at = |stamp: &prost_types::Timestamp| {
                Duration::new(
                    u64::try_from(stamp.seconds).ok()?,
                    u32::try_from(stamp.nanos).ok()?,
                )
                .into()
            };
            let (from, to): (Option<Duration>, Option<Duration>) =
                (from.as_ref().and_then(at), to.as_ref().and_then(at));
            to.unwrap_or_default().saturating_sub(from.unwrap_or_default())
        };
        let steps = operation.steps.iter();
        let steps: Vec<(String, Duration)> = steps
            .map(|step| (step.name.clone(), between(&step.start_time, &step.end_time)))
            .collect();
        let schema = steps.iter().filter(|(name, _)| SCHEMA.contains(&name.as_str()));
        let first = operation.steps.first().and_then(|step| step.start_time);
        Times {
            whole: between(&operation.create_time, &operation.end_time),
            schema: schema.map(|(_, took)| *took).sum(),
            waited: between(&operation.create_time, &first),
            steps,
        }
    }
}

async fn onboard(api: &Api, plan: &Plan, slug: &str) -> Result<v1::Operation, String> {
    let order = v1::CreateTenantRequest {
        request_id: reeve_client::request_id(),
        slug: slug.to_owned(),
        display_name: slug.to_owned(),
        region_policy: Some(v1::RegionPolicy {
            home: plan.region.clone(),
            allowed: vec![plan.region.clone()],
        }),
        schema: Some(v1::SchemaPolicy {
            channel: plan.channel.clone(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let answer = api.tenants().create_tenant(patiently(order)).await;
    let answer = answer.map_err(|status| reason_of(&status))?;
    ended(api, answer.into_inner().operation).await
}

async fn offboard(api: &Api, slug: &str) -> Result<v1::Operation, String> {
    let order = v1::DeleteTenantRequest {
        request_id: reeve_client::request_id(),
        tenant: slug.to_owned(),
        confirm: slug.to_owned(),
        ..Default::default()
    };
    let answer = api.tenants().delete_tenant(patiently(order)).await;
    let answer = answer.map_err(|status| reason_of(&status))?;
    ended(api, answer.into_inner().operation).await
}

fn patiently<T>(order: T) -> Request<T> {
    let mut request = Request::new(order);
    request.set_timeout(ORDER);
    request
}

/// Done, or why not.
async fn ended(api: &Api, operation: Option<v1::Operation>) -> Result<v1::Operation, String> {
    let id = operation.map(|operation| operation.id).ok_or("NO_OPERATION")?;
    let until = Instant::now() + PATIENCE;
    loop {
        let asked = v1::WaitOperationRequest {
            operation: id.clone(),
            timeout: prost_types::Duration::try_from(ASK).ok(),
        };
        let answer = match api.operations().wait_operation(asked).await {
            // It says nothing of the operation, whose times are the registry's own: to give up here would begin one more
            // than may be under way.
            Err(status) if is_passing(&status) && Instant::now() < until => {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            answer => answer.map_err(|status| reason_of(&status))?,
        };
        let operation = answer.into_inner().operation;
        let operation = operation.ok_or("NO_OPERATION")?;
        match operation.state() {
            State::Done => return Ok(operation),
            State::Undone | State::Stuck => return Err(operation.reason),
            State::Queued | State::Running | State::Undoing | State::Unspecified => {}
        }
    }
}

fn is_passing(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Option<prost_types::Timestamp> {
        Some(prost_types::Timestamp {
            seconds: 1_700_000_000 + millis / 1_000,
            nanos: (millis % 1_000) as i32 * 1_000_000,
        })
    }

    fn operation() -> v1::Operation {
        let step = |name: &str, from, to| v1::Step {
            name: name.into(),
            start_time: at(from),
            end_time: at(to),
            ..Default::default()
        };
        v1::Operation {
            create_time: at(0),
            end_time: at(1_900),
            steps: vec![
                step("create_roles", 500, 600),
                step("migrate", 600, 1_400),
                step("seed", 1_400, 1_700),
                step("probe", 1_700, 1_900),
            ],
            ..Default::default()
        }
    }

    #[test]
    fn an_operations_time_is_told_apart_from_its_schemas_and_from_its_waiting() {
        let ms = Duration::from_millis;
        let times = Times::of(&operation());
        assert_eq!(
            (times.whole, times.schema, times.waited),
            (ms(1_900), ms(1_100), ms(500))
        );
        assert_eq!(times.steps[3], ("probe".to_owned(), ms(200)));
    }

    #[test]
    fn what_failed_is_counted_by_its_reason_and_has_no_time() {
        let ended = vec![
            Ok(operation()),
            Err("NO_CAPACITY".to_owned()),
            Err("NO_CAPACITY".to_owned()),
        ];
        let kind = Kind::of("ONBOARD", Duration::from_secs(2), ended);
        assert_eq!(kind.errors["NO_CAPACITY"], 2);
        assert!((kind.per_second - 0.5).abs() < 1e-9);
        let beside = &kind.times[1];
        assert_eq!((beside.part.as_str(), beside.count), ("beside the schema", 1));
        assert!((799.0..=801.0).contains(&beside.p50_ms), "{}", beside.p50_ms);
        let report = Report {
            what: "onboard",
            region: "vn".into(),
            channel: "ehr".into(),
            at_once: 8,
            kinds: vec![kind],
        };
        assert_eq!(report.worst_error().as_deref(), Some("NO_CAPACITY, 2 times"));
        assert!(report.table().contains("NO_CAPACITY 2"), "{}", report.table());
    }
}
