//! What the programs of other languages need: an interpreter, libraries, stubs of the API.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// A language that a program of ours is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    Python,
    Node,
}

/// Libraries as they were locked, and stubs that are made anew each time.
pub struct Tools {
    kept: PathBuf,
    stubs: tempfile::TempDir,
}

/// The workspace's root folder.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

impl Tools {
    /// Has them installed when they are not there yet.
    pub fn ready() -> Result<Tools> {
        let script = root().join("scripts/foreign.sh");
        let kept = output(&mut Command::new(script))?;
        let tools = Tools {
            kept: kept.trim().into(),
            stubs: tempfile::tempdir()?,
        };
        tools.make_stubs()?;
        Ok(tools)
    }

    /// A program of the language's folder.
    pub fn command(&self, language: Language, program: &str) -> tokio::process::Command {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut command = match language {
            Language::Python => Command::new(self.kept.join("python/bin/python")),
            Language::Node => Command::new("node"),
        };
        match language {
            Language::Python => command
                .env("PYTHONPATH", self.stubs.path())
                .env("PYTHONDONTWRITEBYTECODE", "1")
                .arg(folder.join(format!("python/{program}.py"))),
            // Here nodes and databases are addresses: that TLS has no name for those is said on each connection.
            Language::Node => command
                .env("NODE_PATH", self.kept.join("node_modules"))
                .env("REEVE_PROTO", root().join("proto"))
                .arg("--no-deprecation")
                .arg(folder.join(format!("node/{program}.js"))),
        };
        command.into()
    }

    fn make_stubs(&self) -> Result<()> {
        let proto = root().join("proto");
        let files = std::fs::read_dir(proto.join("reeve/v1"))?;
        let files: Vec<PathBuf> = files.map(|file| Ok(file?.path())).collect::<Result<_>>()?;
        let out = self.stubs.path().display();
        let mut protoc = Command::new(self.kept.join("python/bin/python"));
        protoc
            .args(["-m", "grpc_tools.protoc", "-I"])
            .arg(proto)
            .arg(format!("--python_out={out}"))
            .arg(format!("--grpc_python_out={out}"))
            .args(files);
        output(&mut protoc).map(drop)
    }
}

fn output(command: &mut Command) -> Result<String> {
    let ran = command.stderr(Stdio::inherit()).output();
    let ran = ran.with_context(|| format!("{command:?}"))?;
    ensure!(ran.status.success(), "{command:?} ended with {}", ran.status);
    Ok(String::from_utf8(ran.stdout)?)
}
