//! Which release this program is: its own version, and the cluster versions that it knows.
//!
//! A build with the feature `mutants` may stand in for another release: `REEVE_PRETEND_VERSION=9` makes it one that
//! knows the versions 1 to 9. What is different then is the set of versions, and with it the commands that it can read
//! and propose; everything else is this program.

use reeve_domain::Versions;

/// This program's own version, as people know it.
pub fn program() -> String {
    let version = env!("CARGO_PKG_VERSION");
    match known() == Versions::KNOWN {
        true => version.to_owned(),
        false => format!("{version}-as-{}", known().max),
    }
}

/// The cluster versions that this program knows.
#[cfg(not(feature = "mutants"))]
pub const fn known() -> Versions {
    Versions::KNOWN
}

/// The cluster versions that this program knows, or pretends to.
#[cfg(feature = "mutants")]
pub fn known() -> Versions {
    static PRETENDED: std::sync::OnceLock<Versions> = std::sync::OnceLock::new();
    *PRETENDED.get_or_init(|| {
        let asked = std::env::var("REEVE_PRETEND_VERSION").ok();
        let max = asked.and_then(|text| text.parse().ok());
        max.map_or(Versions::KNOWN, |max| Versions {
            min: Versions::KNOWN.min.min(max),
            max,
        })
    })
}

/// Refuses to run when a release was asked for that this build cannot stand in for.
pub fn check_pretence(asked: Option<&str>) -> Result<(), String> {
    match asked {
        Some(_) if cfg!(not(feature = "mutants")) => Err(
            "REEVE_PRETEND_VERSION asks for another release, and this program is only itself; \
             build it with the feature `mutants`"
                .to_owned(),
        ),
        Some(text) if text.parse::<u32>().is_err() => Err(format!(
            "REEVE_PRETEND_VERSION is {text:?}; it must be a cluster version"
        )),
        _ => Ok(()),
    }
}

/// Why this program cannot take part in a cluster at a version. One that is not founded yet has none.
pub fn check(version: u32) -> Result<(), String> {
    match version == 0 || known().holds(version) {
        true => Ok(()),
        false => Err(unfit(version)),
    }
}

fn unfit(version: u32) -> String {
    format!(
        "this cluster is at version {version}, and this program ({}) knows {}; {NEXT}",
        program(),
        known()
    )
}

/// What a person does about it.
pub const NEXT: &str =
    "install the program that the other nodes run and start this node again: it goes on from where it was";

/// What the next release would make of a command: under a name that begins with `next-` it says it in a new way.
#[cfg(feature = "mutants")]
pub(crate) fn rehearsed(command: reeve_domain::Command) -> reeve_domain::Command {
    use reeve_domain::Command;
    match command {
        Command::CreateRegion(region)
            if known().max > Versions::KNOWN.max && region.name.as_str().starts_with("next-") =>
        {
            Command::Rehearse(region)
        }
        command => command,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_that_this_program_does_not_know_is_named_with_what_to_do() {
        assert_eq!(check_pretence(None), Ok(()));
        assert!(check_pretence(Some("next")).is_err());
        assert_eq!(check(0), Ok(()));
        assert_eq!(check(Versions::KNOWN.max), Ok(()));
        let why = check(Versions::KNOWN.max + 1).unwrap_err();
        assert!(
            why.contains(&format!("at version {}", Versions::KNOWN.max + 1))
                && why.contains(env!("CARGO_PKG_VERSION")),
            "{why}"
        );
        assert!(why.contains("install the program"), "{why}");
    }
}
