//! One connection through a hop: bytes each way, under a mode that may change at any moment.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::{Mode, Weather};

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
pub(super) async fn both(mut caller: TcpStream, mut callee: TcpStream, weather: watch::Receiver<Weather>) {
    for stream in [&caller, &callee] {
        // Only speed is lost without it.
        stream.set_nodelay(true).ok();
    }
    let ended = {
        let (caller_read, caller_write) = caller.split();
        let (callee_read, callee_write) = callee.split();
        let forth = carry(caller_read, callee_write, Way::Forth, weather.clone());
        let back = carry(callee_read, caller_write, Way::Back, weather.clone());
        let carried = async { tokio::try_join!(forth, back).map(drop) };
        tokio::select! {
            ended = carried => Some(ended),
            () = stranding(weather) => None,
        }
    };
    if ended.is_none() {
        swallow(&mut caller, &mut callee).await;
    }
    if !matches!(ended, Some(Ok(()))) {
        reset(&caller);
        reset(&callee);
    }
}

/// Until a connection that is open now is stranded; never when its hop is gone before.
async fn stranding(mut weather: watch::Receiver<Weather>) {
    let born = weather.borrow().stranded;
    if weather.wait_for(|now| now.stranded > born).await.is_err() {
        std::future::pending().await
    }
}

/// Takes what either end still says, and gives it to nobody, until one of them gives up.
async fn swallow(caller: &mut TcpStream, callee: &mut TcpStream) {
    let (mut one, mut other) = (tokio::io::sink(), tokio::io::sink());
    tokio::select! {
        // However it ends, it is over.
        _ = tokio::io::copy(caller, &mut one) => {}
        _ = tokio::io::copy(callee, &mut other) => {}
    }
}

async fn carry(
    from: ReadHalf<'_>,
    to: WriteHalf<'_>,
    way: Way,
    weather: watch::Receiver<Weather>,
) -> Result<(), Broken> {
    let (queue, queued) = mpsc::channel(CHUNKS_MAX);
    tokio::try_join!(
        read(from, queue, way, weather.clone()),
        write(to, queued, weather)
    )?;
    Ok(())
}

async fn read(
    mut from: ReadHalf<'_>,
    queue: mpsc::Sender<Chunk>,
    way: Way,
    mut weather: watch::Receiver<Weather>,
) -> Result<(), Broken> {
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut has_lost = false;
    loop {
        let now = weather.borrow_and_update().mode;
        let loses = way.loses(now);
        if now == Mode::Cut || has_lost && !loses {
            return Err(Broken);
        }
        let count = tokio::select! {
            changed = weather.changed() => {
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
        let delay = match now {
            Mode::Delay(delay) => delay,
            Mode::Stutter { percent, pause } if rand::random_range(0..100) < percent => pause,
            _ => Duration::ZERO,
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
    mut weather: watch::Receiver<Weather>,
) -> Result<(), Broken> {
    while let Some(chunk) = queued.recv().await {
        // Timers go by whole milliseconds: one that is due already would keep each chunk for up to another.
        if chunk.due > Instant::now() {
            tokio::time::sleep_until(chunk.due).await;
        }
        while weather.borrow_and_update().mode == Mode::Freeze {
            weather.changed().await.map_err(|_| Broken)?;
        }
        if weather.borrow().mode == Mode::Cut {
            return Err(Broken);
        }
        to.write_all(&chunk.bytes).await.map_err(|_| Broken)?;
    }
    to.shutdown().await.map_err(|_| Broken)
}
