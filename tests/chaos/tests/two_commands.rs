//! `reeve demo` and `reeve dev` as a person runs them: they end as they say, and nothing stays behind.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// The program beside this test's own.
fn reeve() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let dirs = std::env::var_os("REEVE_BIN_DIR").map(PathBuf::from);
    let dirs = dirs
        .into_iter()
        .chain(own.ancestors().skip(1).take(2).map(PathBuf::from));
    let mut found = dirs.map(|dir| dir.join("reeve")).filter(|path| path.is_file());
    found
        .next()
        .context("reeve is not built; build the workspace's programs first")
}

/// Where cargo puts the web service of the demonstration when it builds everything.
fn clinic() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    Ok(own
        .ancestors()
        .nth(2)
        .context("not in a target folder")?
        .join("examples/clinic"))
}

/// Processes that run out of a folder: nodes, agents, PostgreSQL.
fn running_in(dir: &str) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir("/proc")? {
        let path = entry?.path().join("cmdline");
        // Most of /proc are no processes, and some end while one looks.
        let command = std::fs::read(path).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        if command.contains(dir) {
            found.insert(command);
        }
    }
    Ok(found)
}

#[test]
fn the_demonstration_ends_by_itself_and_well() -> Result<()> {
    let home = tempfile::tempdir()?;
    let output = Command::new(reeve()?)
        .args(["demo", "--patients", "50", "--clinic"])
        .arg(clinic()?)
        .env("TMPDIR", reachable(&home)?)
        .stdin(Stdio::null())
        .output()?;
    let told = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "{told}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    ensure!(told.trim_end().ends_with("demo: ok"), "{told}");
    ensure!(told.contains("visits through the web service"), "{told}");
    let left = running_in(&home.path().display().to_string())?;
    ensure!(left.is_empty(), "still running: {left:?}");

    let output = Command::new(reeve()?)
        .args(["demo", "--examples", "/nowhere"])
        .output()?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(
        !output.status.success() && told.contains("/nowhere"),
        "no clear reason: {told}"
    );
    Ok(())
}

#[test]
fn a_development_fleet_is_gone_after_an_interrupt() -> Result<()> {
    let home = tempfile::tempdir()?;
    let context = home.path().join("config.toml");
    let mut dev = Command::new(reeve()?)
        .args(["dev", "--nodes", "1", "--regions", "vn", "--tenants", "1"])
        .env("TMPDIR", reachable(&home)?)
        .env("REEVE_CONFIG", &context)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(dev.stdout.take().context("no output")?).lines();
    let mut told = String::new();
    while !told.contains("Ctrl-C ends it") {
        told.push_str(&lines.next().context("it ended early")??);
        told.push('\n');
    }
    ensure!(told.contains("WARNING"), "{told}");
    ensure!(
        !running_in(&home.path().display().to_string())?.is_empty(),
        "nothing runs"
    );
    let listed = Command::new(reeve()?)
        .args(["tenant", "ls"])
        .env("REEVE_CONFIG", &context)
        .output()?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    ensure!(listed.contains("cho-ray"), "the context leads nowhere: {listed}");

    let pid = dev.id().to_string();
    ensure!(
        Command::new("kill").args(["-INT", &pid]).status()?.success(),
        "no interrupt"
    );
    let rest: Vec<String> = lines.collect::<Result<_, _>>()?;
    ensure!(dev.wait()?.success(), "{rest:?}");
    let left = running_in(&home.path().display().to_string())?;
    ensure!(left.is_empty(), "still running: {left:?}");
    Ok(())
}

/// The fleet's folder inside must be open to PostgreSQL's own user.
fn reachable(home: &tempfile::TempDir) -> Result<&std::path::Path> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o755))?;
    Ok(home.path())
}
