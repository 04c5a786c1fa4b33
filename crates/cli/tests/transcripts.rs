//! What the program says, letter by letter, against a real fleet: each noun's happy path, an error of it, and the forms.
//!
//! A file in `transcripts/` is a sitting at a shell; they are held one after the other, by name. `$` begins a command, `|` a line of standard output, `!` one of standard
//! error, `=` the exit code. `{op}` is the last operation's id, `{dir}` a folder. What is different each time has a name in
//! `<…>`. `UPDATE=1` writes the files anew; read the difference before it is kept.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reeve_local::{Fleet, examples_dir, tenants, until};
use regex::Regex;

const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_said_stays_as_it_was() -> Result<()> {
    let fleet = Fleet::builder()
        .cluster("hospital")
        .regions(["vn"])
        .schema("ehr", examples_dir()?.join("ehr"))
        .direct()
        .start()
        .await?;
    let order = tenants::order("cho-ray", "cho-ray.example", "vn", "ehr");
    let operation = tenants::create(fleet.api(), order).await?;
    tenants::ended(fleet.api(), &operation.id, PATIENCE).await?;
    let mut shell = Shell::of(&fleet)?;
    until("a round of the audit", PATIENCE, async || {
        let (_, _, code) = shell.ran("reeve isolation report")?;
        Ok((code == 0).then_some(()))
    })
    .await?;

    let mut odd = Vec::new();
    for file in transcripts()? {
        let before = fs::read_to_string(&file)?;
        let now = shell.sitting(&before)?;
        if now == before {
            continue;
        }
        match std::env::var_os("UPDATE") {
            Some(_) => fs::write(&file, &now)?,
            None => odd.push(format!("{}:\n{}", file.display(), difference(&before, &now))),
        }
    }
    ensure!(odd.is_empty(), "UPDATE=1 writes them anew\n{}", odd.join("\n"));
    Ok(())
}

fn transcripts() -> Result<Vec<PathBuf>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let files = fs::read_dir(folder)?.map(|file| Ok(file?.path()));
    let mut files = files.collect::<Result<Vec<PathBuf>>>()?;
    files.sort();
    Ok(files)
}

/// A shell in an empty folder, with the program and a context for the fleet.
struct Shell {
    dir: tempfile::TempDir,
    home: PathBuf,
    /// The last operation that was named.
    operation: String,
    ids: Regex,
    masks: Vec<(Regex, &'static str)>,
}

impl Shell {
    fn of(fleet: &Fleet) -> Result<Shell> {
        let dir = tempfile::tempdir()?;
        let home = dir.path().join("home");
        fs::create_dir_all(&home)?;
        let files = fleet.admin_files();
        let config = format!(
            "current = \"hospital\"\n[contexts.hospital]\nnodes = {:?}\nca = {:?}\ncert = {:?}\nkey = {:?}\n",
            fleet.addresses(),
            files.ca,
            files.cert,
            files.key
        );
        let path = home.join("config.toml");
        fs::write(&path, config)?;
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        let mut masks = vec![
            (literal(fleet.dir())?, "<fleet>"),
            (literal(dir.path())?, "<dir>"),
        ];
        for (pattern, name) in [
            (r#"((?i:etag)"?[:= ]\s*"?)[\w.]+"#, "${1}<etag>"),
            (r"\b15\.\d+\b", "<postgres>"),
            (r"\bt_[0-9a-f]{12}", "<tenant>"),
            (r"\bop_[0-9a-f]{16}", "<operation>"),
            (r"\ba_[0-9a-f]{16}", "<alert>"),
            (r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "<uuid>"),
            (r"\b[0-9a-f]{64}\b", "<sum>"),
            (r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "<time>"),
            (r"127\.0\.0\.1:\d{4,5}\b", "<node>"),
            (r#"("?(?i:port)"?[:=] ?)\d{4,5}\b"#, "${1}<port>"),
            (r"\b\d+(\.\d+)? (ms|s|min|h|d|days)\b", "<length>"),
            (r"\b\d+(\.\d+)? ([KMGT]i)?B\b", "<size>"),
            (
                r#"("?(?i:revision|mod_revision|staleness_ms|age_s|node_id|last_seen_ms|applied_index|matched_index|matched_ms|last_heard_ms|lag_entries|lag_bytes)"?[:=] ?)(\d+|null)"#,
                "${1}<n>",
            ),
            (r"(revision|changed at|index|term|xid age)(\s+)\d+", "$1$2<n>"),
        ] {
            masks.push((Regex::new(pattern)?, name));
        }
        Ok(Shell {
            dir,
            home,
            operation: String::new(),
            ids: Regex::new(r"\bop_[0-9a-f]{16}")?,
            masks,
        })
    }

    /// The transcript of the same commands, as they go now.
    fn sitting(&mut self, text: &str) -> Result<String> {
        let mut now = String::new();
        for line in text.lines() {
            let Some(command) = line.strip_prefix("$ ") else {
                if line.is_empty() || line.starts_with('#') {
                    now.push_str(&format!("{line}\n"));
                }
                continue;
            };
            let (out, err, code) = self.ran(command)?;
            now.push_str(&format!("{line}\n"));
            for (mark, text) in [('|', out), ('!', err)] {
                for line in text.lines() {
                    now.push_str(format!("{mark} {}", self.masked(line)).trim_end());
                    now.push('\n');
                }
            }
            now.push_str(&format!("= {code}\n"));
        }
        Ok(now)
    }

    fn ran(&mut self, command: &str) -> Result<(String, String, i32)> {
        let program = Path::new(env!("CARGO_BIN_EXE_reeve"));
        let beside = program.parent().context("the program is nowhere")?;
        let dir = self.dir.path().display().to_string();
        let command = command.replace("{op}", &self.operation).replace("{dir}", &dir);
        let ran = Command::new("/bin/sh")
            .args(["-c", &command])
            .current_dir(self.dir.path())
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", beside.display()))
            .env("HOME", &self.home)
            .env("REEVE_CONFIG", self.home.join("config.toml"))
            .stdin(Stdio::null())
            .output()?;
        let (out, err) = (String::from_utf8(ran.stdout)?, String::from_utf8(ran.stderr)?);
        if let Some(last) = self.ids.find_iter(&format!("{out}\n{err}")).last() {
            self.operation = last.as_str().to_owned();
        }
        let code = ran
            .status
            .code()
            .with_context(|| format!("{command} was killed"))?;
        Ok((out, err, code))
    }

    /// Without what is different each time; columns are two spaces apart, whatever stood in them.
    fn masked(&self, line: &str) -> String {
        let mut line = line.to_owned();
        for (pattern, name) in &self.masks {
            line = pattern.replace_all(&line, *name).into_owned();
        }
        let text = line.trim_start();
        let (indent, words) = (line.len() - text.len(), text.split("  "));
        let words: Vec<&str> = words.map(str::trim).filter(|word| !word.is_empty()).collect();
        format!("{}{}", " ".repeat(indent), words.join("  "))
    }
}

fn literal(path: &Path) -> Result<Regex> {
    Ok(Regex::new(&regex::escape(&path.display().to_string()))?)
}

/// The lines that are only in one of them.
fn difference(before: &str, now: &str) -> String {
    let lines = |text: &str| -> Vec<String> { text.lines().map(str::to_owned).collect() };
    let (before, now) = (lines(before), lines(now));
    let same = before
        .iter()
        .zip(&now)
        .take_while(|(one, other)| one == other)
        .count();
    let shown = |mark: char, lines: &[String]| -> String {
        let part = lines.iter().skip(same).take(12);
        part.map(|line| format!("{mark}{line}\n")).collect()
    };
    format!("line {}\n{}{}", same + 1, shown('-', &before), shown('+', &now))
}

#[test]
fn every_noun_has_a_transcript_with_an_error_and_every_form_is_seen() -> Result<()> {
    let mut all = String::new();
    for file in transcripts()? {
        let text = fs::read_to_string(&file)?;
        ensure!(text.contains("\n= 0\n"), "{} has no happy path", file.display());
        let failed = text.lines().any(|line| line.starts_with("= ") && line != "= 0");
        ensure!(failed, "{} has no error", file.display());
        all.push_str(&text);
    }
    let help = Command::new(env!("CARGO_BIN_EXE_reeve")).arg("--help").output()?;
    let help = String::from_utf8(help.stdout)?;
    let (_, nouns) = help.split_once("Commands:\n").context("no nouns")?;
    let nouns = nouns.lines().take_while(|line| !line.is_empty());
    let nouns = nouns.filter(|line| !line.starts_with("   "));
    for noun in nouns.filter_map(|line| line.split_whitespace().next()) {
        // These are whole fleets, and have tests of their own.
        if !["dev", "demo", "help"].contains(&noun) {
            ensure!(
                all.contains(&format!("$ reeve {noun}")),
                "{noun} is in no transcript"
            );
        }
    }
    for form in ["wide", "json", "jsonl", "yaml", "name", "env"] {
        ensure!(
            all.contains(&format!("-o {form}")),
            "-o {form} is in no transcript"
        );
    }
    Ok(())
}
