//! `reeve audit export`: every record of every shard, and the heads they must end at.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use reeve_client::{Api, v1};
use reeve_domain::audit::{Head, Record};

use super::Summary;
use super::line::Line;

/// A node with a hole in its archive, or one that died: another is asked from where the last one ended.
const ATTEMPTS_MAX: u32 = 10;
const PAUSE: Duration = Duration::from_millis(300);

/// Why there is no export.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error(transparent)]
    Call(#[from] reeve_client::Error),
    #[error("writing {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    /// The records that came are not the ones up to the head.
    #[error("shard {shard}: {why}")]
    Answer { shard: String, why: String },
}

/// Writes an export. A file of this name appears only when it is whole.
pub async fn file(api: &Api, path: &Path) -> Result<Summary, ExportError> {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let summary = write_all(api, &part).await;
    if summary.is_err() {
        // What stopped the export is worth more than what may stop the cleaning up.
        let _ = fs::remove_file(&part);
    }
    let summary = summary?;
    fs::rename(&part, path).map_err(|source| wrote(path, source))?;
    Ok(summary)
}

async fn write_all(api: &Api, path: &Path) -> Result<Summary, ExportError> {
    let heads = heads(api).await?;
    let mut out = BufWriter::new(File::create(path).map_err(|source| wrote(path, source))?);
    let mut records = 0;
    for (shard, head) in &heads {
        write_shard(api, shard, head, path, &mut out).await?;
        records += head.sequence;
    }
    for (shard, head) in &heads {
        let line = Line::Head {
            shard: shard.clone(),
            head: *head,
        };
        writeln!(out, "{}", line.write()).map_err(|source| wrote(path, source))?;
    }
    let out = out.into_inner().map_err(|e| wrote(path, e.into_error()))?;
    out.sync_all().map_err(|source| wrote(path, source))?;
    Ok(Summary {
        shards: heads.len(),
        records,
        heads,
    })
}

/// The shards that have records, in the order of their names.
async fn heads(api: &Api) -> Result<Vec<(String, Head)>, ExportError> {
    let asked = v1::ListShardsRequest {
        read: Some(v1::ReadLevel {
            level: Some(v1::read_level::Level::Linearizable(Default::default())),
        }),
    };
    let listed = api
        .audit()
        .list_shards(asked)
        .await
        .map_err(reeve_client::Error::from)?;
    let mut heads = Vec::new();
    for shard in listed.into_inner().shards {
        let head = Head {
            sequence: shard.last_sequence,
            chain: hash(&shard.name, shard.chain_hash)?,
        };
        if head.sequence > 0 {
            heads.push((shard.name, head));
        }
    }
    heads.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(heads)
}

async fn write_shard(
    api: &Api,
    shard: &str,
    head: &Head,
    path: &Path,
    out: &mut impl Write,
) -> Result<(), ExportError> {
    let mut last = Head::default();
    let mut attempt = 0;
    while last.sequence < head.sequence {
        let before = last.sequence;
        let ended = write_stream(api, shard, head, &mut last, path, out).await;
        attempt = if last.sequence > before { 0 } else { attempt + 1 };
        match ended {
            Err(ExportError::Call(error)) if error.is_transient() && attempt < ATTEMPTS_MAX => {}
            Err(error) => return Err(error),
            Ok(()) if attempt < ATTEMPTS_MAX => {}
            Ok(()) => {
                let why = format!(
                    "no node gives the records after {}; its head is {}",
                    last.sequence, head.sequence
                );
                return Err(odd(shard, why));
            }
        }
        if last.sequence < head.sequence {
            tokio::time::sleep(PAUSE).await;
        }
    }
    if last != *head {
        return Err(odd(shard, "its last record does not have the hash of its head"));
    }
    Ok(())
}

async fn write_stream(
    api: &Api,
    shard: &str,
    head: &Head,
    last: &mut Head,
    path: &Path,
    out: &mut impl Write,
) -> Result<(), ExportError> {
    let asked = v1::TailRecordsRequest {
        shard: shard.to_owned(),
        from_sequence: last.sequence + 1,
        follow: false,
        limit: u32::try_from(head.sequence - last.sequence).unwrap_or(0),
    };
    let called = api.audit().tail_records(asked).await;
    let mut stream = called.map_err(reeve_client::Error::from)?.into_inner();
    while last.sequence < head.sequence {
        let Some(answer) = stream.message().await.map_err(reeve_client::Error::from)? else {
            return Ok(());
        };
        let Some(record) = answer.record else { continue };
        let record = record_of(record)?;
        if record.sequence != last.sequence + 1 {
            let why = format!("record {} came after {}", record.sequence, last.sequence);
            return Err(odd(shard, why));
        }
        *last = Head {
            sequence: record.sequence,
            chain: record.chain,
        };
        writeln!(out, "{}", Line::Record(record).write()).map_err(|source| wrote(path, source))?;
    }
    Ok(())
}

/// A record as the domain knows it.
pub fn record_of(record: v1::AuditRecord) -> Result<Record, ExportError> {
    let hash = |bytes| hash(&record.shard, bytes);
    Ok(Record {
        sequence: record.sequence,
        leaf: hash(record.leaf_hash)?,
        previous: hash(record.previous_hash)?,
        chain: hash(record.chain_hash)?,
        canonical: record.canonical,
        shard: record.shard,
    })
}

fn hash(shard: &str, bytes: Vec<u8>) -> Result<[u8; 32], ExportError> {
    bytes
        .try_into()
        .map_err(|_| odd(shard, "a hash does not have 32 bytes"))
}

fn odd(shard: &str, why: impl Into<String>) -> ExportError {
    ExportError::Answer {
        shard: shard.to_owned(),
        why: why.into(),
    }
}

fn wrote(path: &Path, source: io::Error) -> ExportError {
    ExportError::Write {
        path: path.to_owned(),
        source,
    }
}
