//! The budget and the order in which pools overtake each other; nothing is dialled.

use super::*;
use reeve_proto::v1::{self, tenant::State};

use crate::resolution::Words;

fn resolution(tenant: u8, placement: u64) -> Resolution {
    placed(tenant.into(), placement)
}

fn placed(tenant: u64, placement: u64) -> Resolution {
    let tenant = format!("t_{tenant:012x}");
    let wire = v1::Resolution {
        slug: "a".into(),
        state: State::Active.into(),
        region: "vn".into(),
        group: "g1".into(),
        placement_number: placement,
        epoch: 1,
        database: tenant.clone(),
        role: format!("{tenant}_a"),
        credential_version: 1,
        write: Some(v1::Endpoint {
            host: "127.0.0.1".into(),
            port: 1,
            ..Default::default()
        }),
        schema_version: 1,
        mod_revision: 1,
        tenant_id: tenant,
        ..Default::default()
    };
    Resolution::try_from(wire).unwrap()
}

fn pools(pools_max: usize, connections_max: u32) -> Pools {
    let limits = Limits {
        pools_max,
        connections_max,
        connections_per_pool_max: 4,
        patience: Duration::from_millis(200),
        ..Limits::default()
    };
    Pools::new(limits, "test".into(), tokio::sync::mpsc::unbounded_channel().0)
}

async fn get(pools: &Pools, resolution: &Resolution) -> Result<PgPool, Error> {
    let credential = GetCredentialResponse {
        role: resolution.role().to_owned(),
        password: "secret".into(),
        version: resolution.credential_version,
        server_ca_sha256: Vec::new(),
    };
    pools
        .get(resolution, Access::Write, || async { Ok(credential) })
        .await
}

#[tokio::test]
async fn the_budget_holds_over_all_pools() {
    let pools = pools(10, 8);
    let a = get(&pools, &resolution(1, 1)).await.unwrap();
    let b = get(&pools, &resolution(2, 1)).await.unwrap();
    assert_eq!(pools.budget.available_permits(), 0);
    let c = get(&pools, &resolution(3, 1)).await.unwrap();
    assert!(a.is_closed() && !b.is_closed() && !c.is_closed());
    let sizes = Sizes {
        pools: 2,
        ..Sizes::default()
    };
    assert_eq!(pools.sizes(), sizes, "nothing is dialled yet");
    assert_eq!(pools.tally.room_waits(), 1, "only the last had to make room");
    assert_eq!(pools.budget.available_permits(), 0);
    pools.close().await;
    assert!(b.is_closed() && c.is_closed());
    assert_eq!(pools.budget.available_permits(), 8);
}

/// Each of them would find an idle pool a moment later, and all of them together far too late.
#[tokio::test]
async fn a_crowd_does_not_wait_for_idle_pools_one_after_the_other() {
    let crowd = 2 * Limits::default().patience.as_millis() / LENT.as_millis();
    let limits = Limits {
        connections_max: 8,
        connections_per_pool_max: 4,
        ..Limits::default()
    };
    let pools = Pools::new(limits, "test".into(), tokio::sync::mpsc::unbounded_channel().0);
    let tenants: Vec<_> = (0..crowd as u64).map(|tenant| placed(tenant, 1)).collect();
    let all = futures::future::join_all(tenants.iter().map(|tenant| get(&pools, tenant))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(pools.sizes().pools, 2);
}

#[tokio::test]
async fn a_new_placement_closes_the_former_pool_and_refuses_the_former_wish() {
    let pools = pools(10, 100);
    let old = get(&pools, &resolution(1, 1)).await.unwrap();
    pools.supersede(&resolution(1, 2));
    tokio::time::timeout(Duration::from_secs(5), old.close_event())
        .await
        .unwrap();
    get(&pools, &resolution(1, 2)).await.unwrap();
    let refused = get(&pools, &resolution(1, 1)).await;
    assert!(matches!(refused, Err(Error::Superseded { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_pool_is_opened_once_however_many_ask() {
    let pools = pools(10, 100);
    let tenant = resolution(1, 1);
    let all = futures::future::join_all((0..20).map(|_| get(&pools, &tenant))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(pools.budget.available_permits(), 96);
}

#[tokio::test]
async fn nothing_is_opened_for_who_does_not_serve_or_with_a_foreign_credential() {
    let pools = pools(10, 100);
    let mut suspended = resolution(1, 1);
    suspended.state = State::Suspended;
    assert!(matches!(
        get(&pools, &suspended).await,
        Err(Error::NotServing { .. })
    ));
    let foreign = GetCredentialResponse {
        role: "t_other_a".into(),
        version: 1,
        ..Default::default()
    };
    let refused = pools
        .get(&resolution(1, 1), Access::Write, || async { Ok(foreign) })
        .await;
    assert!(matches!(refused, Err(Error::Superseded { .. })));
    assert_eq!(pools.budget.available_permits(), 100);
}

#[test]
fn the_pin_is_of_the_certificate() {
    assert!(is_pinned("", &[]));
    assert!(!is_pinned("", &[1; 32]));
}

/// The same place, with the next credential.
fn rotated(from: &Resolution) -> Resolution {
    Resolution {
        words: Words::new("a", &format!("{}_b", from.tenant), from.database(), []).unwrap(),
        credential_version: from.credential_version + 1,
        ..from.clone()
    }
}

#[tokio::test]
async fn a_pool_of_a_former_credential_stays_for_who_has_it_and_its_successor_goes_on_with_its_share() {
    let pools = pools(10, 4);
    let tenant = resolution(1, 1);
    let old = get(&pools, &tenant).await.unwrap();
    assert_eq!(pools.budget.available_permits(), 0);
    pools.supersede(&rotated(&tenant));
    let new = get(&pools, &rotated(&tenant)).await.unwrap();
    assert!(!old.is_closed() && !new.is_closed());
    let refused = get(&pools, &tenant).await;
    assert!(matches!(refused, Err(Error::Superseded { .. })), "{refused:?}");
    let held = pools.close().await;
    assert!(old.is_closed() && new.is_closed());
    assert_eq!(held.iter().map(|one| one.version).collect::<Vec<_>>(), [3]);
    assert_eq!(pools.budget.available_permits(), 4);
}

#[tokio::test]
async fn what_changed_while_it_was_opened_is_not_lent() {
    let pools = pools(10, 100);
    let tenant = resolution(1, 1);
    let unseal = || async {
        pools.supersede(&rotated(&tenant));
        Ok(GetCredentialResponse {
            role: tenant.role().to_owned(),
            version: tenant.credential_version,
            ..Default::default()
        })
    };
    let late = pools.get(&tenant, Access::Write, unseal).await;
    assert!(matches!(late, Err(Error::Superseded { .. })), "{late:?}");
    get(&pools, &rotated(&tenant)).await.unwrap();
}
