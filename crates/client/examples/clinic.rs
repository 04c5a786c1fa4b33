//! A web service of many hospitals, each reached by its own host name and kept in a database of its own.
//!
//! ```text
//! GET  /healthz    whether it runs
//! GET  /metrics    for Prometheus: what its fleet does; how many requests named two hospitals
//! GET  /visits     the last visits of the hospital whose host was asked for
//! POST /visits     {"mrn": "CR-0001", "family_name": "Lê", "given_name": "Lan", "reason": "fever"}
//! ```
//! Its settings are in the environment: `CLINIC_NODES` (host:port, by commas), `CLINIC_CERT`, `CLINIC_KEY`, `CLINIC_ROOT`
//! (files of a service's identity), `CLINIC_LISTEN`. With `CLINIC_ISSUER` and `CLINIC_JWKS` (a file) a request may bring a
//! token of that issuer for the audience `clinic`; its claim `tid` must then lead to the hospital of the host.

use std::{env, fs, sync::Arc};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{StatusCode, header::CONTENT_TYPE};
use prometheus_client::{encoding::text::encode, registry::Registry};
use reeve_client::{
    Error, Fleet, IdentityFiles, Refused, TenantDb, TenantLayer,
    select::Select,
    token::{Issuer, TenantClaim, Tokens},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;

type Anything = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Anything> {
    let fleet = Fleet::builder()
        .nodes(setting("CLINIC_NODES")?.split(','))
        .identity(identity()?)
        .build()?;
    let hospitals = Router::new()
        .route("/visits", get(visits).post(add_visit))
        .layer(TenantLayer::new(fleet.clone(), select()?));
    let mut registry = Registry::default();
    fleet.register_metrics(&mut registry);
    // What is no hospital's stands outside the layer.
    let app = hospitals
        .route("/healthz", get(async || "ok"))
        .route("/metrics", get(metrics).with_state(Arc::new(registry)));
    let listen = env::var("CLINIC_LISTEN").unwrap_or_else(|_| "127.0.0.1:8080".to_owned());
    let listener = TcpListener::bind(listen).await?;
    println!("listening on {}", listener.local_addr()?);
    axum::serve(listener, app)
        .with_graceful_shutdown(async {
            // Without a way to be told it runs until it is killed.
            let _ = tokio::signal::ctrl_c().await;
        })
        .await?;
    fleet.close().await;
    Ok(())
}

fn setting(name: &str) -> Result<String, Anything> {
    env::var(name).map_err(|_| format!("{name} is not set").into())
}

/// Renewed while the service runs.
fn identity() -> Result<IdentityFiles, Anything> {
    let [cert, key, root] = ["CLINIC_CERT", "CLINIC_KEY", "CLINIC_ROOT"].map(setting);
    Ok(IdentityFiles::new(cert?, key?, root?))
}

/// By host; and when a token comes with the request, it must be of the same hospital.
fn select() -> Result<Select, Anything> {
    let (name, jwks) = match (setting("CLINIC_ISSUER"), setting("CLINIC_JWKS")) {
        (Err(_), Err(_)) => return Ok(Select::domain()),
        // One without the other is a mistake, and must not let tokens go unread.
        (name, jwks) => (name?, jwks?),
    };
    let issuer = Issuer {
        name,
        audience: "clinic".to_owned(),
        tenant: TenantClaim::OfIssuer("tid".to_owned()),
    };
    let tokens = Tokens::default().issuer(issuer, &fs::read_to_string(jwks)?)?;
    Ok(Select::domain().or(Select::token(tokens)))
}

#[derive(Deserialize)]
struct Visit {
    mrn: String,
    family_name: String,
    given_name: String,
    reason: String,
}

async fn visits(db: TenantDb) -> Result<Response, Failed> {
    let found: Vec<(String, String)> = sqlx::query_as(
        "SELECT mrn, reason FROM encounter JOIN patient ON patient.id = patient_id ORDER BY encounter.id DESC LIMIT 100",
    )
    .fetch_all(&db.read().await?)
    .await?;
    let visits: Vec<Value> = found
        .into_iter()
        .map(|(mrn, reason)| json!({ "mrn": mrn, "reason": reason }))
        .collect();
    Ok(answer(
        &json!({ "hospital": db.tenant().slug(), "visits": visits }),
    ))
}

async fn add_visit(db: TenantDb, body: Bytes) -> Result<Response, Failed> {
    let visit: Visit = serde_json::from_slice(&body).map_err(|_| Failed::Body)?;
    let mut change = db.write().await?.begin().await?;
    let (patient,): (i64,) = sqlx::query_as(
        "INSERT INTO patient (mrn, family_name, given_name, birth_date) VALUES ($1, $2, $3, DATE '1970-01-01')
         ON CONFLICT (mrn) DO UPDATE SET mrn = excluded.mrn RETURNING id",
    )
    .bind(&visit.mrn)
    .bind(&visit.family_name)
    .bind(&visit.given_name)
    .fetch_one(&mut *change)
    .await?;
    sqlx::query("INSERT INTO encounter (patient_id, reason) VALUES ($1, $2)")
        .bind(patient)
        .bind(&visit.reason)
        .execute(&mut *change)
        .await?;
    change.commit().await?;
    Ok((
        StatusCode::CREATED,
        answer(&json!({ "hospital": db.tenant().slug() })),
    )
        .into_response())
}

async fn metrics(State(registry): State<Arc<Registry>>) -> Result<String, StatusCode> {
    let mut page = String::new();
    encode(&mut page, &registry).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(page)
}

fn answer(value: &Value) -> Response {
    ([(CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

/// Why a handler could not do it.
enum Failed {
    Refused(Refused),
    Sql(sqlx::Error),
    Body,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Failed {
        Failed::Refused(error.into())
    }
}

impl From<sqlx::Error> for Failed {
    fn from(error: sqlx::Error) -> Failed {
        Failed::Sql(error)
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        match self {
            Failed::Refused(refused) => refused.into_response(),
            Failed::Body => StatusCode::UNPROCESSABLE_ENTITY.into_response(),
            Failed::Sql(error) => {
                // Its text may repeat a patient's data: neither an answer nor a log gets it.
                let code = error.as_database_error().and_then(|error| error.code());
                eprintln!(
                    "a query failed: {}",
                    code.as_deref().unwrap_or("no answer of PostgreSQL's")
                );
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }
}
