//! The example `clinic` of reeve-client as a process over a fleet: a web service of many hospitals.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reeve_client::v1::Role;
use reeve_client::{KeyRequest, join};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::process::Process;
use crate::{Fleet, free_ports, os, ready};

const NAME: &str = "clinic";
const PATIENCE: Duration = Duration::from_secs(60);

/// A running clinic; it ends with this value.
pub struct Clinic {
    process: Process,
    addr: String,
}

impl Clinic {
    /// Enrols it as a service, starts its program with these further settings, and waits until it listens.
    pub async fn start(fleet: &Fleet, program: &Path, settings: &[(&str, &str)]) -> Result<Clinic> {
        ensure!(
            program.is_file(),
            "{} is missing: cargo build -p reeve-client --example clinic",
            program.display()
        );
        let port = free_ports(1)?[0];
        let addr = format!("127.0.0.1:{port}");
        let mut env = identity(fleet).await?;
        env.push(("CLINIC_LISTEN".to_owned(), addr.clone()));
        env.push(("CLINIC_NODES".to_owned(), fleet.addresses().join(",")));
        env.extend(
            settings
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned())),
        );
        let log = fleet.dir().join("clinic.log");
        let process = Process::new(NAME, program, Vec::new(), log, fleet.ledger().clone()).with_env(env);
        process.start()?;
        let clinic = Clinic { process, addr };
        ready::until("the clinic to listen", PATIENCE, async || {
            clinic.process.ensure_running()?;
            clinic.ask("GET /healthz", "localhost", None, "").await.map(Some)
        })
        .await?;
        Ok(clinic)
    }

    /// One request to this host, with a bearer token or without; its status, and the answer, a text when it is no JSON.
    pub async fn ask(
        &self,
        request: &str,
        host: &str,
        token: Option<&str>,
        body: &str,
    ) -> Result<(u16, Value)> {
        let token = token.map_or_else(String::new, |token| format!("authorization: Bearer {token}\r\n"));
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
        Ok((status, serde_json::from_str(body).unwrap_or_else(|_| json!(body))))
    }

    /// A patient of this number comes to the hospital of this host.
    pub async fn add_visit(&self, host: &str, mrn: &str) -> Result<()> {
        let visit = json!({ "mrn": mrn, "family_name": "Lê", "given_name": "Lan", "reason": "fever" });
        let (status, answer) = self.ask("POST /visits", host, None, &visit.to_string()).await?;
        ensure!(status == 201, "{host}: {status} {answer}");
        Ok(())
    }

    /// The hospital that answers for this host, and the numbers of those who came last, the latest first.
    pub async fn visits(&self, host: &str) -> Result<(String, Vec<String>)> {
        let (status, answer) = self.ask("GET /visits", host, None, "").await?;
        ensure!(status == 200, "{host}: {status} {answer}");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let visits = answer["visits"].as_array().context("no visits")?;
        let numbers = visits.iter().map(|visit| text(&visit["mrn"])).collect();
        Ok((text(&answer["hospital"]), numbers))
    }
}

/// A service's own certificate and key, as files.
async fn identity(fleet: &Fleet) -> Result<Vec<(String, String)>> {
    let token = fleet.token(Role::Service, NAME, "", &[]).await?;
    let key = KeyRequest::generate()?;
    let identity = join::enroll(&fleet.addresses(), &token, &key).await?.identity;
    let files = [
        ("CLINIC_CERT", "clinic.crt", identity.chain_pem.as_str()),
        ("CLINIC_KEY", "clinic.key", key.key_pem.as_str()),
        ("CLINIC_ROOT", "clinic-root.crt", identity.root_pem.as_str()),
    ];
    let write = |(setting, name, text): (&str, &str, &str)| {
        let path = fleet.dir().join(name);
        os::write_secret(&path, text)?;
        Ok((setting.to_owned(), path.display().to_string()))
    };
    files.into_iter().map(write).collect()
}
