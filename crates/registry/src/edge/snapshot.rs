//! SaveSnapshot: a copy of the registry as it leaves, in pieces as the caller takes them.

use std::io;
use std::time::SystemTime;

use futures::StreamExt;
use futures::stream::BoxStream;
use reeve_domain::command::Witness;
use reeve_domain::{Command, Revision, State};
use reeve_proto::error::{self, Reason};
use reeve_proto::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::archive::{ArchiveError, LIMIT_MAX};
use crate::backup::{BackupError, Copy, Header, Pieces, header, save};
use crate::edge::admit::Call;
use crate::edge::desk::Desk;
use crate::edge::status;
use crate::policy::{self, Intent, SNAPSHOT_SAVE};

/// Pieces that wait for the network.
const QUEUE_MAX: usize = 8;

type Sender = mpsc::Sender<Result<v1::SaveSnapshotResponse, Status>>;
pub(super) type Stream = BoxStream<'static, Result<v1::SaveSnapshotResponse, Status>>;

/// Writes down who takes a copy, then streams the State that has that record, and the archive behind it.
pub(super) async fn stream(desk: &Desk, call: &Call) -> Result<Stream, Status> {
    let permit = policy::decide(&desk.state(), &call.caller, call.action(), None)?;
    let witness = Witness {
        action: SNAPSHOT_SAVE.to_owned(),
        resource: "cluster".to_owned(),
        tenant: None,
        detail: format!("through node {}", desk.node_id()),
    };
    let witnessed = desk
        .propose(call, permit, Intent::new(Command::Witness(witness)))
        .await?;
    let (send, receive) = mpsc::channel(QUEUE_MAX);
    let desk = desk.clone();
    tokio::task::spawn_blocking(move || {
        if let Err(error) = write(&desk, &witnessed.state, &send) {
            // The caller may be gone, and then nobody is there to be told.
            let _ = send.blocking_send(Err(told(error)));
        }
    });
    Ok(ReceiverStream::new(receive).boxed())
}

fn write(desk: &Desk, state: &State, to: &Sender) -> Result<(), BackupError> {
    let rooms = &desk.rooms;
    let header = header(state, rooms.node_id.0, SystemTime::now());
    let gone = || io::Error::new(io::ErrorKind::BrokenPipe, "the caller has left");
    let first = v1::SaveSnapshotResponse {
        about: Some(about(&header)),
        ..Default::default()
    };
    to.blocking_send(Ok(first)).map_err(|_| gone())?;
    let saved = std::cell::Cell::new(0);
    let pieces = Pieces::new(|data| {
        let message = v1::SaveSnapshotResponse {
            data,
            saved_changes: saved.get(),
            ..Default::default()
        };
        to.blocking_send(Ok(message)).map_err(|_| gone())
    });
    let copy = Copy {
        state,
        changes: &mut |from: Revision| Ok(rooms.archive.changes(from, LIMIT_MAX)?),
        said: &mut |changes| saved.set(changes),
    };
    let sum = save(pieces, rooms.authority.root().as_ref(), &header, copy)?;
    let last = v1::SaveSnapshotResponse {
        saved_changes: saved.get(),
        sha256: sum.to_vec(),
        ..Default::default()
    };
    Ok(to.blocking_send(Ok(last)).map_err(|_| gone())?)
}

fn about(header: &Header) -> v1::save_snapshot_response::About {
    v1::save_snapshot_response::About {
        cluster: header.cluster.clone(),
        cluster_id: header.cluster_id.clone(),
        revision: header.revision,
        tenants: header.tenants,
        changes: header.changes,
        node_id: header.node,
        state_hash: header.state_hash.to_vec(),
    }
}

fn told(error: BackupError) -> Status {
    match error {
        BackupError::Archive(
            error
            @ (ArchiveError::Incomplete { .. } | ArchiveError::Damaged { .. } | ArchiveError::Unchecked),
        ) => error::retry(
            Reason::ArchiveIncomplete,
            error.to_string(),
            super::desk::ARCHIVE_PAUSE,
        ),
        other => status::internal("saving a snapshot", &other),
    }
}
