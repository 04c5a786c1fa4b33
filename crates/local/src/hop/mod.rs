//! Named hops: every link between two processes goes through one, and can be hurt there.
//!
//! ```text
//! a ──► listener ──► pump ──► b        one task per hop, one per connection, two per direction
//!                 ◄── pump ◄──         all of them obey the hop's mode, which may change at any moment
//! ```

mod pump;

use std::collections::BTreeMap;
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
}

/// One link.
pub struct Hop {
    name: String,
    port: u16,
    mode: watch::Sender<Mode>,
    task: JoinHandle<()>,
}

impl Hop {
    /// Listens at `port` and leads to `target`, both on the loopback.
    pub async fn open(name: &str, port: u16, target: u16) -> Result<Hop> {
        let listener = TcpListener::bind(("127.0.0.1", port))
            .await
            .with_context(|| format!("hop {name} cannot listen at port {port}"))?;
        let port = listener.local_addr()?.port();
        let (mode, watched) = watch::channel(Mode::Pass);
        let task = tokio::spawn(serve(listener, target, watched));
        Ok(Hop {
            name: name.to_owned(),
            port,
            mode,
            task,
        })
    }

    /// The link, as `n1->n2`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where to dial instead of the target.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Changes what happens from now on, on open connections too.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    pub fn mode(&self) -> Mode {
        *self.mode.borrow()
    }
}

impl Drop for Hop {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, target: u16, mode: watch::Receiver<Mode>) {
    loop {
        // Without a free descriptor there is nothing to do but try again with the next caller.
        let Ok((caller, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        tokio::spawn(connection(caller, target, mode.clone()));
    }
}

async fn connection(caller: TcpStream, target: u16, mut mode: watch::Receiver<Mode>) {
    // A sender that is gone is a hop that is gone; the connection ends with it.
    while *mode.borrow_and_update() == Mode::Freeze {
        if mode.changed().await.is_err() {
            return;
        }
    }
    if *mode.borrow_and_update() == Mode::Cut {
        return pump::reset(&caller);
    }
    match TcpStream::connect(("127.0.0.1", target)).await {
        Ok(callee) => pump::both(caller, callee, mode).await,
        Err(_) => pump::reset(&caller),
    }
}

/// All hops of a fleet, by name.
#[derive(Default)]
pub struct Hops {
    hops: BTreeMap<String, Hop>,
}

impl Hops {
    pub(crate) fn add(&mut self, hop: Hop) {
        self.hops.insert(hop.name().to_owned(), hop);
    }

    /// The hop of a link.
    pub fn get(&self, name: &str) -> Result<&Hop> {
        self.hops
            .get(name)
            .with_context(|| format!("no hop is named {name:?}"))
    }

    /// All names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.hops.keys().map(String::as_str)
    }

    /// Changes every hop that leads to or from this party: `n2`, `client`, `agent vn-1`, `pg vn-1`.
    pub fn set_around(&self, party: &str, mode: Mode) {
        for hop in self.hops.values() {
            let ends = hop.name().split_once("->");
            if ends.is_some_and(|(from, to)| from == party || to == party) {
                hop.set(mode);
            }
        }
    }

    /// Lets everything pass again.
    pub fn heal(&self) {
        self.hops.values().for_each(|hop| hop.set(Mode::Pass));
    }
}

#[cfg(test)]
mod tests;
