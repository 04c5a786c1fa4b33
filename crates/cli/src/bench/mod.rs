//! `reeve bench`: calls kept up for a while, and how long the answers took.
//!
//! ```text
//! Options ─► Target (connections to every node, known tenants) ─► load::drive ─► Tally ─► Report
//!                     watch: changes in, time until each watcher hears ──────────┘
//! ```
//! Deliberately absent: any other way in. It calls as every client does, with a certificate, counted and permitted.

pub mod connect;
pub mod empty;
pub mod load;
pub mod onboard;
pub mod resolve;
pub mod tally;
pub mod target;
mod times;
pub mod watch;
pub mod write;

use std::num::NonZeroU32;
use std::time::Duration;

use clap::{Args, Subcommand};

use self::load::Load;
use self::tally::{Report, Settings};
use self::target::Target;
use crate::fail::{Exit, Failure};
use crate::session::{Session, duration};

/// Calls that one connection carries well; HTTP/2 servers allow 200 at a time.
const PER_CONNECTION: usize = 100;
/// Changes of one run unless told otherwise: each is in the audit log for ever, and its id is remembered for a day.
const CHANGES_MAX: u64 = 20_000;

/// Measure what the registry bears
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  reeve bench resolve --in-flight 256 --seconds 20\n  reeve bench resolve --level linearizable --rate 5000\n  reeve bench write --in-flight 64 -o json\n  reeve bench watch --watchers 1000"
)]
#[group(skip)]
pub struct Bench {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Look tenants up, one domain after the other
    #[command(
        after_help = "Examples:\n  reeve bench resolve --in-flight 256 --seconds 20\n  reeve bench resolve --level linearizable --rate 5000 -o json"
    )]
    Resolve {
        /// How fresh each answer must be
        #[arg(long, value_enum, default_value_t, value_name = "LEVEL")]
        level: resolve::Level,
        #[command(flatten)]
        options: Options,
    },
    /// Change tenants: each gets the display name that it has, as a whole audited command
    #[command(
        after_help = "Examples:\n  reeve bench write --in-flight 64 --seconds 10\n  reeve bench write --rate 500 --changes-max 5000 -o json\n\nEach change stays in the audit log, and its id is remembered for a day: 100 000 fit for one person."
    )]
    Write {
        /// Changes at most, those of the warm-up too
        #[arg(long, default_value_t = CHANGES_MAX, value_name = "N")]
        changes_max: u64,
        #[command(flatten)]
        options: Options,
    },
    /// Change tenants, and see how long it takes until every watcher has heard
    #[command(
        after_help = "Examples:\n  reeve bench watch --watchers 1000 --seconds 20\n  reeve bench watch --rate 20 -o json"
    )]
    Watch {
        /// Streams that are open
        #[arg(long, default_value_t = 100, value_parser = at_least_one, value_name = "N")]
        watchers: usize,
        /// Changes a second
        #[arg(long, default_value = "5", value_name = "N")]
        rate: NonZeroU32,
        #[command(flatten)]
        span: Span,
    },
    /// Bring tenants of its own in and out again, with everything that it takes
    #[command(
        after_help = "Examples:\n  reeve bench onboard --region vn\n  reeve bench onboard --region vn --tenants 200 --at-once 1 -o json\n\nReal databases on the region's servers. The tenants are named bench-…; what an interrupted run leaves is deleted with `reeve tenant delete`."
    )]
    Onboard(onboard::Plan),
    /// Come into tenants' databases through the client, and go from one to the next
    #[command(
        after_help = "Examples:\n  reeve bench connect cho-ray.example bach-mai.example --cert svc.crt --key svc.key --ca root.crt\n  reeve bench connect cho-ray --rounds 1000 -o json\n\nPasswords are for services: enrol one with `reeve cluster join-token --role service` and `reeve cluster enroll`. Each password that is asked for is in its tenant's audit log."
    )]
    Connect(connect::Plan),
    /// Call what does nothing; a node serves it when its configuration says `bench.empty = true`
    #[command(after_help = "Examples:\n  reeve bench empty --in-flight 256 --seconds 20")]
    Empty {
        #[command(flatten)]
        options: Options,
    },
}

/// How much is asked.
#[derive(Debug, Args)]
struct Options {
    /// Calls under way at any time; with --rate at most
    #[arg(long, default_value_t = 64, value_parser = at_least_one, value_name = "N")]
    in_flight: usize,
    /// Calls a second by the clock; each is timed from when it should have begun
    #[arg(long, value_name = "N")]
    rate: Option<NonZeroU32>,
    #[command(flatten)]
    span: Span,
}

/// How long, and over how many connections.
#[derive(Debug, Args)]
struct Span {
    /// Connections, dealt out over the nodes; unless told one to each, and more when there is much to carry
    #[arg(long, value_parser = at_least_one, value_name = "N")]
    connections: Option<usize>,
    /// Seconds that are measured
    #[arg(long, default_value_t = 10, value_name = "N")]
    seconds: u64,
    /// Time before that which does not count
    #[arg(long, default_value = "2s", value_parser = duration, value_name = "TIME")]
    warm_up: Duration,
}

impl Span {
    /// As many as were asked for, or as it takes.
    fn connections(&self, nodes: usize, carried: usize) -> usize {
        self.connections
            .unwrap_or_else(|| nodes.max(carried.div_ceil(PER_CONNECTION)))
    }
}

impl Options {
    fn load(&self, calls_max: Option<u64>) -> Load {
        Load {
            in_flight: self.in_flight,
            warm_up: self.span.warm_up,
            measured: Duration::from_secs(self.span.seconds),
            rate: self.rate,
            calls_max,
        }
    }

    fn settings(&self, what: &'static str, target: &Target, connections: usize) -> Settings {
        Settings {
            in_flight: Some(self.in_flight),
            rate: self.rate.map(NonZeroU32::get),
            ..self.span.settings(what, target, connections)
        }
    }
}

impl Span {
    fn settings(&self, what: &'static str, target: &Target, connections: usize) -> Settings {
        Settings {
            what,
            nodes: target.nodes().len(),
            connections,
            seconds: self.seconds,
            ..Settings::default()
        }
    }
}

pub async fn run(bench: Bench, session: &Session) -> Result<(), Failure> {
    let target = || {
        let (nodes, credentials) = session.doors()?;
        Ok::<Target, Failure>(Target::new(nodes, credentials)?)
    };
    let report = match bench.verb {
        Verb::Onboard(plan) => return told_onboarding(&onboard::run(plan, session).await?, session),
        Verb::Connect(plan) => return session.print(&connect::run(plan, session).await?),
        Verb::Resolve { level, options } => resolve(&target()?, &options, level).await?,
        Verb::Write { changes_max, options } => write(&target()?, &options, changes_max).await?,
        Verb::Watch { watchers, rate, span } => watch(&target()?, &span, watchers, rate).await?,
        Verb::Empty { options } => empty(&target()?, &options).await?,
    };
    session.print(&report)?;
    match report.worst_error() {
        Some(reason) if report.count == 0 => Err(Failure::error("no call succeeded", reason)),
        _ => Ok(()),
    }
}

fn told_onboarding(report: &onboard::Report, session: &Session) -> Result<(), Failure> {
    session.print(report)?;
    match report.worst_error() {
        Some(reason) => Err(Failure::error("not every tenant came and went", reason)),
        None => Ok(()),
    }
}

async fn resolve(target: &Target, options: &Options, level: resolve::Level) -> Result<Report, Failure> {
    let claims = resolve::claims(&some(target.tenants().await?)?);
    let connections = options.span.connections(target.nodes().len(), options.in_flight);
    let channels = target.channels(connections)?;
    let settings = Settings {
        level: Some(level.word()),
        ..options.settings("resolve", target, connections)
    };
    let tally = resolve::measure(&channels, claims, level, &options.load(None)).await;
    Ok(Report::of(settings, &tally))
}

async fn write(target: &Target, options: &Options, changes_max: u64) -> Result<Report, Failure> {
    let changes = write::changes(some(target.tenants().await?)?);
    let connections = options.span.connections(target.nodes().len(), options.in_flight);
    let channels = target.channels(connections)?;
    let settings = options.settings("write", target, connections);
    let tally = write::measure(&channels, changes, &options.load(Some(changes_max))).await;
    Ok(Report::of(settings, &tally))
}

async fn watch(target: &Target, span: &Span, watchers: usize, rate: NonZeroU32) -> Result<Report, Failure> {
    let tenants = some(target.tenants().await?)?;
    let connections = span.connections(target.nodes().len(), watchers);
    let channels = target.channels(connections)?;
    let settings = Settings {
        watchers: Some(watchers),
        rate: Some(rate.get()),
        ..span.settings("watch", target, connections)
    };
    let plan = watch::Plan {
        watchers,
        rate,
        warm_up: span.warm_up,
        measured: Duration::from_secs(span.seconds),
    };
    let watched = watch::measure(&channels, tenants, &plan).await?;
    Ok(Report {
        from_call_p99_ms: Some(watched.from_call.quantile_ms(0.99)),
        ..Report::of(settings, &watched.heard)
    })
}

async fn empty(target: &Target, options: &Options) -> Result<Report, Failure> {
    let connections = options.span.connections(target.nodes().len(), options.in_flight);
    let channels = target.channels(connections)?;
    let settings = options.settings("empty", target, connections);
    let tally = empty::measure(&channels, &options.load(None)).await;
    Ok(Report::of(settings, &tally))
}

/// Without a tenant there is nothing to ask for.
fn some<T>(tenants: Vec<T>) -> Result<Vec<T>, Failure> {
    if tenants.is_empty() {
        let why = "no active tenant is on the roll, or none that you may see";
        return Err(Failure::new(Exit::NotFound, "there is nobody to ask for", why)
            .fix("onboard one with `reeve tenant create`"));
    }
    Ok(tenants)
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err(format!("{text:?} is not a number from 1 on")),
        Ok(number) => Ok(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_gets_a_connection_and_none_carries_too_much() {
        let span = |connections| Span {
            connections,
            seconds: 1,
            warm_up: Duration::ZERO,
        };
        assert_eq!(span(None).connections(3, 64), 3);
        assert_eq!(span(None).connections(3, 1_000), 10);
        assert_eq!(span(Some(1)).connections(3, 1_000), 1, "as asked");
        assert!(at_least_one("0").is_err() && at_least_one("x").is_err());
    }
}
