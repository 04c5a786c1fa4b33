//! Clients that write and read all the while, try again only what may be tried again, and forget nothing that they
//! were told.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use parking_lot::Mutex;
use reeve_client::v1::read_level::{Level, Linearizable};
use reeve_client::v1::{CreateRegionRequest, ListRegionsRequest, ReadLevel, Region};
use reeve_client::{Api, Error, request_id};
use reeve_local::Fleet;
use tokio::task::JoinSet;
use tonic::{Request, Status};

const WRITERS: usize = 4;
const READERS: usize = 3;
/// One try may span an election; all of them span a node that restarts.
const TRY_PATIENCE: Duration = Duration::from_secs(10);
const TRIES_MAX: usize = 6;

/// What was acknowledged so far.
type Told = Arc<Mutex<BTreeSet<String>>>;

/// Writers and readers at work.
pub struct Steady {
    told: Told,
    is_over: Arc<AtomicBool>,
    has_failed: Arc<AtomicBool>,
    tasks: JoinSet<Result<()>>,
}

impl Steady {
    /// Lets them loose on the whole registry: each begins with another node, and goes on to the next when that one
    /// does not serve.
    pub fn begin(fleet: &Fleet) -> Result<Steady> {
        Steady::knowing(fleet, fleet.nodes().len())
    }

    /// The same, each with one node for good: where every node serves, and each is to be heard.
    pub fn begin_apart(fleet: &Fleet) -> Result<Steady> {
        Steady::knowing(fleet, 1)
    }

    fn knowing(fleet: &Fleet, known: usize) -> Result<Steady> {
        let (told, is_over) = (Told::default(), Arc::new(AtomicBool::new(false)));
        let has_failed = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for number in 0..WRITERS + READERS {
            let mut doors = fleet.addresses();
            let first = number % doors.len();
            doors.rotate_left(first);
            doors.truncate(known);
            let api = Api::connect(&doors, fleet.admin())?;
            let (told, is_over, has_failed) = (told.clone(), is_over.clone(), has_failed.clone());
            tasks.spawn(async move {
                let ended = match number < WRITERS {
                    true => write(&api, number, &told, &is_over).await,
                    false => read(&api, &told, &is_over).await,
                };
                has_failed.fetch_or(ended.is_err(), Ordering::Relaxed);
                ended
            });
        }
        Ok(Steady {
            told,
            is_over,
            has_failed,
            tasks,
        })
    }

    /// Whether one of them has seen what must not be; `end` says what.
    pub fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed)
    }

    /// How much was acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        self.told.lock().len()
    }

    /// Ends them, and looks on every node for all that was acknowledged. How much that was.
    pub async fn end(mut self, fleet: &Fleet) -> Result<usize> {
        self.is_over.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended??;
        }
        let told = self.told.lock().clone();
        for node in fleet.nodes() {
            let there = regions(&node.api()).await?;
            let lost: Vec<_> = told.difference(&there).collect();
            ensure!(lost.is_empty(), "node {} lost {lost:?}", node.id());
        }
        Ok(told.len())
    }
}

async fn write(api: &Api, number: usize, told: &Told, is_over: &AtomicBool) -> Result<()> {
    for count in 0.. {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let name = format!("w{number}-{count}");
        create_region(api, &name)
            .await
            .with_context(|| format!("making {name}"))?;
        told.lock().insert(name);
    }
    Ok(())
}

/// All that was acknowledged before it was asked must be in the answer.
async fn read(api: &Api, told: &Told, is_over: &AtomicBool) -> Result<()> {
    while !is_over.load(Ordering::Relaxed) {
        let before = told.lock().clone();
        let there = regions(api).await.context("reading")?;
        let missed: Vec<_> = before.difference(&there).collect();
        ensure!(missed.is_empty(), "a linearizable read missed {missed:?}");
    }
    Ok(())
}

/// Makes a region, once, however often it must be asked for.
pub async fn create_region(api: &Api, name: &str) -> Result<(), Status> {
    let order = CreateRegionRequest {
        request_id: request_id(),
        region: Some(Region {
            name: name.to_owned(),
            ..Default::default()
        }),
    };
    insist(async || {
        api.groups()
            .create_region(patiently(order.clone()))
            .await
            .map(drop)
    })
    .await
}

/// The names of all regions, of now.
async fn regions(api: &Api) -> Result<BTreeSet<String>, Status> {
    let level = Some(Level::Linearizable(Linearizable {}));
    let order = ListRegionsRequest {
        read: Some(ReadLevel { level }),
    };
    let listed = insist(|| async { api.groups().list_regions(patiently(order)).await }).await?;
    let regions = listed.into_inner().regions.into_iter();
    Ok(regions.map(|region| region.name).collect())
}

async fn insist<T, F>(ask: impl Fn() -> F) -> Result<T, Status>
where
    F: Future<Output = Result<T, Status>>,
{
    let mut last = Status::unavailable("never asked");
    for _ in 0..TRIES_MAX {
        match ask().await {
            Err(status) if Error::from(status.clone()).is_transient() => last = status,
            answered => return answered,
        }
    }
    Err(last)
}

fn patiently<T>(order: T) -> Request<T> {
    let mut request = Request::new(order);
    request.set_timeout(TRY_PATIENCE);
    request
}
