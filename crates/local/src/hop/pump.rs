//! One connection through a hop: bytes each way, under a mode that may change at any moment.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::Mode;

const CHUNK_BYTES: usize = 16 * 1024;
/// Chunks on their way in one direction; a delayed link holds this much and then pushes back.
const CHUNKS_MAX: usize = 256;

#[derive(Clone, Copy)]
enum Way {
    Forth,
    Back,
}

/// The connection cannot go on: a socket failed, or the hop was cut.
struct Broken;

/// A chunk and when it is due.
struct Chunk {
    due: Instant,
    bytes: Vec<u8>,
}

impl Way {
    fn loses(self, mode: Mode) -> bool {
        matches!(
            (self, mode),
            (Way::Forth, Mode::DropForth) | (Way::Back, Mode::DropBack)
        )
    }
}

/// Closes with a reset instead of a farewell.
pub(super) fn reset(stream: &TcpStream) {
    // A socket that is gone already needs no reset.
    stream.set_zero_linger().ok();
}

/// Carries bytes both ways until both are done, one breaks, or the hop is cut.
pub(super) async fn both(mut caller: TcpStream, mut callee: TcpStream, mode: watch::Receiver<Mode>) {
    for stream in [&caller, &callee] {
        // Only speed is lost without it.
        stream.set_nodelay(true).ok();
    }
    let ended = {
        let (caller_read, caller_write) = caller.split();
        let (callee_read, callee_write) = callee.split();
        let forth = carry(caller_read, callee_write, Way::Forth, mode.clone());
        let back = carry(callee_read, caller_write, Way::Back, mode);
        tokio::try_join!(forth, back)
    };
    if ended.is_err() {
        reset(&caller);
        reset(&callee);
    }
}

async fn carry(
    from: ReadHalf<'_>,
    to: WriteHalf<'_>,
    way: Way,
    mode: watch::Receiver<Mode>,
) -> Result<(), Broken> {
    let (queue, queued) = mpsc::channel(CHUNKS_MAX);
    tokio::try_join!(read(from, queue, way, mode.clone()), write(to, queued, mode))?;
    Ok(())
}

async fn read(
    mut from: ReadHalf<'_>,
    queue: mpsc::Sender<Chunk>,
    way: Way,
    mut mode: watch::Receiver<Mode>,
) -> Result<(), Broken> {
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut has_lost = false;
    loop {
        let now = *mode.borrow_and_update();
        let loses = way.loses(now);
        if now == Mode::Cut || has_lost && !loses {
            return Err(Broken);
        }
        let count = tokio::select! {
            changed = mode.changed() => {
                changed.map_err(|_| Broken)?;
                continue;
            }
            count = from.read(&mut buffer), if now != Mode::Freeze => count.map_err(|_| Broken)?,
        };
        if count == 0 {
            return Ok(());
        }
        if loses {
            has_lost = true;
            continue;
        }
        let delay = if let Mode::Delay(delay) = now {
            delay
        } else {
            Duration::ZERO
        };
        let chunk = Chunk {
            due: Instant::now() + delay,
            bytes: buffer[..count].to_vec(),
        };
        queue.send(chunk).await.map_err(|_| Broken)?;
    }
}

async fn write(
    mut to: WriteHalf<'_>,
    mut queued: mpsc::Receiver<Chunk>,
    mut mode: watch::Receiver<Mode>,
) -> Result<(), Broken> {
    while let Some(chunk) = queued.recv().await {
        tokio::time::sleep_until(chunk.due).await;
        while *mode.borrow_and_update() == Mode::Freeze {
            mode.changed().await.map_err(|_| Broken)?;
        }
        if *mode.borrow() == Mode::Cut {
            return Err(Broken);
        }
        to.write_all(&chunk.bytes).await.map_err(|_| Broken)?;
    }
    to.shutdown().await.map_err(|_| Broken)
}
