//! A service without a watch warms up at a real registry, and goes on when that is gone.

use std::time::Duration;

use anyhow::{Result, ensure};
use reeve_client::{
    Error, Fleet, Selector, request_id,
    v1::{Role, SuspendTenantRequest, operation},
};
use reeve_local::{hand, tenants};

const HOSPITALS: [&str; 4] = ["cho-ray", "bach-mai", "viet-duc", "hue"];
/// All but Huế's belong to the service.
const SCOPE: [&str; 3] = ["cho-ray", "bach-mai", "viet-duc"];
const PATIENCE: Duration = Duration::from_secs(60);

async fn service(fleet: &reeve_local::Fleet, name: &str) -> Result<Fleet> {
    let credentials = fleet.enroll(Role::Service, name, &SCOPE).await?;
    let builder = Fleet::builder().nodes(fleet.addresses()).watch(false);
    Ok(builder.credentials(credentials).build()?)
}

fn domains(names: &[&str]) -> Result<Vec<Selector>, Error> {
    let of = |name: &&str| Selector::domain(&format!("{name}.example"));
    names.iter().map(of).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_warmed_up_is_found_when_no_node_is_left() -> Result<()> {
    let builder = reeve_local::Fleet::builder().nodes(1);
    let fleet = builder.regions([""; 0]).start().await?;
    let _hands = hand::region(&fleet, "vn", 1).await?;
    for name in HOSPITALS {
        let order = tenants::order(name, &format!("{name}.example"), "vn", "ehr");
        let operation = tenants::create(fleet.api(), order).await?;
        let ended = tenants::ended(fleet.api(), &operation.id, PATIENCE).await?;
        ensure!(ended.state() == operation::State::Done, "{name}: {ended:?}");
    }
    let suspend = SuspendTenantRequest {
        request_id: request_id(),
        tenant: "viet-duc".to_owned(),
        ..Default::default()
    };
    fleet.api().tenants().suspend_tenant(suspend).await?;

    let service = service(&fleet, "ehr").await?;
    let mut asked = domains(&HOSPITALS)?;
    // More than one call holds; they are nobody.
    let strangers = (0..1_100).map(|n| Selector::domain(&format!("h{n}.example")));
    asked.extend(strangers.collect::<Result<Vec<_>, _>>()?);
    asked.push(Selector::slug("cho-ray")?);
    let warm = service.warm_up(asked).await;
    ensure!(warm.known == 3, "{} known, {:?}", warm.known, warm.refused);
    // Who is somebody else's is nobody here.
    ensure!(warm.nobody.len() == 1_101 && warm.nobody.contains(&domains(&["hue"])?[0]));
    ensure!(
        matches!(&warm.refused[..], [(who, Error::NotServing { .. })] if *who == domains(&["viet-duc"])?[0]),
        "{:?}",
        warm.refused
    );

    let alone = service.resolve(&domains(&["bach-mai"])?[0]).await?;
    fleet.node(1)?.stop().await?;
    // What nobody has asked for, and what somebody has, is found alike.
    for name in ["cho-ray", "bach-mai"] {
        let found = service.resolve(&domains(&[name])?[0]).await?;
        ensure!(found.slug() == name && found.write() == alone.write());
    }
    let suspended = service.resolve(&domains(&["viet-duc"])?[0]).await;
    ensure!(suspended.is_err(), "{suspended:?}");
    fleet.shutdown().await
}
