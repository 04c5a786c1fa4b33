//! A node's metrics, as Prometheus reads them.

use anyhow::{Context, Result, ensure};
use reeve_local::Node;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The value of the first line that begins with this name.
pub async fn metric(node: &Node, name: &str) -> Result<String> {
    let page = page(node).await?;
    let line = page.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.rsplit_once(' '));
    Ok(value
        .with_context(|| format!("node {} shows no {name}", node.id()))?
        .1
        .to_owned())
}

async fn page(node: &Node) -> Result<String> {
    let mut stream = TcpStream::connect(node.http()).await?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    ensure!(answer.contains(" 200 OK"), "node {}: {answer}", node.id());
    Ok(answer)
}
