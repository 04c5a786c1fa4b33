//! The page, its list in docs/metrics.md, the alerts upon it and their runbooks say the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reeve_domain::Revision;
use reeve_domain::alert::Kind;

use super::{BackupTrouble, Metrics, disk};
use crate::consensus::{Committed, Unavailable, Work};

#[test]
fn every_metric_is_listed_as_it_is() {
    let page = page();
    let rows: BTreeSet<String> = families(&page).iter().map(|(name, f)| f.row(name)).collect();
    let listed = read("docs/metrics.md");
    // What follows is the agent's and the client's, which have tests of their own.
    let (own, _) = listed
        .split_once("\n## An agent\n")
        .expect("both programs are on the page");
    let listed: BTreeSet<String> = own
        .lines()
        .filter(|line| line.starts_with("| `reeve_"))
        .map(str::to_owned)
        .collect();
    let missing: Vec<_> = rows.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&rows).collect();
    assert!(
        missing.is_empty() && gone.is_empty(),
        "docs/metrics.md lacks {missing:#?}\nand lists {gone:#?}, which no node shows"
    );
}

#[test]
fn every_alert_asks_for_metrics_that_exist() {
    for (path, exported) in [(OF_NODES, exported()), (OF_AGENTS, agents())] {
        let asked = words(&read(path), "reeve_");
        let unknown: Vec<_> = asked.iter().filter(|name| !exported.contains(*name)).collect();
        assert!(
            unknown.is_empty(),
            "{path} asks for {unknown:?}, which nobody shows"
        );
        assert!(asked.len() > 6, "only {asked:?} are seen");
    }
}

#[test]
fn every_alert_has_a_runbook_and_every_runbook_an_alert() {
    let rules = rules();
    let ruled = after(&rules, "- alert: ");
    // Prometheus' and the registry's own; some things both look at.
    let own = Kind::ALL.iter().map(|kind| kind.name().to_owned());
    let alerts: BTreeSet<String> = ruled.iter().cloned().chain(own).collect();
    for alert in &alerts {
        let page = read(&format!("docs/runbooks/{alert}.md"));
        assert!(
            page.starts_with(&format!("# {alert}\n")),
            "docs/runbooks/{alert}.md"
        );
        for part in ["## What it means", "## Look", "## Do", "## Over when"] {
            assert!(page.contains(part), "docs/runbooks/{alert}.md lacks {part:?}");
        }
    }
    let urls: BTreeSet<String> = after(&rules, "runbook_url: ");
    let wanted = ruled.iter().map(|alert| format!("docs/runbooks/{alert}.md"));
    assert_eq!(urls, wanted.collect());

    let pages: BTreeSet<String> = names("docs/runbooks", ".md")
        .filter(|name| name != "README")
        .collect();
    assert_eq!(pages, alerts, "pages and alerts");
    let index = read("docs/runbooks/README.md");
    let unlisted: Vec<_> = alerts
        .iter()
        .filter(|alert| !index.contains(&format!("[{alert}]({alert}.md)")))
        .collect();
    assert!(unlisted.is_empty(), "docs/runbooks/README.md lacks {unlisted:?}");
}

#[test]
fn runbooks_name_metrics_and_verbs_that_exist() {
    let exported: BTreeSet<String> = exported().into_iter().chain(agents()).collect();
    let verbs = read("docs/cli.md");
    for name in names("docs/runbooks", ".md") {
        let page = read(&format!("docs/runbooks/{name}.md"));
        for metric in words(&page, "reeve_") {
            assert!(
                exported.contains(&metric),
                "docs/runbooks/{name}.md names {metric}"
            );
        }
        for command in page.lines().filter_map(|line| line.strip_prefix("reeve ")) {
            let mut words = command.split_whitespace();
            let (noun, verb) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            // `resolve` is a verb without a noun.
            let known = [format!("`{noun} {verb}"), format!("`{noun} TARGET")];
            assert!(
                known.iter().any(|known| verbs.contains(known)),
                "docs/runbooks/{name}.md says reeve {command}"
            );
        }
    }
}

#[test]
fn every_alert_is_seen_firing_and_silent() {
    let alerts = after(&rules(), "- alert: ");
    let (mut fires, mut silent) = (BTreeSet::new(), BTreeSet::new());
    for name in names("deploy/prometheus/tests", ".yml") {
        let text = read(&format!("deploy/prometheus/tests/{name}.yml"));
        for case in text.split("alertname: ").skip(1) {
            let alert = case.lines().next().unwrap_or_default().trim().to_owned();
            match case.contains("exp_alerts: []") {
                true => silent.insert(alert),
                false => fires.insert(alert),
            };
        }
    }
    assert_eq!(fires, alerts, "alerts that a test makes fire");
    assert_eq!(silent, alerts, "alerts that a test sees silent");
}

const OF_NODES: &str = "deploy/prometheus/reeve-registry.rules.yml";
const OF_AGENTS: &str = "deploy/prometheus/reeve-agent.rules.yml";

fn rules() -> String {
    [OF_NODES, OF_AGENTS].map(read).concat()
}

/// What agents show: the list says so, and a test of theirs holds it to that.
fn agents() -> BTreeSet<String> {
    let listed = read("docs/metrics.md");
    let (_, listed) = listed
        .split_once("\n## An agent\n")
        .expect("both programs are on the page");
    let (listed, _) = listed.split_once("\n## A service\n").unwrap_or((listed, ""));
    words(listed, "reeve_")
}

/// A page with at least one value of each metric.
fn page() -> String {
    let metrics = Metrics::new(3, "hospital");
    let one = |name, value: &str| [([(name, value.to_owned())], 1)].into();
    let two = |a, b| [([(a, "x".to_owned()), (b, "y".to_owned())], 1)].into();
    metrics.call("reeve.v1.TenantService/GetTenant", "OK", Duration::from_millis(2));
    let decided = Committed {
        revision: Revision(1),
        outcome: Ok(reeve_domain::Answer::Done),
    };
    metrics.proposed(&Ok(decided), Duration::from_millis(9));
    metrics.proposed(&Err(Unavailable::NoLeader), Duration::from_secs(10));
    for work in [Work::LogFlush, Work::SnapshotWrite, Work::SnapshotInstall] {
        metrics.worked(work, Duration::from_millis(3));
    }
    metrics.resynced("lagged");
    metrics.raft_peer_lag_entries.show(one("peer", "2"));
    metrics.raft_clock_offset_seconds.show(one("peer", "2"));
    metrics.data_damage_last.show(one("part", "log"));
    metrics.tenants.show(two("state", "region"));
    metrics.agents.show(two("state", "region"));
    let finding = [("rule", "F1"), ("severity", "critical"), ("region", "vn")];
    let finding = finding.map(|(name, value)| (name, value.to_owned()));
    metrics.isolation_findings.show([(finding, 1)].into());
    metrics.agent_last_audit.show(one("agent", "vn-1"));
    metrics.agent_last_heartbeat.show(one("agent", "vn-1"));
    metrics.operations.show(two("kind", "state"));
    metrics.alerts.show(two("severity", "acknowledged"));
    metrics.alert_delivery("ok");
    metrics
        .operation_oldest_running_seconds
        .show(one("kind", "onboard"));
    metrics.certificate_not_after.show(one("role", "node"));
    metrics.backup(Some(BackupTrouble {
        reason: "no_bucket",
        what: "there is no such bucket".to_owned(),
        fix: "make it",
    }));
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("snapshots")).unwrap();
    fs::write(folder.path().join("snapshots/snapshot-1"), [7; 12]).unwrap();
    disk::look(&metrics, folder.path()).unwrap();
    metrics.page().unwrap()
}

#[test]
fn the_page_names_what_was_counted() {
    let page = page();
    for line in [
        "reeve_build_info{version=\"",
        "reeve_raft_has_leader 0",
        "reeve_raft_proposals_total{result=\"no_leader\"} 1",
        // What timed out is counted, and not measured.
        "reeve_raft_proposal_duration_seconds_count 1",
        "reeve_raft_log_fsync_duration_seconds_count 1",
        "reeve_raft_snapshot_duration_seconds_count{op=\"install\"} 1",
        "reeve_store_bytes{part=\"snapshots\"} 12",
        "reeve_store_bytes{part=\"archive\"} 0",
        "reeve_audit_chain_ok 1",
        "reeve_rpc_server_call_duration_seconds_count{rpc_method=\"reeve.v1.TenantService/GetTenant\",rpc_response_status_code=\"OK\"} 1",
    ] {
        assert!(page.contains(line), "{line} is missing in\n{page}");
    }
    assert!(
        !page.contains("reeve_raft_last_snapshot_timestamp_seconds 0\n"),
        "{page}"
    );
    assert!(!page.contains("reeve_data_disk_total_bytes 0\n"), "{page}");
}

/// One metric as the page shows it.
#[derive(Default)]
struct Family {
    kind: String,
    help: String,
    labels: BTreeSet<String>,
}

impl Family {
    /// Its line in docs/metrics.md.
    fn row(&self, name: &str) -> String {
        let labels: Vec<_> = self.labels.iter().map(|label| format!("`{label}`")).collect();
        let name = match self.kind.as_str() {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name.to_owned(),
        };
        format!(
            "| `{name}` | {} | {} | {} | {} |",
            self.kind,
            labels.join(" "),
            unit(&name),
            self.help
        )
    }
}

fn unit(name: &str) -> &'static str {
    let ends = |end: &str| name.ends_with(end);
    match () {
        () if ends("_timestamp_seconds") => "seconds since 1970",
        () if ends("_seconds") => "seconds",
        () if ends("_bytes") => "bytes",
        () if ends("_entries") => "entries",
        () => "",
    }
}

fn families(page: &str) -> BTreeMap<String, Family> {
    let mut found: BTreeMap<String, Family> = BTreeMap::new();
    let mut last = String::new();
    for line in page.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            last = name.to_owned();
            found.entry(last.clone()).or_default().help = help.trim_end_matches('.').to_owned();
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            found.entry(name.to_owned()).or_default().kind = kind.to_owned();
        } else if let Some((_, labels)) = line.split_once('{') {
            let names = labels.split("\",").filter_map(|label| label.split_once("=\""));
            let names = names.map(|(name, _)| name.to_owned()).filter(|name| name != "le");
            found.entry(last.clone()).or_default().labels.extend(names);
        }
    }
    found
}

/// The names that a query can ask for.
fn exported() -> BTreeSet<String> {
    let named = |(name, family): (String, Family)| match family.kind.as_str() {
        "histogram" => vec![
            format!("{name}_bucket"),
            format!("{name}_sum"),
            format!("{name}_count"),
            name,
        ],
        "counter" => vec![format!("{name}_total")],
        "info" => vec![format!("{name}_info")],
        _ => vec![name],
    };
    families(&page()).into_iter().flat_map(named).collect()
}

/// Every word that begins like this.
fn words(text: &str, begin: &str) -> BTreeSet<String> {
    let all = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    all.filter(|word| word.starts_with(begin))
        .map(str::to_owned)
        .collect()
}

/// What stands behind this, to the end of its line.
fn after(text: &str, begin: &str) -> BTreeSet<String> {
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix(begin));
    lines.map(|rest| rest.trim().to_owned()).collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The files of a folder that end like this, without their ends.
fn names(folder: &str, end: &'static str) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(root().join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}"));
    entries.filter_map(move |entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        name.strip_suffix(end).map(str::to_owned)
    })
}
