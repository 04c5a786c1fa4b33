//! What a person sees on a terminal of a given width, and what a program gets that is none: through a real one.

mod pty;

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use pty::Terminal;

const LONG: &str = "/somewhere/far/below/the/home/of/somebody/with/a/long/name/client.crt";

/// What stands on a terminal of this width, line by line.
fn seen(width: u16, config: &Path, words: &[&str]) -> Result<Vec<String>> {
    let (code, text) = Terminal::run(width, &mut reeve(config, words))?.ended()?;
    ensure!(code == Some(0), "{text}");
    Ok(text.lines().map(str::to_owned).collect())
}

fn reeve(config: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reeve"));
    command
        .args(words)
        .env("REEVE_CONFIG", config)
        .env_remove("NO_COLOR")
        .env_remove("COLUMNS")
        .stdin(Stdio::null());
    command
}

fn contexts(dir: &Path) -> Result<std::path::PathBuf> {
    let path = dir.join("config.toml");
    let one = |name: &str| {
        format!(
            "[contexts.{name}]\nnodes = [\"n1.{name}.example:7400\", \"n2.{name}.example:7400\"]\nca = \"/r\"\ncert = \"{LONG}\"\nkey = \"/k\"\n"
        )
    };
    std::fs::write(
        &path,
        format!("current = \"hospital\"\n{}{}", one("hospital"), one("clinic")),
    )?;
    Ok(path)
}

#[test]
fn a_table_fits_the_terminal_and_is_whole_elsewhere() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let config = contexts(dir.path())?;
    let narrow = seen(80, &config, &["context", "ls"])?;
    ensure!(narrow.len() == 3, "{narrow:#?}");
    for line in &narrow {
        ensure!(line.chars().count() <= 80, "{line}");
    }
    ensure!(
        narrow[1].contains("clinic") && narrow[1].ends_with('…'),
        "{narrow:#?}"
    );
    ensure!(narrow[2].starts_with("*  hospital"), "{narrow:#?}");

    let broad = seen(200, &config, &["context", "ls"])?;
    ensure!(broad.iter().skip(1).all(|line| line.contains(LONG)), "{broad:#?}");
    let wide = seen(80, &config, &["context", "ls", "-o", "wide"])?.concat();
    ensure!(wide.contains(LONG) && wide.contains("ROOT"), "{wide}");

    let piped = reeve(&config, &["context", "ls"]).output()?;
    let piped = String::from_utf8(piped.stdout)?;
    ensure!(
        piped.lines().map(str::to_owned).collect::<Vec<_>>() == broad,
        "{piped}"
    );
    Ok(())
}

#[test]
fn sentences_are_wrapped_inside_their_column() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let config = contexts(dir.path())?;
    for width in [60, 80, 200] {
        let lines = seen(width, &config, &["explain", "QUORUM_AT_RISK"])?;
        let lines: Vec<String> = lines.into_iter().take_while(|line| !line.is_empty()).collect();
        ensure!(
            lines.iter().all(|line| line.chars().count() <= width.into()),
            "{lines:#?}"
        );
        // No word is broken, and none is lost.
        let text = lines.join(" ");
        ensure!(
            text.contains("`force` strikes it off the roll all the same"),
            "{text}"
        );
    }
    Ok(())
}

#[test]
fn colours_are_for_terminals_that_want_them() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let config = contexts(dir.path())?;
    let red = "\u{1b}[31m";
    let words = ["context", "use", "nobody"];
    let told = |command: &mut Command| -> Result<String> {
        let (code, text) = Terminal::run(80, command)?.ended()?;
        ensure!(code != Some(0), "it did not fail");
        Ok(text)
    };
    let plain = told(&mut reeve(&config, &words))?;
    ensure!(plain.contains(red), "{plain:?}");
    ensure!(!told(reeve(&config, &words).arg("--no-color"))?.contains('\u{1b}'));
    ensure!(!told(reeve(&config, &words).env("NO_COLOR", "1"))?.contains('\u{1b}'));
    let piped = reeve(&config, &["context", "use", "nobody"]).output()?;
    ensure!(!String::from_utf8(piped.stderr)?.contains('\u{1b}'));
    Ok(())
}
