//! What a shell completes and what `man` shows, by a real shell and over every verb.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};

fn reeve(words: &[&str]) -> Result<Output> {
    let ran = Command::new(env!("CARGO_BIN_EXE_reeve"))
        .args(words)
        .stdin(Stdio::null())
        .output()?;
    ensure!(
        ran.status.success(),
        "{words:?}: {}",
        String::from_utf8_lossy(&ran.stderr)
    );
    Ok(ran)
}

/// What bash offers behind these words, the last of which is begun.
fn completed(script: &Path, words: &[&str]) -> Result<Vec<String>> {
    let line = words.join(" ");
    let listed: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let asked = format!(
        "source '{}'; COMP_WORDS=({}); COMP_CWORD={}; COMP_LINE='{line}'; COMP_POINT=${{#COMP_LINE}}; \
         $(complete -p reeve | sed -E 's/.*-F ([^ ]+).*/\\1/') reeve '{}' '{}'; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        script.display(),
        listed.join(" "),
        words.len() - 1,
        words[words.len() - 1],
        words[words.len() - 2],
    );
    let ran = Command::new("bash").args(["--norc", "-c", &asked]).output()?;
    ensure!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    Ok(String::from_utf8(ran.stdout)?
        .lines()
        .map(str::to_owned)
        .collect())
}

#[test]
fn bash_completes_nouns_verbs_and_options() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let script = dir.path().join("reeve");
    fs::write(&script, reeve(&["completion", "bash"])?.stdout)?;
    let read = Command::new("bash").arg("-n").arg(&script).status()?;
    ensure!(read.success(), "bash cannot read its script");
    ensure!(completed(&script, &["reeve", "ten"])? == ["tenant"]);
    ensure!(completed(&script, &["reeve", "tenant", "allow"])? == ["allowlist"]);
    ensure!(completed(&script, &["reeve", "cluster", "snapshot", "ver"])? == ["verify"]);
    ensure!(completed(&script, &["reeve", "op", "ls", "--st"])? == ["--state"]);
    let forms = completed(&script, &["reeve", "tenant", "ls", "--output", "j"])?;
    ensure!(forms == ["json", "jsonl"], "{forms:?}");
    ensure!(completed(&script, &["reeve", "completion", "z"])? == ["zsh"]);
    Ok(())
}

#[test]
fn each_shell_has_a_script_with_every_noun() -> Result<()> {
    for (shell, begins) in [("bash", "_reeve() {"), ("zsh", "#compdef reeve"), ("fish", "#")] {
        let script = String::from_utf8(reeve(&["completion", shell])?.stdout)?;
        ensure!(script.starts_with(begins), "{shell}: {}", &script[..80]);
        for noun in ["tenant", "cluster", "pgbouncer-ini", "completion"] {
            ensure!(script.contains(noun), "{shell} lacks {noun}");
        }
    }
    // Only who has them can try them.
    for shell in ["zsh", "fish"] {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("script");
        fs::write(&file, reeve(&["completion", shell])?.stdout)?;
        if let Ok(read) = Command::new(shell).arg("-n").arg(&file).status() {
            ensure!(read.success(), "{shell} cannot read its script");
        }
    }
    let odd = Command::new(env!("CARGO_BIN_EXE_reeve"))
        .args(["completion", "csh"])
        .output()?;
    ensure!(odd.status.code() == Some(2));
    Ok(())
}

#[test]
fn every_verb_has_a_page_that_man_can_show() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let pages = dir.path().join("man1");
    reeve(&["man", pages.to_str().context("no path")?])?;
    let verbs = verbs(&[])?;
    ensure!(verbs.len() > 60, "{verbs:?}");
    for verb in &verbs {
        let file = pages.join(format!(
            "{}.1",
            [&["reeve".to_owned()], &verb[..]].concat().join("-")
        ));
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        sane(&text).with_context(|| file.display().to_string())?;
    }
    ensure!(
        fs::read_dir(&pages)?.count() == verbs.len() + 1,
        "a page too many"
    );
    // Groff says what it does not know; without it the letters were looked at above.
    if Command::new("man").arg("--version").output().is_ok()
        && Command::new("groff").arg("--version").output().is_ok()
    {
        let page = pages.join("reeve-tenant-create.1");
        let shown = Command::new("man")
            .arg("--warnings")
            .arg("-l")
            .arg(&page)
            .env("MANPAGER", "cat")
            .env("MANWIDTH", "100")
            .output()?;
        let text = String::from_utf8_lossy(&shown.stdout).into_owned();
        ensure!(
            shown.status.success() && shown.stderr.is_empty(),
            "{}",
            String::from_utf8_lossy(&shown.stderr)
        );
        ensure!(text.contains("EXAMPLES"), "{text}");
    }
    let odd = Command::new(env!("CARGO_BIN_EXE_reeve"))
        .args(["man", "/proc/none"])
        .output()?;
    ensure!(odd.status.code() == Some(1) && String::from_utf8_lossy(&odd.stderr).contains("fix: "));
    Ok(())
}

/// Every noun and verb, as the help lists them.
fn verbs(above: &[String]) -> Result<Vec<Vec<String>>> {
    let words: Vec<&str> = above.iter().map(String::as_str).chain(["--help"]).collect();
    let help = String::from_utf8(reeve(&words)?.stdout)?;
    let mut found = Vec::new();
    let Some((_, listed)) = help.split_once("\nCommands:\n") else {
        return Ok(found);
    };
    for line in listed.lines().take_while(|line| !line.is_empty()) {
        // What is indented further goes on with the line above it.
        let is_name = line.starts_with("  ") && !line.starts_with("   ");
        let Some(name) = line
            .split_whitespace()
            .next()
            .filter(|name| is_name && *name != "help")
        else {
            continue;
        };
        let verb = [above, &[name.to_owned()]].concat();
        found.extend(verbs(&verb)?);
        found.push(verb);
    }
    Ok(found)
}

/// Title, name and synopsis, and examples for a verb whose lines stay lines; no line is a request by chance.
fn sane(text: &str) -> Result<()> {
    let known = [
        "TH", "SH", "TP", "RS", "RE", "PP", "nf", "fi", "ie", "el", "br", "SS", "IP",
    ];
    for line in text.lines().filter(|line| line.starts_with(['.', '\''])) {
        let request = line[1..].split_whitespace().next().unwrap_or_default();
        ensure!(known.contains(&request), "an unknown request: {line}");
    }
    for section in [".TH ", ".SH NAME", ".SH SYNOPSIS", ".SH DESCRIPTION"] {
        ensure!(text.contains(section), "{section} is missing");
    }
    if let Some((_, examples)) = text.split_once(".SH EXAMPLES\n") {
        ensure!(examples.starts_with(".nf\nreeve "), "{examples}");
    } else {
        ensure!(text.contains(".SH SUBCOMMANDS"), "a verb without examples");
    }
    Ok(())
}
