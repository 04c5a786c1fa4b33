//! The example `clinic`, as the process that it is: two hospitals of a real fleet, each by its host.
//!
//! ```text
//! this test ─HTTP─► clinic ─gRPC, mTLS─► three registry nodes, one of which is killed
//!                      └────SQL, TLS───► PostgreSQL: t_… of cho-ray, t_… of bach-mai
//! ```

use std::{
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING as P256, EcdsaKeyPair},
};
use futures::future::try_join_all;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, jwk::Jwk};
use reeve_client::v1::{Claim, claim, operation};
use reeve_local::{Clinic, Fleet, examples_dir, tenants};
use serde_json::json;

const HOSPITALS: [&str; 2] = ["cho-ray", "bach-mai"];
const ISSUER: &str = "https://id.example";
const PATIENCE: Duration = Duration::from_secs(60);
/// Requests on each side of the leader's death.
const REQUESTS_AROUND: usize = 20;

/// Whoever signs tokens for all hospitals.
struct Signer(EncodingKey);

impl Signer {
    fn new() -> Result<Signer> {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&P256, &SystemRandom::new())?;
        Ok(Signer(EncodingKey::from_ec_der(pkcs8.as_ref())))
    }

    fn jwks(&self) -> Result<String> {
        let jwk = Jwk::from_encoding_key(&self.0, Algorithm::ES256)?;
        Ok(json!({ "keys": [jwk] }).to_string())
    }

    fn token(&self, hospital: &str) -> Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let claims =
            json!({ "iss": ISSUER, "aud": "clinic", "sub": "dr-lan", "tid": hospital, "exp": now + 3600 });
        Ok(encode(&Header::new(Algorithm::ES256), &claims, &self.0)?)
    }
}

fn host(hospital: &str) -> String {
    format!("{hospital}.example")
}

/// Where cargo puts examples, beside the folder of its tests.
fn program() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let target = own.ancestors().nth(2).context("not in a target folder")?;
    Ok(target.join("examples/clinic"))
}

/// The latest patients of a hospital, which must answer by its own name.
async fn visits(clinic: &Clinic, hospital: &str) -> Result<Vec<String>> {
    let (answering, numbers) = clinic.visits(&host(hospital)).await?;
    ensure!(answering == hospital, "{answering} answers for {hospital}");
    Ok(numbers)
}

/// A hospital by its host, and by the name that the issuer has for it.
async fn onboard(fleet: &Fleet, hospital: &str) -> Result<()> {
    let mut order = tenants::order(hospital, &host(hospital), "vn", "ehr");
    order.claims.push(Claim {
        kind: claim::Kind::Subject.into(),
        key: format!("{ISSUER}|{hospital}"),
    });
    let operation = tenants::create(fleet.api(), order).await?;
    let ended = tenants::ended(fleet.api(), &operation.id, PATIENCE).await?;
    ensure!(ended.state() == operation::State::Done, "{hospital}: {ended:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hospitals_meet_only_their_own_rows_whatever_becomes_of_the_registry() -> Result<()> {
    let fleet = Fleet::builder()
        .schema("ehr", examples_dir()?.join("ehr"))
        .start()
        .await?;
    let signer = Signer::new()?;
    try_join_all(HOSPITALS.map(|hospital| onboard(&fleet, hospital))).await?;
    let jwks = fleet.dir().join("jwks.json");
    std::fs::write(&jwks, signer.jwks()?)?;
    let jwks = jwks.display().to_string();
    let settings = [("CLINIC_ISSUER", ISSUER), ("CLINIC_JWKS", &jwks)];
    let clinic = Clinic::start(&fleet, &program()?, &settings).await?;
    reeve_local::until("both hospitals to be known", PATIENCE, async || {
        for hospital in HOSPITALS {
            visits(&clinic, hospital).await?;
        }
        Ok(Some(()))
    })
    .await?;

    for (hospital, mrn) in HOSPITALS.into_iter().zip(["CR-0001", "BM-0001"]) {
        clinic.add_visit(&host(hospital), mrn).await?;
    }
    ensure!(visits(&clinic, "cho-ray").await? == ["CR-0001"]);
    ensure!(visits(&clinic, "bach-mai").await? == ["BM-0001"]);

    strangers_stay_outside(&clinic, &signer).await?;
    the_leader_dies_and_nobody_notices(&fleet, &clinic).await?;
    drop(clinic);
    fleet.shutdown().await
}

async fn strangers_stay_outside(clinic: &Clinic, signer: &Signer) -> Result<()> {
    let list = async |host: &str, token: Option<&str>| {
        let (status, answer) = clinic.ask("GET /visits", host, token, "").await?;
        anyhow::Ok((status, answer["reason"].as_str().unwrap_or_default().to_owned()))
    };
    let refused = |status, reason: &str| (status, reason.to_owned());
    ensure!(list("nobody.example", None).await? == refused(404, "TENANT_NOT_FOUND"));
    ensure!(list("127.0.0.1", None).await? == refused(421, "HOST_IS_ADDRESS"));

    let own = signer.token("cho-ray")?;
    ensure!(list("cho-ray.example", Some(&own)).await?.0 == 200);
    let mismatch = refused(403, "TENANT_MISMATCH");
    ensure!(list("bach-mai.example", Some(&own)).await? == mismatch);
    let unknown = signer.token("nobody")?;
    ensure!(list("bach-mai.example", Some(&unknown)).await? == mismatch);
    let forged = Signer::new()?.token("bach-mai")?;
    ensure!(list("bach-mai.example", Some(&forged)).await? == refused(401, "TOKEN_INVALID"));

    ensure!(clinic.ask("GET /healthz", "127.0.0.1", None, "").await? == (200, json!("ok")));
    let (_, page) = clinic.ask("GET /metrics", "127.0.0.1", None, "").await?;
    let page = page.as_str().context("no page")?;
    for line in [
        "reeve_client_tenant_mismatches_total 2",
        "reeve_client_watch_connected 1",
    ] {
        ensure!(page.lines().any(|shown| shown == line), "{line} is not in {page}");
    }
    let idle = page
        .lines()
        .find_map(|line| line.strip_prefix(r#"reeve_client_pool_connections{state="idle"} "#));
    ensure!(idle.context("no connections")?.parse::<u32>()? > 0, "{page}");
    Ok(())
}

async fn the_leader_dies_and_nobody_notices(fleet: &Fleet, clinic: &Clinic) -> Result<()> {
    let serve = async |count: usize| {
        for n in 0..count {
            for hospital in HOSPITALS {
                clinic.add_visit(&host(hospital), &format!("NEW-{n:04}")).await?;
                ensure!(visits(clinic, hospital).await?[0] == format!("NEW-{n:04}"));
            }
        }
        anyhow::Ok(())
    };
    serve(REQUESTS_AROUND).await?;
    let leader = fleet.leader().await?;
    leader.kill9()?;
    let (heir, served) = tokio::join!(fleet.leader(), serve(REQUESTS_AROUND));
    served.context("while nobody led")?;
    ensure!(heir?.id() != leader.id(), "the dead lead");
    serve(1).await.context("after another one leads")?;
    // Whom nobody asked for yet must be asked for: somebody answers still.
    let (status, _) = clinic.ask("GET /visits", "nobody-yet.example", None, "").await?;
    ensure!(status == 404, "a stranger is answered with {status}");
    Ok(())
}
