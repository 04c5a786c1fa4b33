//! A webhook: keeps what it is sent, and may refuse for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

#[derive(Clone, Default)]
pub struct Heard {
    alerts: Arc<Mutex<Vec<Told>>>,
    refuses: Arc<AtomicBool>,
    refused: Arc<AtomicBool>,
}

/// One alert of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub kind: String,
    pub subject: String,
    pub status: String,
    pub starts_at: String,
}

impl Heard {
    pub fn all(&self) -> Vec<Told> {
        self.alerts.lock().clone()
    }

    /// The statuses that were told of a kind, in order; what was said twice counts once.
    pub fn of(&self, kind: &str) -> Vec<String> {
        let all = self.all().into_iter().filter(|told| told.kind == kind);
        let mut said: Vec<String> = all.map(|told| told.status).collect();
        said.dedup();
        said
    }

    pub fn refuse(&self, refuses: bool) {
        self.refuses.store(refuses, Ordering::SeqCst);
    }

    /// Whether it ever did.
    pub fn has_refused(&self) -> bool {
        self.refused.load(Ordering::SeqCst)
    }
}

/// Listens; where, and what it hears.
pub async fn listen() -> Result<(String, Heard)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/alerts", listener.local_addr()?);
    let heard = Heard::default();
    let hears = heard.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let hears = hears.clone();
            // A caller that dies in the middle has told nothing.
            tokio::spawn(async move { take(stream, &hears).await });
        }
    });
    Ok((url, heard))
}

async fn take(stream: TcpStream, heard: &Heard) -> Result<()> {
    let mut stream = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 || line == "\r\n" {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse()?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    let message: Value = serde_json::from_slice(&body)?;
    let answer = match heard.refuses.load(Ordering::SeqCst) {
        true => {
            heard.refused.store(true, Ordering::SeqCst);
            "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n"
        }
        false => {
            let told = message["alerts"]
                .as_array()
                .context("no alerts")?
                .iter()
                .map(told);
            heard.alerts.lock().extend(told);
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
        }
    };
    stream.get_mut().write_all(answer.as_bytes()).await?;
    Ok(())
}

fn told(alert: &Value) -> Told {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Told {
        kind: text(&alert["labels"]["alertname"]),
        subject: text(&alert["labels"]["subject"]),
        status: text(&alert["status"]),
        starts_at: text(&alert["startsAt"]),
    }
}
