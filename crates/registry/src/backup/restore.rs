//! Makes the first node of a new cluster from a backup: its folder, its certificate, and one for the admin.
//!
//! ```text
//! out/         root.key                                     the key provider's file, as it was given
//! out/admin/   admin.crt admin.key root.crt
//! out/n<id>/   node.crt node.key.pem root.crt data/{owner.json, node.key, snapshots, wal, archive}
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reeve_domain::restore::{self as anew, Restored, Verdict};
use reeve_domain::{Stamp, State};
use reeve_proto::identity::{KeyRequest, Kind, SpiffeId, Usage};
use serde::Serialize;

use super::records::{Refused, Testimony, audit_keys, testimony};
use super::shelf::source::is_meant;
use super::{BackupError, Header, check, open};
use crate::archive::{Archive, Change};
use crate::authority::issue_alone;
use crate::consensus::plant;
use crate::mutant::Mutant;
use crate::node::ArchiveCipher;
use crate::vault::{KeyProvider, RootKey, open_or_make};
use crate::{files, release};

/// What is to be made.
#[derive(Clone, Debug)]
pub struct Order {
    pub file: PathBuf,
    /// What the sum of the file must be, when somebody knows.
    pub sum: Option<String>,
    pub root_key: PathBuf,
    /// Must not be there yet.
    pub out: PathBuf,
    pub api_address: String,
    pub peer_address: String,
    /// A person's name.
    pub admin: String,
    /// A folder with the records that agents gave out.
    pub records: Option<PathBuf>,
}

/// What was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Made {
    pub cluster: String,
    /// The new one.
    pub cluster_id: String,
    pub node_id: u64,
    /// What the new cluster begins at.
    pub revision: u64,
    /// What the backup held.
    pub from_revision: u64,
    pub from_cluster_id: String,
    pub saved_ms: u64,
    pub tenants: u64,
    pub records: u64,
    /// Operations that go on where they were.
    pub open_operations: u64,
    pub admin: String,
    /// What agents' records said, when some were given.
    pub heard: Option<Heard>,
}

/// What came of agents' records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Heard {
    pub files: u64,
    pub records: u64,
    pub verdicts: Vec<Told>,
    pub refused: Vec<Refused>,
    /// Tenants of the backup that no record speaks of, and no agent that should know them was heard.
    pub unsaid: u64,
}

/// What became of one tenant or group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Told {
    pub subject: String,
    pub name: String,
    pub fate: String,
    pub why: Vec<String>,
    pub sources: Vec<String>,
}

impl Told {
    fn of(verdict: &Verdict) -> Told {
        let source = |(agent, revision): &(_, _)| format!("agent {agent} at revision {revision}");
        Told {
            subject: verdict.subject.to_string(),
            name: verdict.name.clone(),
            fate: verdict.fate.word().to_owned(),
            why: verdict.clashes.iter().map(ToString::to_string).collect(),
            sources: verdict.sources.iter().map(source).collect(),
        }
    }
}

/// Makes it. What is left after a failure is good for nothing.
pub async fn restore(order: &Order) -> Result<Made, BackupError> {
    if order.out.exists() {
        return Err(BackupError::file(
            &order.out,
            "it is there already; name another folder",
        ));
    }
    let hosts = hosts(&[&order.api_address, &order.peer_address])?;
    let root = RootKey::read(&order.root_key)?;
    let (report, state) = check(open(&order.file)?, Some(&root), &mut |_| Ok(()))?;
    is_meant(order.sum.as_deref(), &report)?;
    let (Some(inside), Some(mut state)) = (report.inside, state) else {
        return Err(BackupError::Odd("nothing is in it".to_owned()));
    };
    let header = inside.header;
    release::check(state.cluster.version).map_err(BackupError::Odd)?;
    let admin = SpiffeId::new(&header.cluster, Kind::Person(order.admin.clone()));
    let admin = admin.map_err(|error| BackupError::Odd(format!("admin {:?}: {error}", order.admin)))?;
    let testimony = match &order.records {
        Some(folder) => testimony(folder, &state)?,
        None => Testimony::default(),
    };
    let restored = begin_anew(&mut state, &header, &report.sum, &admin, order, &root, &testimony)?;

    let node_id = restored.node.0;
    let node_dir = order.out.join(format!("n{node_id}"));
    let data_dir = node_dir.join("data");
    std::fs::create_dir_all(&data_dir).map_err(|error| BackupError::file(&data_dir, error))?;
    let sealer = open_or_make(&data_dir, &header.cluster, &root)?;
    fill_archive(&data_dir, &sealer, &state, &restored, order, &root)?;
    plant(
        &data_dir,
        &header.cluster,
        node_id,
        &order.peer_address,
        sealer,
        &state,
    )
    .await?;

    let node = SpiffeId::new(&header.cluster, Kind::Node(node_id));
    let node = node.map_err(|error| BackupError::Odd(error.to_string()))?;
    certify(
        &root,
        &state,
        &node,
        Usage::Node { hosts },
        &node_dir,
        ["node.crt", "node.key.pem"],
    )?;
    let admin_dir = order.out.join("admin");
    certify(
        &root,
        &state,
        &admin,
        Usage::Client,
        &admin_dir,
        ["admin.crt", "admin.key"],
    )?;
    let key = std::fs::read(&order.root_key).map_err(|error| BackupError::file(&order.root_key, error))?;
    files::write(&order.out.join("root.key"), &key)?;
    Ok(Made {
        cluster: header.cluster,
        cluster_id: state.cluster.id.clone(),
        node_id,
        revision: state.revision.0,
        from_revision: header.revision,
        from_cluster_id: header.cluster_id,
        saved_ms: header.saved_ms,
        tenants: state.tenants.len() as u64,
        records: inside.records + 1 + restored.verdicts.len() as u64,
        open_operations: (state.open.len() + state.queued.len()) as u64,
        admin: admin.to_string(),
        heard: order.records.as_ref().map(|_| Heard {
            files: testimony.files,
            records: testimony.statements.len() as u64,
            verdicts: restored
                .verdicts
                .iter()
                .map(|(verdict, _)| Told::of(verdict))
                .collect(),
            refused: testimony.refused,
            unsaid: restored.unsaid,
        }),
    })
}

fn begin_anew(
    state: &mut State,
    header: &Header,
    sum: &str,
    admin: &SpiffeId,
    order: &Order,
    root: &RootKey,
    testimony: &Testimony,
) -> Result<Restored, BackupError> {
    let (before, leaps) = (state.revision, state.leaps.clone());
    let anew = anew::Restore {
        cluster_id: uuid::Uuid::new_v4().to_string(),
        api_address: order.api_address.clone(),
        peer_address: order.peer_address.clone(),
        admin: admin.to_string(),
        salt: rand::random(),
        reason: format!(
            "revision {} of cluster {}, saved {} ms after 1970 by node {}, snapshot {sum}; {admin} is admin; {} records of agents, {} refused",
            header.revision,
            header.cluster_id,
            header.saved_ms,
            header.node,
            testimony.statements.len(),
            testimony.refused.len()
        ),
        heard: testimony.statements.clone(),
        audit_keys: audit_keys(&testimony.statements, root)?,
        seed: rand::random(),
    };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = Stamp(now.as_ref().map_or(0, Duration::as_millis) as u64);
    let mut restored =
        anew::restore(state, now, anew).map_err(|error| BackupError::Odd(error.to_string()))?;
    if Mutant::RestoreWithoutLeap.is_planted() {
        (state.revision, state.leaps) = (before.next(), leaps);
        restored.applied.revision = state.revision;
        restored.verdicts.clear();
    }
    Ok(restored)
}

/// All that the backup holds, and the restore itself, on the disk.
fn fill_archive(
    data_dir: &Path,
    sealer: &crate::vault::Sealer,
    state: &State,
    restored: &Restored,
    order: &Order,
    root: &RootKey,
) -> Result<(), BackupError> {
    let cipher = Arc::new(ArchiveCipher::new(sealer.clone()));
    let archive = Archive::open(data_dir.join("archive"), cipher)?;
    archive.reach(state)?;
    check(open(&order.file)?, Some(root), &mut |change| {
        Ok(archive.write(change)?)
    })?;
    let merged = restored.verdicts.iter().map(|(_, applied)| applied);
    for change in std::iter::once(&restored.applied)
        .chain(merged)
        .filter_map(Change::of)
    {
        archive.write(change)?;
    }
    archive.flush_durable()?;
    match archive.gap()? {
        None => Ok(()),
        Some((from, to)) => Err(BackupError::Odd(format!(
            "revisions {from} to {to} did not reach the new archive"
        ))),
    }
}

fn certify(
    root: &dyn KeyProvider,
    state: &State,
    who: &SpiffeId,
    usage: Usage,
    dir: &Path,
    [cert, key]: [&str; 2],
) -> Result<(), BackupError> {
    let refused = |why: String| BackupError::Odd(format!("certificate of {who}: {why}"));
    let request = KeyRequest::generate().map_err(|error| refused(error.to_string()))?;
    let chain =
        issue_alone(root, state, &request.csr_pem, who, usage).map_err(|error| refused(error.to_string()))?;
    files::write(&dir.join(key), request.key_pem.as_bytes())?;
    files::write(&dir.join(cert), chain.as_bytes())?;
    files::write(&dir.join("root.crt"), state.cluster.root_ca_pem.as_bytes())?;
    Ok(())
}

/// The names a node's certificate carries: the hosts it is advertised under.
fn hosts(addresses: &[&str]) -> Result<Vec<String>, BackupError> {
    let mut hosts = Vec::new();
    for address in addresses {
        let host = address
            .rsplit_once(':')
            .filter(|(_, port)| port.parse::<u16>().is_ok());
        let (host, _) = host.ok_or_else(|| BackupError::Odd(format!("{address:?} is not host:port")))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    Ok(hosts)
}
