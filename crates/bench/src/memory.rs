//! What a process holds in memory, and what a node says of itself over HTTP.

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The resident set of a process, in bytes.
pub fn resident(pid: i32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))
        .with_context(|| format!("reading the memory of {pid}"))?;
    parse(&status).with_context(|| format!("no VmRSS in {status:?}"))
}

fn parse(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1_024)
}

/// One plain HTTP answer, head and body.
pub async fn http_get(address: &str, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let asked = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(asked.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// The value of a metric whose labels hold this word; 0 while there is none.
pub fn metric(page: &str, name: &str, label: &str) -> f64 {
    let quoted = format!("\"{label}\"");
    let mut lines = page
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix('{'));
    let value = lines.find_map(|rest| {
        let (labels, value) = rest.split_once('}')?;
        labels
            .contains(&quoted)
            .then(|| value.trim().parse().ok())
            .flatten()
    });
    value.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_bytes_and_a_process_that_is_not_there_has_none() {
        assert_eq!(
            parse("Name:\ta\nVmRSS:\t     12 kB\nVmData: 1 kB\n"),
            Some(12_288)
        );
        assert_eq!(parse("Name:\ta\n"), None);
        assert!(resident(i32::try_from(std::process::id()).unwrap()).unwrap() > 0);
        assert!(resident(-1).is_err());
    }

    #[test]
    fn a_metric_is_told_by_its_label() {
        let page =
            "# TYPE a_sum\na_sum{op=\"install\"} 1\na_sum{op=\"write\"} 2.5\na_sum_more{op=\"write\"} 9\n";
        assert_eq!(metric(page, "a_sum", "write"), 2.5);
        assert_eq!(metric(page, "a_sum", "read"), 0.0);
    }
}
