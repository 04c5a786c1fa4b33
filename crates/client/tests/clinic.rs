//! The example `clinic`, as the process that it is: two hospitals of a real fleet, each by its host.
//!
//! ```text
//! this test ─HTTP─► clinic ─gRPC, mTLS─► three registry nodes, one of which is killed
//!                      └────SQL, TLS───► PostgreSQL: t_… of cho-ray, t_… of bach-mai
//! ```

use std::{
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING as P256, EcdsaKeyPair},
};
use futures::future::try_join_all;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, jwk::Jwk};
use reeve_client::{
    KeyRequest, join,
    v1::{Claim, Role, claim, operation},
};
use reeve_local::{Fleet, examples_dir, tenants};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
};

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

/// The running service; it dies with this value.
struct Clinic {
    addr: String,
    _child: Child,
    _home: tempfile::TempDir,
}

impl Clinic {
    async fn start(fleet: &Fleet, signer: &Signer) -> Result<Clinic> {
        let home = tempfile::tempdir()?;
        let token = fleet.token(Role::Service, "clinic", "", &[]).await?;
        let key = KeyRequest::generate()?;
        let identity = join::enroll(&fleet.addresses(), &token, &key).await?.identity;
        let file = |name, text: &str| write(&home.path().join(name), text);
        let mut child = Command::new(program()?)
            .env("CLINIC_NODES", fleet.addresses().join(","))
            .env("CLINIC_LISTEN", "127.0.0.1:0")
            .env("CLINIC_CERT", file("clinic.crt", &identity.chain_pem)?)
            .env("CLINIC_KEY", file("clinic.key", &key.key_pem)?)
            .env("CLINIC_ROOT", file("root.crt", &identity.root_pem)?)
            .env("CLINIC_ISSUER", ISSUER)
            .env("CLINIC_JWKS", file("jwks.json", &signer.jwks()?)?)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let said = child.stdout.take().context("it says nothing")?;
        let mut lines = BufReader::new(said).lines();
        let first = tokio::time::timeout(PATIENCE, lines.next_line()).await??;
        let first = first.context("it ended before it listened")?;
        let addr = first
            .strip_prefix("listening on ")
            .context("not where it listens")?;
        Ok(Clinic {
            addr: addr.to_owned(),
            _child: child,
            _home: home,
        })
    }

    /// One request; its status, and what it was answered with.
    async fn ask(&self, request: &str, host: &str, token: Option<&str>, body: &str) -> Result<(u16, Value)> {
        let token = token.map_or_else(String::new, |t| format!("authorization: Bearer {t}\r\n"));
        let length = body.len();
        let text = format!(
            "{request} HTTP/1.1\r\nhost: {host}\r\n{token}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
        let asking = async {
            let mut stream = TcpStream::connect(&self.addr).await?;
            stream.write_all(text.as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            anyhow::Ok(answer)
        };
        let answer = tokio::time::timeout(PATIENCE, asking).await??;
        let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
        let status = head.split(' ').nth(1).context("no status")?.parse()?;
        // What is no JSON is a text.
        Ok((status, serde_json::from_str(body).unwrap_or_else(|_| json!(body))))
    }

    async fn add(&self, hospital: &str, mrn: &str) -> Result<(u16, Value)> {
        let visit = json!({ "mrn": mrn, "family_name": "Lê", "given_name": "Lan", "reason": "fever" });
        self.ask("POST /visits", &host(hospital), None, &visit.to_string())
            .await
    }

    /// The numbers of the patients who came, the last one first.
    async fn visits(&self, hospital: &str) -> Result<Vec<String>> {
        let (status, answer) = self.ask("GET /visits", &host(hospital), None, "").await?;
        ensure!(status == 200, "{hospital}: {status} {answer}");
        ensure!(answer["hospital"] == hospital, "{hospital}: {answer}");
        let visits = answer["visits"].as_array().context("no visits")?;
        let numbers = visits
            .iter()
            .map(|visit| visit["mrn"].as_str().unwrap_or_default());
        Ok(numbers.map(str::to_owned).collect())
    }
}

fn host(hospital: &str) -> String {
    format!("{hospital}.example")
}

fn write(path: &Path, text: &str) -> Result<PathBuf> {
    use std::io::Write;
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    Ok(path.to_owned())
}

/// Where cargo puts examples, beside the folder of its tests.
fn program() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let target = own.ancestors().nth(2).context("not in a target folder")?;
    let program = target.join("examples/clinic");
    ensure!(
        program.is_file(),
        "{} is missing: cargo build -p reeve-client --examples",
        program.display()
    );
    Ok(program)
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
    let clinic = Clinic::start(&fleet, &signer).await?;
    reeve_local::until("both hospitals to be known", PATIENCE, async || {
        for hospital in HOSPITALS {
            clinic.visits(hospital).await?;
        }
        Ok(Some(()))
    })
    .await?;

    for (hospital, mrn) in HOSPITALS.into_iter().zip(["CR-0001", "BM-0001"]) {
        let (status, answer) = clinic.add(hospital, mrn).await?;
        ensure!(status == 201, "{hospital}: {status} {answer}");
    }
    ensure!(clinic.visits("cho-ray").await? == ["CR-0001"]);
    ensure!(clinic.visits("bach-mai").await? == ["BM-0001"]);

    strangers_stay_outside(&clinic, &signer).await?;
    the_leader_dies_and_nobody_notices(&fleet, &clinic).await?;
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
                let (status, answer) = clinic.add(hospital, &format!("NEW-{n:04}")).await?;
                ensure!(status == 201, "{hospital}: {status} {answer}");
                ensure!(clinic.visits(hospital).await?[0] == format!("NEW-{n:04}"));
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
