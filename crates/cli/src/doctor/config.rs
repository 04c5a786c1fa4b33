//! Which fleet is meant: the context file, and the context in it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{Check, Level};
use crate::context::{self, Context, Contexts};
use crate::session::Session;

const ABOUT: &str = "configuration";
const FILE: &str = "the context file is there";
const MODE: &str = "nobody else can change it";
const PARSES: &str = "it can be read";
const NAMED: &str = "it says which fleet is meant";

/// What is meant, and whatever is wrong with the way it is said. None when it is not said.
pub fn look(session: &Session) -> (Vec<Check>, Option<Context>) {
    let flags = session.flags();
    let all = [&flags.ca, &flags.cert, &flags.key];
    if !session.nodes().is_empty() && all.iter().all(|flag| flag.is_some()) {
        let check = Check::ok(
            "context",
            "flags say which fleet is meant",
            session.nodes().join(", "),
        );
        return (vec![check.about(ABOUT)], session.meant().ok());
    }
    let (checks, found) = match context::path() {
        Ok(path) => of_file(&path, flags.context.as_deref()),
        Err(error) => {
            let fix = "set REEVE_CONFIG to the context file";
            (
                vec![Check::failed("context_file", FILE, error.to_string(), fix)],
                false,
            )
        }
    };
    let checks = checks.into_iter().map(|check| check.about(ABOUT)).collect();
    // The flags that were given stand above what the context says.
    let meant = if found { session.meant().ok() } else { None };
    (checks, meant)
}

/// Whether the file says which fleet is meant.
pub(super) fn of_file(path: &Path, named: Option<&str>) -> (Vec<Check>, bool) {
    let shown = path.display();
    let enroll = "start a fleet with `reeve dev`, or enrol with `reeve cluster enroll`";
    let rest = [
        ("context_mode", MODE),
        ("context_parses", PARSES),
        ("context", NAMED),
    ];
    let rest = |from: usize| {
        rest.into_iter()
            .skip(from)
            .map(|(kind, what)| Check::skipped(kind, what))
    };
    let about = match fs::metadata(path) {
        Ok(about) => about,
        Err(error) => {
            let failed = Check::failed("context_file", FILE, format!("{shown}: {error}"), enroll);
            return ([failed].into_iter().chain(rest(0)).collect(), false);
        }
    };
    let mut checks = vec![
        Check::ok("context_file", FILE, shown.to_string()),
        mode(path, about.permissions().mode()),
    ];
    let contexts = match Contexts::load(path) {
        Ok(contexts) => contexts,
        Err(error) => {
            let fix = "mend that line; docs/cli.md shows how the file looks";
            checks.push(Check::failed("context_parses", PARSES, format!("{error:#}"), fix));
            checks.extend(rest(2));
            return (checks, false);
        }
    };
    checks.push(Check::ok(
        "context_parses",
        PARSES,
        contexts.contexts.keys().cloned().collect::<Vec<_>>().join(", "),
    ));
    let name = named.map(str::to_owned).or(contexts.current);
    let check = match name.as_ref().map(|name| (name, contexts.contexts.get(name))) {
        None => {
            let told = "it names no current context";
            Check::failed(
                "context",
                NAMED,
                told,
                "choose one with `reeve context use`, or name it with --context",
            )
        }
        Some((name, None)) => {
            let told = format!("it has no context {name}");
            Check::failed("context", NAMED, told, "`reeve context ls` shows those there are")
        }
        Some((name, Some(context))) if context.nodes.is_empty() => {
            let told = format!("context {name} names no node");
            Check::failed("context", NAMED, told, "name the nodes there, host:port")
        }
        Some((name, Some(context))) => {
            Check::ok("context", NAMED, format!("{name}: {}", context.nodes.join(", ")))
        }
    };
    let is_said = check.result == Level::Ok;
    checks.push(check);
    (checks, is_said)
}

/// It says where the key is and whom to trust: who can write it can send this machine to another fleet.
fn mode(path: &Path, mode: u32) -> Check {
    let fix = format!("chmod 600 {}", path.display());
    let told = format!("its mode is {:04o}", mode & 0o7777);
    match mode & 0o077 {
        0 => Check::ok("context_mode", MODE, told),
        open if open & 0o022 == 0 => Check::new("context_mode", MODE, Level::Warning)
            .told(format!("{told}: others can read it"))
            .fix(fix),
        _ => Check::failed("context_mode", MODE, format!("{told}: others can write it"), fix),
    }
}
