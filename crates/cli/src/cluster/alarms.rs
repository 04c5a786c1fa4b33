//! What is wrong with a cluster, from what its nodes said: each thing in one sentence, and what to do about it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use prost_types::Timestamp;
use reeve_client::v1;
use serde::Serialize;

use super::look::{Picture, votes};
use crate::show::{ago_ms, bytes};

/// A follower that lacks more is not just a moment behind.
const LAG_MAX: u64 = 1_000;
/// The leader hears a follower several times a second.
const SILENT_MAX_MS: u64 = 10_000;
/// Beyond it etcd's own advice and ours is another disk.
const FSYNC_MAX_MS: u64 = 10;
pub const CLOCK_SKEW_MAX: Duration = Duration::from_secs(5);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Chains are read twice a day.
const AUDIT_AGE_MAX: Duration = Duration::from_secs(25 * 3600);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Good to know; only a check says it.
    Note,
    Warning,
    Failure,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Alarm {
    pub level: Level,
    /// A stable word.
    pub kind: &'static str,
    /// 0 for the cluster as a whole.
    pub node_id: u64,
    pub what: String,
    pub fix: String,
}

/// All of them, the worst first.
pub fn alarms(picture: &Picture) -> Vec<Alarm> {
    let mut found = Found(Vec::new());
    found.group(picture);
    found.alike(picture);
    for node in &picture.best.nodes {
        found.node(picture, node);
    }
    found
        .0
        .sort_by_key(|alarm| (std::cmp::Reverse(alarm.level), alarm.node_id));
    found.0
}

/// Voters that answer and whose disks have room.
pub fn healthy(picture: &Picture) -> usize {
    let is_well = |node: &&v1::Node| picture.vitals(node.id).is_some_and(|vitals| !vitals.disk_full);
    picture.voters().filter(is_well).count()
}

struct Found(Vec<Alarm>);

impl Found {
    fn add(&mut self, level: Level, kind: &'static str, node_id: u64, what: String, fix: &str) {
        let what = match node_id {
            0 => what,
            id => format!("node {id} {what}"),
        };
        self.0.push(Alarm {
            level,
            kind,
            node_id,
            what,
            fix: fix.to_owned(),
        });
    }

    /// Who decides, and how many may be lost.
    fn group(&mut self, picture: &Picture) {
        let (voters, well) = (picture.voters().count(), healthy(picture));
        let quorum = voters / 2 + 1;
        if picture.leader().is_none() {
            let what = "nobody leads: nothing can be written".to_owned();
            let fix = "start the nodes that are down; when they are lost for good, see docs/operations.md, \"Lose everything\"";
            self.add(Level::Failure, "no_leader", 0, what, fix);
        }
        if well < quorum {
            let what = format!("{well} of {voters} voters are well, and {quorum} are needed");
            self.add(
                Level::Failure,
                "quorum_lost",
                0,
                what,
                "bring the others back, or give their disks room",
            );
        } else if well == quorum && voters > 2 {
            let what = format!("{well} of {voters} voters are well: one more, and nothing can be written");
            self.add(
                Level::Warning,
                "quorum_at_edge",
                0,
                what,
                "bring the others back, or replace them",
            );
        } else if voters < 3 {
            let what = format!("{voters} voters bear no loss");
            self.add(
                Level::Note,
                "quorum_at_edge",
                0,
                what,
                "add nodes with `reeve cluster add-node`",
            );
        }
        if voters > 2 && voters.is_multiple_of(2) {
            let what = format!("{voters} voters bear no more than {} do", voters - 1);
            self.add(Level::Note, "even_voters", 0, what, "add one, or remove one");
        }
        self.backup(picture);
    }

    fn backup(&mut self, picture: &Picture) {
        let vitals = || {
            picture
                .answers
                .values()
                .flatten()
                .filter_map(|said| said.vitals.as_ref())
        };
        let Some(every) = vitals()
            .filter_map(|vitals| vitals.backup_every)
            .map(ago_ms)
            .max()
        else {
            let fix = "schedule them with [backup], see docs/operations.md";
            self.add(
                Level::Note,
                "no_backup",
                0,
                "no backup is scheduled".to_owned(),
                fix,
            );
            return;
        };
        let newest = vitals()
            .filter_map(|vitals| vitals.backup_time)
            .map(|time| time.seconds)
            .max();
        let age = newest.map(|seconds| age(Timestamp { seconds, nanos: 0 }, picture.now));
        if age.is_none_or(|age| age > Duration::from_millis(2 * every)) {
            let what = match age {
                None => "no backup was kept yet".to_owned(),
                Some(age) => format!("the newest backup is {} old", length(age)),
            };
            let fix = "the leader's log says why; docs/runbooks/RegistryBackupStale.md";
            self.add(Level::Warning, "backup_overdue", 0, what, fix);
        }
    }

    fn backup_trouble(&mut self, id: u64, vitals: &v1::Vitals) {
        if let Some(trouble) = &vitals.backup_trouble {
            let what = format!("cannot keep backups ({}): {}", trouble.reason, trouble.what);
            self.add(Level::Warning, "backup_failing", id, what, &trouble.fix);
        }
    }

    /// Nodes that should be the same.
    fn alike(&mut self, picture: &Picture) {
        let mut versions = BTreeSet::new();
        let mut hashes: BTreeMap<u64, BTreeMap<&str, Vec<u64>>> = BTreeMap::new();
        for (id, answer) in &picture.answers {
            let Ok(said) = answer else { continue };
            versions.extend(said.vitals.as_ref().map(|vitals| vitals.program_version.as_str()));
            let revision = said.freshness.as_ref().map_or(0, |freshness| freshness.revision);
            if !said.state_hash.is_empty() {
                let same = hashes.entry(revision).or_default();
                same.entry(&said.state_hash).or_default().push(*id);
            }
        }
        if versions.len() > 1 {
            let all = versions.into_iter().collect::<Vec<_>>().join(", ");
            let what = format!("programs of several versions run: {all}");
            self.add(
                Level::Warning,
                "mixed_versions",
                0,
                what,
                "finish the upgrade, one node after the other",
            );
        }
        for (revision, same) in hashes.iter().filter(|(_, same)| same.len() > 1) {
            let groups = same.values().map(|ids| format!("{ids:?}")).collect::<Vec<_>>();
            let what = format!("nodes differ at revision {revision}: {}", groups.join(" and "));
            let fix =
                "keep the odd one's folder, remove it and join anew; docs/runbooks/RegistryStateDiverged.md";
            self.add(Level::Failure, "diverged", 0, what, fix);
        }
    }

    fn node(&mut self, picture: &Picture, node: &v1::Node) {
        let id = node.id;
        if node.role() == v1::node::Role::Joining {
            let what = "is on the roll and not in the group yet".to_owned();
            self.add(
                Level::Note,
                "joining",
                id,
                what,
                "start it; when it never comes, `reeve cluster remove-node` it",
            );
        }
        if let Some(Err(why)) = picture.answers.get(&id) {
            let what = format!("does not answer at {}: {why}", node.api_address);
            self.add(
                Level::Failure,
                "unreachable",
                id,
                what,
                "start it, or look at the network between",
            );
        }
        let silent = node.last_heard.map(ago_ms).filter(|ms| *ms > SILENT_MAX_MS);
        if let Some(ms) = silent {
            let what = format!(
                "has not answered the leader for {}",
                length(Duration::from_millis(ms))
            );
            self.add(
                Level::Failure,
                "silent",
                id,
                what,
                "start it, or look at the network between the nodes",
            );
        }
        self.lag(picture, node);
        if let Some(vitals) = picture.vitals(id) {
            self.disk(id, vitals);
            self.history(id, vitals, picture.now);
            self.backup_trouble(id, vitals);
            self.time(id, vitals, picture.now);
        }
    }

    fn lag(&mut self, picture: &Picture, node: &v1::Node) {
        let Some(lag) = picture.lag(node).filter(|lag| *lag > LAG_MAX) else {
            return;
        };
        let (kind, what) = match votes(node) {
            true => ("lagging", format!("lacks {lag} entries")),
            false => (
                "learner_behind",
                format!("has no vote yet: it lacks {lag} entries"),
            ),
        };
        let fix = "it catches up by itself; when the number grows, look at its disk and network";
        self.add(Level::Warning, kind, node.id, what, fix);
    }

    fn disk(&mut self, id: u64, vitals: &v1::Vitals) {
        if vitals.disk_full {
            let what = format!("has a full disk: {} are free", bytes(vitals.disk_free_bytes));
            self.add(
                Level::Failure,
                "disk_full",
                id,
                what,
                "free space there; docs/runbooks/RegistryDiskFull.md",
            );
        }
        if vitals.disk_slow {
            let what = "has a slow disk, and does not lead while it has".to_owned();
            self.add(
                Level::Warning,
                "disk_slow",
                id,
                what,
                "look who else uses it; docs/runbooks/RegistryDiskSlow.md",
            );
        }
        let p99 = vitals.fsync_p99.map(ago_ms).unwrap_or_default();
        if p99 >= FSYNC_MAX_MS {
            let what = format!("takes {p99} ms for a flush of its log (p99), and {FSYNC_MAX_MS} is much");
            let fix = "give its data folder a disk of its own; docs/runbooks/RegistrySlowFsync.md";
            self.add(Level::Warning, "fsync_slow", id, what, fix);
        }
    }

    fn history(&mut self, id: u64, vitals: &v1::Vitals, now: SystemTime) {
        if !vitals.archive_whole {
            let what = "has a hole in its archive and is filling it".to_owned();
            self.add(
                Level::Warning,
                "archive_hole",
                id,
                what,
                "it asks the others by itself; its log names what is missing",
            );
        }
        if !vitals.audit_chains_whole {
            let what = "found an audit chain broken".to_owned();
            self.add(
                Level::Failure,
                "audit_broken",
                id,
                what,
                "docs/runbooks/AuditChainBroken.md",
            );
        }
        match vitals.audit_read_time.map(|time| age(time, now)) {
            None => {
                let what = "has not read its audit chains since it started".to_owned();
                self.add(
                    Level::Note,
                    "audit_unread",
                    id,
                    what,
                    "it does so a minute after the start",
                );
            }
            Some(old) if old > AUDIT_AGE_MAX => {
                let what = format!("read its audit chains {} ago", length(old));
                self.add(
                    Level::Warning,
                    "audit_unread",
                    id,
                    what,
                    "docs/runbooks/AuditVerifyStale.md",
                );
            }
            Some(_) => {}
        }
    }

    fn time(&mut self, id: u64, vitals: &v1::Vitals, now: SystemTime) {
        for end in &vitals.certificates {
            let Some(not_after) = end.not_after else { continue };
            let left = at(not_after).duration_since(now).unwrap_or_default();
            let (whose, soon) = match end.role.as_str() {
                "node" => ("its own certificate", 2 * DAY),
                "issuer" => ("the issuing certificate", 30 * DAY),
                _ => ("the root certificate", 90 * DAY),
            };
            if left < soon {
                let level = if left < DAY {
                    Level::Failure
                } else {
                    Level::Warning
                };
                let what = format!("says that {whose} ends in {}", length(left));
                self.add(
                    level,
                    "certificate_ends",
                    id,
                    what,
                    "docs/runbooks/CertExpires.md",
                );
            }
        }
        let Some(theirs) = vitals.now.map(at) else { return };
        let skew = theirs
            .duration_since(now)
            .unwrap_or_else(|earlier| earlier.duration());
        if skew > CLOCK_SKEW_MAX {
            let what = format!("has a clock that is {} from this machine's", length(skew));
            self.add(Level::Warning, "clock_skew", id, what, "let NTP set both clocks");
        }
    }
}

fn at(time: Timestamp) -> SystemTime {
    SystemTime::try_from(time).unwrap_or(SystemTime::UNIX_EPOCH)
}

fn age(time: Timestamp, now: SystemTime) -> Duration {
    now.duration_since(at(time)).unwrap_or_default()
}

/// In the largest unit that says enough.
fn length(length: Duration) -> String {
    match length.as_secs() {
        seconds @ ..120 => format!("{seconds} s"),
        seconds @ ..7_200 => format!("{} min", seconds / 60),
        seconds @ ..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}
