//! A child process that says what it sees, as one JSON object a line.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// Far beyond what anything here takes; a program that ends is noticed at once.
const PATIENCE: Duration = Duration::from_secs(60);
/// The last lines are told when something is waited for in vain.
const LINES_SHOWN: usize = 12;

/// It ends with this value.
pub struct Program {
    child: Child,
    input: Option<ChildStdin>,
    lines: UnboundedReceiver<Result<Value>>,
    said: Vec<Value>,
}

impl Program {
    pub fn start(mut command: Command) -> Result<Program> {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("{command:?}"))?;
        let output = child.stdout.take().context("no output")?;
        let (send, lines) = unbounded_channel();
        // Read at once, always: who says something is never held up by who listens.
        tokio::spawn(async move {
            let mut output = BufReader::new(output).lines();
            while let Ok(Some(line)) = output.next_line().await {
                let read = serde_json::from_str(&line).with_context(|| format!("it said {line:?}"));
                if send.send(read).is_err() {
                    return;
                }
            }
        });
        Ok(Program {
            input: child.stdin.take(),
            child,
            lines,
            said: Vec::new(),
        })
    }

    /// Everything that it has said so far.
    pub fn said(&mut self) -> Result<&[Value]> {
        while let Ok(line) = self.lines.try_recv() {
            self.said.push(line?);
        }
        Ok(&self.said)
    }

    /// Waits until what it has said answers a question.
    pub async fn until<T>(&mut self, what: &str, answer: impl Fn(&[Value]) -> Option<T>) -> Result<T> {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = answer(self.said()?) {
                return Ok(found);
            }
            match tokio::time::timeout_at(end.into(), self.lines.recv()).await {
                Ok(Some(line)) => self.said.push(line?),
                Ok(None) => bail!("it ended before {what}; its last words:{}", self.last_words()),
                Err(_) => bail!(
                    "waited {PATIENCE:?} for {what}; its last words:{}",
                    self.last_words()
                ),
            }
        }
    }

    /// Closes its input and waits for its end, which must be a good one: all that it said.
    pub async fn leave(mut self) -> Result<Vec<Value>> {
        drop(self.input.take());
        let reading = async {
            while let Some(line) = self.lines.recv().await {
                self.said.push(line?);
            }
            anyhow::Ok(self.child.wait().await?)
        };
        let ended = tokio::time::timeout(PATIENCE, reading).await;
        let status = ended.with_context(|| format!("it did not end in {PATIENCE:?}"))??;
        ensure!(status.success(), "it ended with {status}:{}", self.last_words());
        Ok(self.said)
    }

    fn last_words(&self) -> String {
        let from = self.said.len().saturating_sub(LINES_SHOWN);
        self.said[from..]
            .iter()
            .map(|line| format!("\n  {line}"))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shell(script: &str) -> Program {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        Program::start(command).unwrap()
    }

    #[tokio::test]
    async fn a_program_is_heard_and_leaves_when_its_input_ends() {
        let mut program = shell(r#"echo '{"event":"here"}'; cat; echo '{"event":"left"}'"#);
        let count = program.until("a word", |said| Some(said.len()).filter(|count| *count > 0));
        assert_eq!(count.await.unwrap(), 1);
        let said = program.leave().await.unwrap();
        assert_eq!(said, [json!({"event": "here"}), json!({"event": "left"})]);
    }

    #[tokio::test]
    async fn one_that_ends_or_babbles_is_told() {
        let never = |_: &[Value]| None::<()>;
        let told = shell(r#"echo '{"a":1}'"#)
            .until("rain", never)
            .await
            .unwrap_err()
            .to_string();
        assert!(told.contains("rain") && told.contains(r#"{"a":1}"#), "{told}");
        assert!(shell("echo babble").until("rain", never).await.is_err());
        assert!(shell("exit 3").leave().await.is_err());
    }
}
