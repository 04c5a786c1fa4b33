//! What is logged of requests. One test in a process of its own: others would decide which spans are looked at.

#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::{
    io,
    sync::{Arc, Mutex},
};

use axum::{Router, body::Body, routing::get};
use http::{HeaderName, Request};
use reeve_client::{
    Access, Failure, FleetMock, Selector, TenantLayer,
    select::{InvalidToken, Select, Verified, Verify},
};
use tower::ServiceExt;
use tracing_subscriber::fmt::format::FmtSpan;

/// Believes the slug that a token spells.
struct Spelled;

impl Verify for Spelled {
    fn verify(&self, token: &str) -> Result<Verified, InvalidToken> {
        Ok(Verified {
            tenant: Selector::slug(token).map_err(|_| InvalidToken::Malformed)?,
            claims: Default::default(),
        })
    }
}

#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<u8>>>);

impl io::Write for Said {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn ask(web: &Router, headers: &[(&str, &str)]) {
    let mut request = Request::get("/");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::empty()).unwrap();
    web.clone().oneshot(request).await.unwrap();
}

#[tokio::test]
async fn logs_name_tenants_by_their_ids_and_repeat_nothing_that_was_sent() {
    let said = Said::default();
    let to = said.clone();
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_env_filter("reeve_client=trace")
        .with_span_events(FmtSpan::CLOSE)
        .with_writer(move || to.clone())
        .init();
    let mock = FleetMock::new();
    let domain = |name: &str| Selector::domain(&format!("{name}.example")).unwrap();
    let slug = |name: &str| Selector::slug(name).unwrap();
    let cho_ray = mock.tenant("cho-ray", [domain("cho-ray"), slug("cho-ray")]);
    let charite = mock.tenant("charite", [domain("charite"), slug("charite")]);
    mock.fail(&domain("asleep"), Failure::Suspended);
    let select = Select::domain()
        .or(Select::header(HeaderName::from_static("x-tenant")))
        .or(Select::token(Spelled));
    let web = Router::new()
        .route("/", get(async || "in"))
        .layer(TenantLayer::new(mock.fleet(), select));

    let host = ("host", "cho-ray.example");
    ask(&web, &[host, ("authorization", "Bearer charite")]).await;
    ask(&web, &[host, ("x-tenant", "secret-word")]).await;
    ask(&web, &[("x-tenant", "secret-word")]).await;
    ask(&web, &[("host", "asleep.example")]).await;
    ask(&web, &[("authorization", "Bearer secret word")]).await;
    let found = mock.fleet().resolve(&domain("cho-ray")).await.unwrap();
    mock.fleet().pool(&found, Access::Read).await.unwrap();

    let said = String::from_utf8(said.0.lock().unwrap().clone()).unwrap();
    let lines = |part: &str| said.lines().filter(|line| line.contains(part)).count();
    let both = format!("first=domain tenant={cho_ray} second=token elsewhere={charite}");
    assert_eq!(lines(&both), 1, "{said}");
    assert_eq!(lines("names two tenants"), 2, "{said}");
    assert!(
        lines(&format!("resolve{{source=Registry tenant={cho_ray}}}")) > 0,
        "{said}"
    );
    assert!(
        lines(&format!("pool{{tenant={cho_ray} access=Read}}")) > 0,
        "{said}"
    );
    for sent in ["secret", "asleep", "charite", "cho-ray"] {
        assert!(!said.contains(sent), "{sent} is in\n{said}");
    }
}
