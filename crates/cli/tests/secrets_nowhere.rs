//! No password, token or key stands in clear in any file that a fleet wrote, on any page that it shows, in any answer,
//! argument or environment: only in its own place, which nobody but its owner may read.

mod admin;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use admin::Admin;
use aho_corasick::AhoCorasick;
use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use reeve_client::v1::{GetCredentialRequest, Role};
use reeve_client::{Access, Fleet as Service};
use reeve_local::{Fleet, tenants};
use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

/// Of a longer secret this much is enough.
const ENOUGH: usize = 24;

/// What must be nowhere, and where each stands by right: ends of paths.
#[derive(Default)]
struct Secrets {
    all: BTreeMap<String, (Vec<u8>, Vec<&'static str>)>,
}

/// One thing that was written or said.
struct Said {
    whence: String,
    bytes: Vec<u8>,
}

impl Secrets {
    fn add(&mut self, name: impl Into<String>, secret: &[u8], at_home: &[&'static str]) -> Result<()> {
        let name = name.into();
        ensure!(secret.len() >= 16, "{name} is too short to be looked for");
        self.all.insert(name, (secret.to_vec(), at_home.to_vec()));
        Ok(())
    }

    /// Where each is found, in any of the ways in which bytes are written as text.
    fn search(&self, said: &[Said]) -> Result<BTreeMap<String, BTreeSet<String>>> {
        let (mut needles, mut names) = (Vec::new(), Vec::new());
        for (name, (secret, _)) in &self.all {
            for needle in ways(secret) {
                needles.push(needle);
                names.push(name);
            }
        }
        let search = AhoCorasick::new(&needles)?;
        let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for one in said {
            for hit in search.find_overlapping_iter(&one.bytes) {
                let name = names[hit.pattern().as_usize()].clone();
                found.entry(name).or_default().insert(one.whence.clone());
            }
        }
        Ok(found)
    }

    /// Each where it may be, and nowhere else.
    fn judge(&self, said: &[Said]) -> Result<()> {
        let mut odd = Vec::new();
        for (name, places) in self.search(said)? {
            let (_, at_home) = &self.all[&name];
            for place in places {
                if !at_home.iter().any(|home| place.ends_with(home)) {
                    odd.push(format!("{name}: {place}"));
                }
            }
        }
        ensure!(odd.is_empty(), "{odd:#?}");
        Ok(())
    }
}

/// A secret as it is, in hex, and inside base64 at each of the three offsets that it may begin at.
fn ways(secret: &[u8]) -> Vec<Vec<u8>> {
    let part = &secret[..secret.len().min(ENOUGH)];
    let hex = hex::encode(part);
    let mut ways = vec![part.to_vec(), hex.to_uppercase().into_bytes(), hex.into_bytes()];
    for offset in 0..3 {
        // The characters that neighbours have no part in.
        let padded: Vec<u8> = vec![0; offset].into_iter().chain(part.iter().copied()).collect();
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            let text = engine.encode(&padded);
            let from = (offset * 8).div_ceil(6);
            let to = padded.len() * 8 / 6;
            ways.push(text.as_bytes()[from..to].to_vec());
        }
    }
    ways
}

/// Every file below, but those that are not a file's own: sockets.
fn files(below: &Path, all: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(below)? {
        let entry = entry?;
        // PostgreSQL removes files of its own at any time.
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            files(&entry.path(), all)?;
        } else if kind.is_file() {
            all.push(entry.path());
        }
    }
    Ok(())
}

fn written(below: &Path) -> Result<Vec<Said>> {
    let mut all = Vec::new();
    files(below, &mut all)?;
    let read = all.into_iter().filter_map(|path| {
        let bytes = fs::read(&path).ok()?;
        Some(Said {
            whence: path.display().to_string(),
            bytes,
        })
    });
    Ok(read.collect())
}

/// What every process of the fleet was started with; and none may leave its memory behind.
fn processes(dir: &Path) -> Result<Vec<Said>> {
    let mut said = Vec::new();
    let mut ours = 0;
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        let Ok(command) = fs::read(path.join("cmdline")) else {
            continue;
        };
        let line = String::from_utf8_lossy(&command).replace('\0', " ");
        if !line.contains(&*dir.to_string_lossy()) {
            continue;
        }
        ours += 1;
        let limits = fs::read_to_string(path.join("limits"))?;
        let core = limits.lines().find(|line| line.starts_with("Max core file size"));
        let core = core.context("no such limit")?;
        ensure!(
            core.split_whitespace().filter(|word| *word == "0").count() == 2,
            "{line} may write its memory to a file: {core}"
        );
        for part in ["cmdline", "environ"] {
            said.push(Said {
                whence: format!("{part} of {line}"),
                bytes: fs::read(path.join(part))?,
            });
        }
    }
    ensure!(ours >= 5, "{ours} processes were looked at");
    Ok(said)
}

async fn page(address: &str) -> Result<Said> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut socket = tokio::net::TcpStream::connect(address).await?;
    let asked = "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    socket.write_all(asked.as_bytes()).await?;
    let mut bytes = Vec::new();
    socket.read_to_end(&mut bytes).await?;
    ensure!(bytes.windows(6).any(|w| w == b"reeve_"), "no page at {address}");
    Ok(Said {
        whence: format!("metrics of {address}"),
        bytes,
    })
}

/// The password in force, as a service is given it.
async fn password(service: &Service, domain: &str, secrets: &mut Secrets) -> Result<()> {
    let tenant = tenants::heard(service, domain).await?;
    let pool = service.pool(&tenant, Access::Write).await?;
    sqlx::query("SELECT 1").execute(&pool).await?;
    let asked = GetCredentialRequest {
        tenant_id: tenant.tenant.to_string(),
        ..Default::default()
    };
    let given = service.api().resolver().get_credential(asked).await?.into_inner();
    let name = format!("password {domain} v{}", given.version);
    secrets.add(name, given.password.as_bytes(), &[])?;

    // Turned away with the right name and a wrong password, which is near the right one.
    let write = tenant.write().cloned().context("nowhere to write")?;
    let wrong: String = given.password.chars().rev().collect();
    let options = PgConnectOptions::new_without_pgpass()
        .host(&write.host)
        .port(write.port)
        .database(tenant.database())
        .username(&given.role)
        .password(&wrong)
        .ssl_mode(PgSslMode::VerifyFull)
        .ssl_root_cert_from_pem(tenant.server_ca_pem().as_bytes().to_vec());
    ensure!(options.connect().await.is_err(), "a wrong password lets in");
    secrets.add(
        format!("wrong password {domain} v{}", given.version),
        wrong.as_bytes(),
        &[],
    )
}

/// Every private key that the fleet has on disk: at home where it was found, and readable by its owner alone.
fn keys(dir: &Path, secrets: &mut Secrets) -> Result<()> {
    let mut all = Vec::new();
    files(dir, &mut all)?;
    let mut known = 0;
    for path in all {
        let text = fs::read(&path).unwrap_or_default();
        let name = path.display().to_string();
        let Some(at) = text.windows(11).position(|w| w == b"PRIVATE KEY") else {
            continue;
        };
        let mode = fs::metadata(&path)?.permissions().mode() & 0o777;
        ensure!(mode & 0o077 == 0, "{name} is {mode:o}");
        let body: String = String::from_utf8_lossy(&text[at..])
            .lines()
            .skip(1)
            .take_while(|line| !line.starts_with('-'))
            .collect();
        let der = base64::engine::general_purpose::STANDARD.decode(body)?;
        // The beginning is the same in all of them, the middle is the secret.
        let middle = &der[der.len() / 2 - 12..][..ENOUGH.min(der.len() / 2)];
        let home: &'static str = Box::leak(name.clone().into_boxed_str());
        secrets.add(
            format!("key {name}"),
            middle,
            &[home, "/agent/identity/pg.key", "/pg/reeve_server.key"],
        )?;
        known += 1;
    }
    ensure!(known >= 5, "{known} keys were found");
    let root = fs::read_to_string(dir.join("root.key"))?;
    let root = hex::decode(root.trim())?;
    secrets.add("the root of all sealing", &root, &["/root.key"])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_written_or_shown_anywhere_but_at_home() -> Result<()> {
    let home = tempfile::tempdir()?;
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755))?;
    let dir = home.path().join("fleet");
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/examples/ehr");
    let loud = |settings: &str| -> Result<toml::Table> {
        // Everything that a program would say when somebody looks for a fault.
        Ok(toml::from_str(&format!(
            "{settings}\n[logs]\nfilter = \"trace,h2=info,openraft=info\""
        ))?)
    };
    let fleet = Fleet::builder()
        .regions(["vn"])
        .schema("ehr", examples)
        .dir(&dir)
        .node_settings(loud("[raft]\nsnapshot_entries = 20")?)
        .agent_settings(loud("[isolation]\nevery_s = 1")?)
        .start()
        .await?;
    let (admin, mut said) = (Admin::of(&fleet)?, Vec::new());
    let mut run = |words: &str| -> Result<()> {
        let (code, bytes) = admin.said(words)?;
        said.push(Said {
            whence: format!("reeve {words}"),
            bytes: bytes.into(),
        });
        // What is asked for and is not there is said as well.
        ensure!(
            words.contains("nowhere") || code == Some(0),
            "{words} ended with {code:?}"
        );
        Ok(())
    };
    let mut secrets = Secrets::default();

    run("tenant create cho-ray --region vn --domain cho-ray.example --channel ehr")?;
    run("tenant create hue --region vn --domain hue.example --channel ehr")?;
    let unused = fleet.token(Role::Service, "lab", "", &[]).await?;
    secrets.add("an unused token", unused.secret_text().as_bytes(), &[])?;
    let service = fleet.service_client("ehr", &[]).await?;
    service.ready().await?;
    for domain in ["cho-ray.example", "hue.example"] {
        password(&service, domain, &mut secrets).await?;
    }
    for words in ["secret rotate cho-ray --leaked", "secret rotate cho-ray --leaked"] {
        run(words)?;
        password(&service, "cho-ray.example", &mut secrets).await?;
    }
    run("isolation scan cho-ray")?;
    fleet.agent("vn-1")?.kill9()?;
    fleet.agent("vn-1")?.start()?;
    fleet.wait_whole().await?;
    run("tenant delete hue --confirm hue")?;
    let (snapshot, export, bundle) = (
        home.path().join("a.snapshot"),
        home.path().join("audit.jsonl"),
        home.path().join("bundle.tar.gz"),
    );
    for words in [
        "secret age --clients -o json".to_owned(),
        "secret rotate nowhere".to_owned(),
        "resolve cho-ray.example --explain".to_owned(),
        "resolve nowhere.example".to_owned(),
        "op ls -o json".to_owned(),
        "tenant ls -o json".to_owned(),
        "cluster status -o json".to_owned(),
        format!("cluster snapshot save {}", snapshot.display()),
        format!("audit export {}", export.display()),
        format!("debug bundle {}", bundle.display()),
    ] {
        run(&words)?;
    }
    ensure!(
        snapshot.exists() && export.exists() && bundle.exists(),
        "a file was not written"
    );

    keys(&dir, &mut secrets)?;
    said.extend(processes(&dir)?);
    for node in fleet.nodes() {
        said.push(page(node.http()).await?);
    }
    said.extend(written(home.path())?);
    let bytes: usize = said.iter().map(|one| one.bytes.len()).sum();
    println!(
        "{} secrets, {} things said, {} MB",
        secrets.all.len(),
        said.len(),
        bytes >> 20
    );
    secrets.judge(&said)?;
    let verifiers = said.iter().filter(|one| one.whence.contains("/pg/log/"));
    for log in verifiers {
        let text = String::from_utf8_lossy(&log.bytes);
        ensure!(!text.contains("SCRAM-SHA-256$"), "{} has a verifier", log.whence);
    }

    // The search finds what is there, in every way of writing it.
    let (name, (secret, _)) = secrets.all.first_key_value().context("no secret")?;
    for way in ways(secret) {
        let planted = Said {
            whence: "planted".to_owned(),
            bytes: [b"...".as_slice(), &way, b"..."].concat(),
        };
        let found = secrets.search(&[planted])?;
        ensure!(found.contains_key(name), "{name} is not found as {way:?}");
    }
    service.close().await;
    fleet.shutdown().await
}
