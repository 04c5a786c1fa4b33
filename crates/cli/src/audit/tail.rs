//! `reeve audit tail`: the last records, and those to come.

use std::time::Duration;

use reeve_client::v1;

use super::export::record_of;
use crate::fail::Failure;
use crate::form::Form;
use crate::session::Session;
use crate::show::Show;
use crate::show::record::{Entries, Entry};
use crate::tenant;

const FLEET: &str = "fleet";
const REOPEN_PAUSE: Duration = Duration::from_millis(500);

/// Show the last audit records of a shard
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  reeve audit tail\n  reeve audit tail --shard cho-ray --limit 5\n  reeve audit tail --follow -o json"
)]
pub struct Args {
    /// "fleet", or a tenant (id or slug)
    #[arg(long, default_value = FLEET, value_name = "SHARD")]
    shard: String,
    /// So many records from the end
    #[arg(long, default_value_t = 20, value_name = "N")]
    limit: u64,
    /// Go on with records to come, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
}

pub async fn run(args: Args, session: &Session) -> Result<(), Failure> {
    let shard = shard(&args.shard, session).await?;
    let last = last_sequence(&shard, session).await?;
    let mut next = last.saturating_sub(args.limit) + 1;
    if args.follow {
        return follow(session, shard, next).await;
    }
    let mut records = Vec::new();
    let asked = request(&shard, next, false);
    let mut stream = session.api()?.audit().tail_records(asked).await?.into_inner();
    while next <= last {
        let Some(answer) = stream.message().await? else {
            break;
        };
        let Some(record) = answer.record else { continue };
        next = record.sequence + 1;
        records.push(Entry::of(&record_of(record)?)?);
    }
    session.print(&Entries { records })
}

async fn follow(session: &Session, shard: String, mut next: u64) -> Result<(), Failure> {
    loop {
        match stream(session, &shard, &mut next).await {
            Ok(()) => {}
            Err(Ended::Call(error)) if error.is_transient() => {}
            Err(Ended::Call(error)) => return Err(error.into()),
            Err(Ended::Failure(failure)) => return Err(failure),
        }
        tokio::time::sleep(REOPEN_PAUSE).await;
    }
}

/// How one stream ended.
enum Ended {
    Call(reeve_client::Error),
    Failure(Failure),
}

async fn stream(session: &Session, shard: &str, next: &mut u64) -> Result<(), Ended> {
    let call = |status| Ended::Call(reeve_client::Error::from(status));
    let asked = request(shard, *next, true);
    let mut audit = session.api().map_err(Ended::Failure)?.audit();
    let mut stream = audit.tail_records(asked).await.map_err(call)?.into_inner();
    while let Some(answer) = stream.message().await.map_err(call)? {
        let Some(record) = answer.record else { continue };
        *next = record.sequence + 1;
        tell(session, record).map_err(Ended::Failure)?;
    }
    Ok(())
}

fn tell(session: &Session, record: v1::AuditRecord) -> Result<(), Failure> {
    let entry = Entry::of(&record_of(record)?)?;
    match session.form() {
        Form::Json | Form::Jsonl => session.out(&serde_json::to_string(&entry).unwrap_or_default()),
        Form::Yaml => session.out(&format!("---\n{}", Entries { records: vec![entry] }.yaml()?)),
        Form::Table | Form::Wide | Form::Name | Form::Env => {
            let look = session.look();
            session.out(&entry.line(look.width.filter(|_| !look.wide)))
        }
    }
}

/// A shard by its own name: tenants may be named by slug.
async fn shard(named: &str, session: &Session) -> Result<String, Failure> {
    if named == FLEET || named.starts_with("t_") {
        return Ok(named.to_owned());
    }
    let (tenant, _) = tenant::get(session, named).await?;
    Ok(tenant.id)
}

async fn last_sequence(shard: &str, session: &Session) -> Result<u64, Failure> {
    let asked = session.ask(v1::ListShardsRequest::default());
    let listed = session.api()?.audit().list_shards(asked).await?.into_inner();
    let found = listed.shards.into_iter().find(|listed| listed.name == shard);
    Ok(found.map(|found| found.last_sequence).unwrap_or_default())
}

fn request(shard: &str, from_sequence: u64, follow: bool) -> v1::TailRecordsRequest {
    v1::TailRecordsRequest {
        shard: shard.to_owned(),
        from_sequence,
        follow,
        limit: 0,
    }
}
