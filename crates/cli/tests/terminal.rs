//! What a person sees on a terminal of a given width, and what a program gets that is none: through a real one.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

const LONG: &str = "/somewhere/far/below/the/home/of/somebody/with/a/long/name/client.crt";

/// What stands on a terminal of this width, line by line.
fn seen(width: u16, config: &Path, words: &[&str]) -> Result<Vec<String>> {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
    grantpt(&ours)?;
    unlockpt(&ours)?;
    let size = Winsize {
        ws_row: 40,
        ws_col: width,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&ours, size)?;
    let name = ptsname(&ours, Vec::new())?;
    let theirs = File::options()
        .read(true)
        .write(true)
        .custom_flags(OpenptFlags::NOCTTY.bits() as i32)
        .open(Path::new(std::str::from_utf8(name.as_bytes())?))?;
    let mut child = reeve(config, words)
        .stdout(Stdio::from(theirs.try_clone()?))
        .stderr(Stdio::from(theirs))
        .spawn()?;
    let text = read_all(ours)?;
    ensure!(child.wait()?.success(), "{text}");
    Ok(text
        .lines()
        .map(|line| line.trim_end_matches('\r').to_owned())
        .collect())
}

/// Until nobody has the other end any more, which a terminal says with an error.
fn read_all(ours: OwnedFd) -> Result<String> {
    let mut file = File::from(ours);
    let mut all = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match file.read(&mut piece) {
            Ok(0) | Err(_) => return Ok(String::from_utf8(all)?),
            Ok(read) => all.extend_from_slice(&piece[..read]),
        }
    }
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
    // What was seen is what the error says.
    let told = |no_color: Option<&str>| -> Result<String> {
        let words = ["context", "use", "nobody"];
        let words = match no_color {
            Some(flag) => [&words[..], &[flag]].concat(),
            None => words.to_vec(),
        };
        let failed = seen(80, &config, &words).err().context("it did not fail")?;
        Ok(failed.to_string())
    };
    ensure!(told(None)?.contains(red), "{:?}", told(None)?);
    ensure!(!told(Some("--no-color"))?.contains('\u{1b}'));
    let piped = reeve(&config, &["context", "use", "nobody"]).output()?;
    ensure!(!String::from_utf8(piped.stderr)?.contains('\u{1b}'));
    Ok(())
}
