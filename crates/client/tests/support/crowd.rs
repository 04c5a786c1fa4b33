//! Callers of many tenants at once, each checking whose session it was given.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use hdrhistogram::Histogram;
use reeve_client::{Access, Error, Fleet, Limits, Selector, stand};
use sqlx::Row;
use tokio::task::JoinSet;

use super::postgres::{PASSWORD, Server, database, role, slug};

/// How many, of what.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub tenants: usize,
    /// Real ones, that the tenants share.
    pub databases: usize,
    pub callers: usize,
}

/// What the callers met.
pub struct Seen {
    /// Served, from asking for the pool to the answer of one statement; microseconds.
    pub served: Histogram<u64>,
    /// Told that the budget is in use.
    pub exhausted: u64,
    /// Whose pool was closed to make room, between getting it and using it; each asked again.
    pub overtaken: u64,
    pub tenants: usize,
    /// The most sessions that this process had open at once.
    pub sessions_max: usize,
    pub took: Duration,
}

pub struct Crowd {
    pub fleet: Fleet,
    _feed: stand::Feed,
    size: Size,
}

impl Crowd {
    pub fn new(server: &Server, size: Size, limits: Limits) -> Crowd {
        let (fleet, feed) = stand::with_pools(limits, PASSWORD.to_owned());
        let all = (0..size.tenants).map(|number| server.tenant(number, size.databases));
        feed.list(all, 9);
        Crowd {
            fleet,
            _feed: feed,
            size,
        }
    }

    /// Lets every caller work `calls` times; the n-th busiest tenant is called 1/n as often as the busiest.
    pub async fn work(&self, server: &Server, calls: usize) -> Result<Seen> {
        let overtaken = Arc::new(AtomicU64::new(0));
        let began = Instant::now();
        let mut callers = JoinSet::new();
        for caller in 0..self.size.callers {
            let (fleet, overtaken, size) = (self.fleet.clone(), overtaken.clone(), self.size);
            callers.spawn(async move {
                let mut chance = 0x9e37_79b9_7f4a_7c15 ^ (caller as u64 + 1);
                let mut calling = Calling::default();
                for _ in 0..calls {
                    let tenant = draw(size.tenants, &mut chance);
                    calling.call(&fleet, tenant, size, &overtaken).await?;
                }
                anyhow::Ok(calling)
            });
        }
        let over = Arc::new(AtomicBool::new(false));
        let looking = async {
            let mut most = 0;
            while !over.load(Ordering::Relaxed) {
                most = most.max(server.open_sessions()?);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            anyhow::Ok(most)
        };
        let gathering = async {
            let mut all = Calling::default();
            while let Some(one) = callers.join_next().await {
                all.add(one??)?;
            }
            over.store(true, Ordering::Relaxed);
            anyhow::Ok(all)
        };
        let (most, all) = tokio::try_join!(looking, gathering)?;
        Ok(Seen {
            served: all.served,
            exhausted: all.exhausted,
            overtaken: overtaken.load(Ordering::Relaxed),
            tenants: all.tenants.len(),
            sessions_max: most,
            took: began.elapsed(),
        })
    }
}

struct Calling {
    served: Histogram<u64>,
    exhausted: u64,
    tenants: std::collections::HashSet<usize>,
}

impl Default for Calling {
    fn default() -> Calling {
        Calling {
            served: Histogram::new(3).expect("three digits are few"),
            exhausted: 0,
            tenants: Default::default(),
        }
    }
}

impl Calling {
    fn add(&mut self, other: Calling) -> Result<()> {
        self.served.add(other.served)?;
        self.exhausted += other.exhausted;
        self.tenants.extend(other.tenants);
        Ok(())
    }

    async fn call(&mut self, fleet: &Fleet, tenant: usize, size: Size, overtaken: &AtomicU64) -> Result<()> {
        let selector = Selector::slug(&slug(tenant))?;
        let began = Instant::now();
        loop {
            let found = fleet.resolve(&selector).await?;
            let pool = match fleet.pool(&found, Access::Write).await {
                Ok(pool) => pool,
                Err(Error::Exhausted { .. }) => {
                    self.exhausted += 1;
                    return Ok(());
                }
                Err(error) => return Err(error).context("a pool"),
            };
            let row = sqlx::query("SELECT current_database()::text, current_user::text").fetch_one(&pool);
            let row = match row.await {
                Ok(row) => row,
                Err(sqlx::Error::PoolClosed) => {
                    overtaken.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                Err(sqlx::Error::PoolTimedOut) => {
                    self.exhausted += 1;
                    return Ok(());
                }
                Err(error) => bail!("tenant {tenant}: {error}"),
            };
            let here: (String, String) = (row.try_get(0)?, row.try_get(1)?);
            let wanted = (database(tenant % size.databases), role(tenant));
            ensure!(here == wanted, "{wanted:?} was given a session of {here:?}");
            break;
        }
        self.served.record(began.elapsed().as_micros() as u64)?;
        self.tenants.insert(tenant);
        Ok(())
    }
}

/// Zipf, 1.0: those who are busy lie anywhere.
fn draw(tenants: usize, chance: &mut u64) -> usize {
    *chance ^= *chance << 13;
    *chance ^= *chance >> 7;
    *chance ^= *chance << 17;
    let share = (*chance >> 11) as f64 / (1_u64 << 53) as f64;
    let rank = (tenants as f64).powf(share) - 1.0;
    rank as usize * 7919 % tenants
}
