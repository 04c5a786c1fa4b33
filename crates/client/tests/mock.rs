//! A service's own tests, as its people would write them: no registry, and PostgreSQL only where it matters.

#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::time::{Duration, Instant};

use axum::{Router, body::Body, routing::get};
use http::{Request, StatusCode};
use reeve_client::{
    Access, Error, Failure, FleetMock, Refused, Selector, TenantDb, TenantLayer, select::Select, v1,
};
use sqlx::postgres::PgConnectOptions;
use tower::ServiceExt;

fn cho_ray() -> Selector {
    Selector::domain("cho-ray.example").unwrap()
}

/// A service as it is in production, but for the fleet that it is given.
fn app(mock: &FleetMock) -> Router {
    let read = async |db: TenantDb| -> Result<String, Refused> {
        db.read().await?;
        Ok(db.tenant().slug().to_owned())
    };
    Router::new()
        .route("/", get(read))
        .layer(TenantLayer::new(mock.fleet(), Select::domain()))
}

async fn status(app: &Router, host: &str) -> StatusCode {
    let request = Request::get("/")
        .header("host", host)
        .body(Body::empty())
        .unwrap();
    app.clone().oneshot(request).await.unwrap().status()
}

#[tokio::test]
async fn a_service_is_tested_through_its_own_door() {
    let mock = FleetMock::new();
    mock.tenant("cho-ray", [cho_ray()]);
    let app = app(&mock);
    assert_eq!(status(&app, "cho-ray.example").await, 200);
    assert_eq!(status(&app, "charite.example").await, 404);
    for (failure, code) in [
        (Failure::Unavailable, 503),
        (Failure::Busy, 503),
        (Failure::Suspended, 503),
        (Failure::Denied, 500),
    ] {
        mock.fail(&cho_ray(), failure);
        assert_eq!(status(&app, "cho-ray.example").await, code, "{failure:?}");
    }
    mock.mend(&cho_ray());
    assert_eq!(status(&app, "cho-ray.example").await, 200);
}

#[tokio::test]
async fn names_can_be_given_anew_and_the_tenant_stays_the_same() {
    let mock = FleetMock::default();
    let slug = Selector::slug("cho-ray").unwrap();
    let tenant = mock.tenant("cho-ray", [cho_ray()]);
    let other = mock.tenant("charite", [Selector::slug("charite").unwrap()]);
    assert_ne!(tenant, other);
    assert_eq!(mock.tenant("cho-ray", [slug.clone()]), tenant);
    let fleet = mock.fleet();
    assert_eq!(fleet.resolve(&slug).await.unwrap().tenant, tenant);
    let gone = fleet.resolve(&cho_ray()).await;
    assert!(matches!(gone, Err(Error::Unknown(_))), "{gone:?}");
    fleet.ready().await.unwrap();
}

#[tokio::test]
async fn pools_lead_nowhere_or_where_the_test_says() {
    let mock = FleetMock::new();
    let tenant = mock.tenant("cho-ray", [cho_ray()]);
    let fleet = mock.fleet();
    let found = fleet.resolve(&cho_ray()).await.unwrap();
    let pool = fleet.pool(&found, Access::Read).await.unwrap();
    let begun = Instant::now();
    assert!(pool.acquire().await.is_err());
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "it waits as if something could come"
    );

    let somewhere = PgConnectOptions::new_without_pgpass()
        .host("db.example")
        .database("visits");
    mock.database(&tenant, somewhere);
    let pool = fleet.pool(&found, Access::Write).await.unwrap();
    assert_eq!(pool.connect_options().get_database(), Some("visits"));
    fleet.close().await;
    assert!(pool.is_closed());
}

#[tokio::test]
async fn a_mock_has_no_registry_behind_it() {
    let fleet = FleetMock::new().fleet();
    let asked = fleet.api().access().who_am_i(v1::WhoAmIRequest {}).await;
    assert_eq!(asked.unwrap_err().code(), tonic::Code::Unavailable);
}
