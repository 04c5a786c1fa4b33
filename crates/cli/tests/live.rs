//! The command line against a whole fleet: what a person would type, what it prints, how it exits.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// `reeve dev`, and a context of the test's own.
struct Dev {
    child: Child,
    said: BufReader<ChildStdout>,
    folder: tempfile::TempDir,
}

impl Dev {
    /// Starts it and waits for its banner.
    fn start() -> Dev {
        let folder = tempfile::tempdir().unwrap();
        let mut child = reeve(folder.path())
            .args(["dev", "--tenants", "1", "--examples"])
            .arg(examples())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        let ready = said
            .by_ref()
            .lines()
            .any(|line| line.unwrap().contains("Ctrl-C ends it"));
        assert!(ready, "the fleet did not come up");
        Dev { child, said, folder }
    }

    fn run(&self, args: &[&str]) -> (i32, String, String) {
        let Output {
            status,
            stdout,
            stderr,
        } = reeve(self.folder.path()).args(args).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (status.code().unwrap(), text(stdout), text(stderr))
    }

    /// Runs what must succeed.
    fn ok(&self, args: &[&str]) -> String {
        let (code, out, err) = self.run(args);
        assert_eq!(code, 0, "{args:?}\n{out}\n{err}");
        out
    }

    fn json(&self, args: &[&str]) -> serde_json::Value {
        let args = [args, &["-o", "json"]].concat();
        serde_json::from_str(&self.ok(&args)).unwrap()
    }

    /// Runs what must fail in this way.
    fn refused(&self, code: i32, reason: &str, args: &[&str]) {
        let (got, out, err) = self.run(args);
        assert_eq!(got, code, "{args:?}\n{out}\n{err}");
        assert!(err.contains(reason), "{args:?}: {reason} is missing in\n{err}");
    }
}

impl Dev {
    /// Ends it as Ctrl-C does; what it says then.
    fn end(&mut self) {
        kill_process(Pid::from_raw(self.child.id() as i32).unwrap(), Signal::INT).unwrap();
        let mut said = String::new();
        self.said.read_to_string(&mut said).unwrap();
        assert!(
            self.child.wait().unwrap().success() && said.ends_with("gone\n"),
            "{said}"
        );
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = kill_process(Pid::from_raw(self.child.id() as i32).unwrap(), Signal::TERM);
            let _ = self.child.wait();
        }
    }
}

fn reeve(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reeve"));
    command
        .env("REEVE_CONFIG", folder.join("config.toml"))
        .env("NO_COLOR", "1")
        .stdin(Stdio::null());
    command
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/examples")
}

#[test]
fn a_person_brings_a_hospital_in_looks_at_it_and_takes_it_out() {
    let mut dev = Dev::start();

    assert!(dev.ok(&["cluster", "status"]).contains("leader"));
    assert_eq!(
        dev.json(&["group", "ls"])["groups"].as_array().map(Vec::len),
        Some(2)
    );
    let created = [
        "tenant",
        "create",
        "my-clinic",
        "--region",
        "vn",
        "--domain",
        "my-clinic.example",
        "--channel",
        "ehr",
    ];
    dev.ok(&created);
    assert!(dev.ok(&["tenant", "ls"]).contains("my-clinic"));
    assert!(dev.ok(&["tenant", "get", "my-clinic"]).contains("my-clinic"));
    assert!(
        dev.ok(&["tenant", "status", "my-clinic"])
            .to_lowercase()
            .contains("active")
    );
    let why = dev.ok(&["resolve", "my-clinic.example", "--explain"]);
    assert!(why.contains("verify-full") && why.contains("my-clinic"), "{why}");
    assert!(dev.ok(&["resolve", "my-clinic"]).contains("vn-1"));

    let operations = dev.ok(&["op", "ls"]);
    let id = operations
        .split_whitespace()
        .find(|word| word.starts_with("op_"))
        .unwrap();
    assert!(dev.ok(&["op", "get", id]).contains("create_database"));
    dev.ok(&["op", "wait", id]);
    dev.ok(&["op", "watch", id]);
    assert!(
        dev.ok(&["audit", "tail", "--limit", "3"])
            .contains("member.report")
    );

    let span = ["--seconds", "1", "--warm-up", "0s"];
    let bench = |args: &[&str]| dev.json(&[&["bench"], args, &span].concat());
    let resolved = bench(&["resolve", "--in-flight", "4", "--level", "linearizable"]);
    assert!(
        resolved["count"].as_u64() > Some(0) && resolved["errors"] == serde_json::json!({}),
        "{resolved}"
    );
    assert_eq!(
        bench(&["write", "--in-flight", "4", "--changes-max", "20"])["count"],
        20
    );
    let watched = bench(&["watch", "--watchers", "3"]);
    assert!(watched["count"].as_u64() >= Some(3), "{watched}");
    dev.refused(1, "NOT_OFFERED", &[&["bench", "empty"][..], &span].concat());

    let export = dev.folder.path().join("audit.jsonl");
    let file = export.to_str().unwrap();
    dev.ok(&["audit", "export", file]);
    dev.ok(&["audit", "verify", file]);
    let mut bytes = std::fs::read(&export).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&export, bytes).unwrap();
    dev.refused(1, "line", &["audit", "verify", file]);

    dev.refused(4, "CLAIM_TAKEN", &created);
    dev.refused(
        2,
        "BAD_FIELD",
        &[
            "tenant",
            "create",
            "Bad_Slug",
            "--region",
            "vn",
            "--channel",
            "ehr",
        ],
    );
    dev.refused(
        3,
        "REGION_UNKNOWN",
        &["tenant", "create", "far", "--region", "mars", "--channel", "ehr"],
    );
    dev.refused(3, "TENANT_NOT_FOUND", &["resolve", "nobody.example"]);
    dev.refused(3, "OPERATION_NOT_FOUND", &["op", "get", "op_0000000000000000"]);
    dev.refused(
        8,
        "42P01",
        &[
            "tenant",
            "create",
            "ill-fated",
            "--region",
            "vn",
            "--channel",
            "ehr-broken",
        ],
    );
    dev.refused(
        2,
        "CONFIRMATION_MISSING",
        &["tenant", "delete", "my-clinic", "--confirm", "my-clinik"],
    );

    let token = dev.folder.path().join("vera.token");
    dev.ok(&[
        "cluster",
        "join-token",
        "--role",
        "auditor",
        "--name",
        "vera",
        "--out",
        token.to_str().unwrap(),
    ]);
    let nodes = dev.json(&["cluster", "status"])["nodes"][0]["api_address"]
        .as_str()
        .map(str::to_owned);
    let nodes = nodes.unwrap_or_else(|| panic!("{}", dev.json(&["cluster", "status"])));
    let enroll = [
        "cluster",
        "enroll",
        "--token-file",
        token.to_str().unwrap(),
        "--nodes",
        &nodes,
        "--name",
        "vera",
    ];
    dev.ok(&enroll);
    dev.ok(&["--context", "vera", "tenant", "ls"]);
    dev.refused(
        5,
        "PERMISSION_DENIED",
        &[
            "--context",
            "vera",
            "tenant",
            "delete",
            "my-clinic",
            "--confirm",
            "my-clinic",
        ],
    );
    dev.refused(
        5,
        "TOKEN_USED",
        &[
            "cluster",
            "enroll",
            "--token-file",
            token.to_str().unwrap(),
            "--nodes",
            &nodes,
            "--name",
            "eve",
        ],
    );
    assert!(dev.ok(&["context", "ls"]).contains("vera"));
    dev.ok(&["context", "use", "dev"]);

    dev.ok(&["tenant", "delete", "my-clinic", "--confirm", "my-clinic"]);
    dev.refused(3, "TENANT_NOT_FOUND", &["resolve", "my-clinic.example"]);

    dev.end();
    let left = std::fs::read_to_string(dev.folder.path().join("config.toml")).unwrap();
    assert!(
        !left.contains("[contexts.dev]") && left.contains("[contexts.vera]"),
        "{left}"
    );
}
