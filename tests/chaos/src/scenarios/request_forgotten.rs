//! A request is remembered for a day of the roll's own time: all clocks go on by most of a day and it is answered as the
//! first time; they go on past it, and whoever asks under the old id is told what is there now.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use reeve_client::v1::{CreateRegionRequest, Region};
use reeve_client::{Api, request_id};
use reeve_local::{Fleet, until};
use reeve_proto::identity::{Authority, Credentials, Issuer, KeyRequest, Kind, SpiffeId, Usage, ca};
use tonic::{Code, Status};

use crate::faults::clock::{HEARD, HOUR_S};
use crate::invariants::{audit_chain_whole, stamps_go_forward};
use crate::world::{World, registry};

const PATIENCE: Duration = Duration::from_secs(60);
/// A person's own certificate would end before the play does.
const LONG: Duration = Duration::from_secs(72 * 3_600);

pub async fn play() -> Result<()> {
    let world = World::with_clocks(registry(), 26).await?;
    let admin = Api::connect(&world.fleet.addresses(), &admin(&world.fleet)?)?;
    let order = region("remembered");
    create(&admin, &order).await?.context("the first time")?;

    go_on(&world, 23).await?;
    // Whatever happens meanwhile sweeps away what is too old.
    create(&admin, &region("most-of-a-day-later")).await??;
    create(&admin, &order).await?.context("within a day")?;

    go_on(&world, 25).await?;
    create(&admin, &region("a-day-later")).await??;
    let told = create(&admin, &order).await?.err();
    let told = told.context("a request of more than a day ago is answered as if it were new")?;
    ensure!(told.code() == Code::AlreadyExists, "{told}");
    // The roll's own clock stays where it is when the machines' clocks are right again.
    go_on(&world, 0).await?;
    stamps_go_forward::judge(&audit_chain_whole::observe(&world.fleet).await?)?;
    world.shutdown().await
}

/// So many hours from the beginning, on every node.
async fn go_on(world: &World, hours: i64) -> Result<()> {
    let clocks = world.clocks.as_ref().context("its clocks are gone")?;
    world
        .others(0)
        .iter()
        .try_for_each(|id| clocks.set(*id, hours * HOUR_S))?;
    tokio::time::sleep(HEARD).await;
    Ok(())
}

fn region(name: &str) -> CreateRegionRequest {
    CreateRegionRequest {
        request_id: request_id(),
        region: Some(Region {
            name: name.to_owned(),
            ..Default::default()
        }),
    }
}

/// What the registry says in the end.
async fn create(admin: &Api, order: &CreateRegionRequest) -> Result<Result<(), Status>> {
    until("an answer", PATIENCE, async || {
        match admin.groups().create_region(order.clone()).await {
            Ok(_) => Ok(Some(Ok(()))),
            Err(status) if status.code() == Code::AlreadyExists => Ok(Some(Err(status))),
            Err(status) => Err(status.into()),
        }
    })
    .await
}

/// The admin, with a certificate for days.
fn admin(fleet: &Fleet) -> Result<Credentials> {
    let read = |name: &str| std::fs::read_to_string(fleet.dir().join("ca").join(name));
    let root = Authority {
        cert_pem: read("root.crt")?,
        key_pem: read("root.key")?.into(),
    };
    let now = SystemTime::now();
    let issuing = ca::issuing(&root, fleet.cluster(), now)?;
    let issuer = Issuer::new(&issuing.cert_pem, &issuing.key_pem, &root.cert_pem)?;
    let id = SpiffeId::new(fleet.cluster(), Kind::Person("admin".to_owned()))?;
    let own = KeyRequest::generate()?;
    let issued = issuer.issue(&own.csr_pem, &id, &Usage::Client, LONG, now)?;
    Ok(Credentials::from_pem(
        &issued.chain_pem,
        &own.key_pem,
        &root.cert_pem,
    )?)
}
