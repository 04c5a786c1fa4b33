//! Named hops: every link between two processes goes through one, and can be hurt there.
//!
//! ```text
//! a ──► listener ──► pump ──► b        one task per hop, one per connection, two per direction
//!                 ◄── pump ◄──         all of them obey the hop's mode, which may change at any moment
//! ```

mod all;
mod pump;

pub use all::Hops;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What a hop does with the bytes and connections that come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Pass,
    /// Connections are reset, and new ones too.
    Cut,
    /// Connections are kept and new ones taken, but no byte moves: a machine that hangs.
    Freeze,
    /// Every byte arrives this much later.
    Delay(Duration),
    /// Bytes from the caller are lost; those back to it arrive. Connections that lost any are reset after.
    DropForth,
    /// Bytes back to the caller are lost; those from it arrive. Connections that lost any are reset after.
    DropBack,
    /// As a wire that loses packets looks to whoever speaks TCP: no byte is lost, but so many chunks of a hundred are
    /// held up this long, and all behind them.
    Stutter {
        percent: u8,
        pause: Duration,
    },
}

/// What all connections of a hop obey.
#[derive(Clone, Copy)]
struct Weather {
    mode: Mode,
    /// Connections from before the last of so many strandings are dead, and nobody is told.
    stranded: u64,
}

/// One link.
pub struct Hop {
    name: String,
    address: SocketAddr,
    taken: Arc<AtomicU64>,
    weather: watch::Sender<Weather>,
    task: JoinHandle<()>,
}

impl Hop {
    /// Listens at `port` and leads to `target`, both on the loopback.
    pub async fn open(name: &str, port: u16, target: u16) -> Result<Hop> {
        Hop::open_at(name, (Ipv4Addr::LOCALHOST, port).into(), target).await
    }

    /// Listens at an address of its own, as a gateway of another network does.
    pub async fn open_at(name: &str, address: SocketAddr, target: u16) -> Result<Hop> {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("hop {name} cannot listen at {address}"))?;
        let address = listener.local_addr()?;
        let taken = Arc::new(AtomicU64::new(0));
        let (weather, watched) = watch::channel(Weather {
            mode: Mode::Pass,
            stranded: 0,
        });
        let task = tokio::spawn(serve(listener, target, watched, taken.clone()));
        Ok(Hop {
            name: name.to_owned(),
            address,
            taken,
            weather,
            task,
        })
    }

    /// The link, as `n1->n2`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where to dial instead of the target.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Connections that came by so far.
    pub fn connections(&self) -> u64 {
        self.taken.load(Ordering::SeqCst)
    }

    /// Changes what happens from now on, on open connections too.
    pub fn set(&self, mode: Mode) {
        self.weather.send_modify(|weather| weather.mode = mode);
    }

    pub fn mode(&self) -> Mode {
        self.weather.borrow().mode
    }

    /// What is open now is dead from here on, and neither end is told; new connections are as good as ever.
    pub fn strand(&self) {
        self.weather.send_modify(|weather| weather.stranded += 1);
    }
}

impl Drop for Hop {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, target: u16, weather: watch::Receiver<Weather>, taken: Arc<AtomicU64>) {
    loop {
        // Without a free descriptor there is nothing to do but try again with the next caller.
        let Ok((caller, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        taken.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(connection(caller, target, weather.clone()));
    }
}

async fn connection(caller: TcpStream, target: u16, mut weather: watch::Receiver<Weather>) {
    // A sender that is gone is a hop that is gone; the connection ends with it.
    while weather.borrow_and_update().mode == Mode::Freeze {
        if weather.changed().await.is_err() {
            return;
        }
    }
    if weather.borrow_and_update().mode == Mode::Cut {
        return pump::reset(&caller);
    }
    match TcpStream::connect(("127.0.0.1", target)).await {
        Ok(callee) => pump::both(caller, callee, weather).await,
        Err(_) => pump::reset(&caller),
    }
}

#[cfg(test)]
mod tests;
