//! The system calls of a running process, as strace sees them, and faults that it puts into them.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// strace on one process, from `attach` to `end`.
pub struct Trace {
    strace: Child,
    out: PathBuf,
    _folder: tempfile::TempDir,
}

/// A call on a file, with the times between which it ran.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    pub name: String,
    pub path: String,
    pub began: Micros,
    pub ended: Micros,
    pub is_ok: bool,
}

/// Since 1970.
pub type Micros = u64;

pub fn now() -> Micros {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_micros() as Micros
}

impl Trace {
    /// Returns when it follows every thread. Further options are strace's own, such as `-e inject=…`.
    pub fn attach(pid: i32, calls: &str, options: &[&str]) -> Result<Trace> {
        let folder = tempfile::tempdir()?;
        let out = folder.path().join("trace");
        let mut strace = Command::new("strace")
            .args([
                "-f",
                "-ttt",
                "-T",
                "-y",
                "-s",
                "0",
                "-e",
                &format!("trace={calls}"),
            ])
            .args(options)
            .arg("-o")
            .arg(&out)
            .args(["-p", &pid.to_string()])
            .stderr(Stdio::piped())
            .spawn()
            .context("strace (a Debian package) is missing")?;
        let mut said = String::new();
        let stderr = strace.stderr.take().context("strace has no standard error")?;
        let mut stderr = BufReader::new(stderr);
        stderr.read_line(&mut said)?;
        ensure!(said.contains("attached"), "strace did not attach: {said}");
        // It names each thread that begins later. If nobody read on, it would end there and let go of the process.
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        Ok(Trace {
            strace,
            out,
            _folder: folder,
        })
    }

    /// Lets go of the process, which goes on.
    pub fn end(mut self) -> Result<Vec<Call>> {
        interrupt(&self.strace);
        let ended = self.strace.wait()?;
        let is_whole = ended.success() || ended.signal() == Some(Signal::INT.as_raw());
        ensure!(
            is_whole,
            "strace ended before it was told to, with {ended}: calls are missing"
        );
        Ok(parse(&std::fs::read_to_string(&self.out)?))
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        if let Ok(None) = self.strace.try_wait() {
            interrupt(&self.strace);
            let _ = self.strace.wait();
        }
    }
}

fn interrupt(strace: &Child) {
    // It may have ended with the process that it followed.
    kill_process(Pid::from_child(strace), Signal::INT).ok();
}

/// A call that another thread's came between is written in two halves.
fn parse(text: &str) -> Vec<Call> {
    let mut halves: HashMap<&str, &str> = HashMap::new();
    let mut calls = Vec::new();
    for line in text.lines() {
        let Some((thread, said)) = line.split_once(' ') else {
            continue;
        };
        let said = said.trim_start();
        if said.ends_with("<unfinished ...>") {
            halves.insert(thread, said);
        } else if let Some((_, rest)) = said.split_once("<... ") {
            calls.extend(halves.remove(thread).and_then(|first| call(first, rest)));
        } else {
            calls.extend(call(said, said));
        }
    }
    calls
}

/// `1763942400.123456 fdatasync(7</var/lib/…>) = 0 <0.000300>`: the time and the file stand in the first half.
fn call(first: &str, last: &str) -> Option<Call> {
    let (began, rest) = first.split_once(' ')?;
    let (name, args) = rest.split_once('(')?;
    let (_, path) = args.split_once('<')?;
    let (path, _) = path.split_once('>')?;
    let (_, result) = last.rsplit_once(" = ")?;
    let took = result.rsplit_once('<').map_or("0>", |(_, took)| took);
    let began = micros(began)?;
    Some(Call {
        name: name.to_owned(),
        path: path.to_owned(),
        began,
        ended: began + micros(took.trim_end_matches('>'))?,
        is_ok: !result.starts_with('-'),
    })
}

fn micros(seconds: &str) -> Option<Micros> {
    let seconds: f64 = seconds.parse().ok()?;
    Some((seconds * 1e6).round() as Micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_joined_and_failures_are_seen() {
        let text = "11 100.000001 fdatasync(7</d/wal/a.wal> <unfinished ...>\n\
                    12 100.000002 writev(8</d/x>, [...], 2) = 9 <0.000004>\n\
                    11 100.000005 <... fdatasync resumed>) = -1 EIO (Input/output error) (INJECTED) <0.000010>\n\
                    12 100.000009 +++ exited with 0 +++\n";
        let calls = parse(text);
        assert_eq!(calls.len(), 2);
        assert_eq!(
            (calls[0].name.as_str(), calls[0].ended, calls[0].is_ok),
            ("writev", 100_000_006, true)
        );
        assert_eq!((calls[1].path.as_str(), calls[1].is_ok), ("/d/wal/a.wal", false));
        assert_eq!(calls[1].ended - calls[1].began, 10);
    }

    #[test]
    fn a_trace_goes_on_when_its_process_begins_others() {
        const OTHERS: usize = 30;
        let folder = tempfile::tempdir().unwrap();
        let (go, said) = (folder.path().join("go"), folder.path().join("said"));
        let script = format!(
            "while [ ! -e {} ]; do :; done; for i in $(seq {OTHERS}); do (echo $i >>{}); done; exec sleep 60",
            go.display(),
            said.display()
        );
        let mut shell = Command::new("sh").args(["-c", &script]).spawn().unwrap();
        let trace = Trace::attach(shell.id() as i32, "write", &[]).unwrap();
        std::fs::write(go, "").unwrap();
        let lines = || std::fs::read_to_string(&said).map_or(0, |text| text.lines().count());
        while lines() < OTHERS {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let calls = trace.end().unwrap();
        shell.kill().unwrap();
        shell.wait().unwrap();
        let seen = calls.iter().filter(|call| call.path.ends_with("said")).count();
        assert_eq!(seen, OTHERS);
    }
}
