//! The words on the command line, and where each of them leads.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{ArgMatches, Args as _, Command, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::fail::{Exit, Failure};
use crate::session::{Colour, Globals, Link, Session};
use crate::{
    alert, audit, bench, cluster, completion, contexts, debug, demo, dev, doctor, explain, form, group,
    isolation, mirror, op, principal, region, resolve, secret, tenant, version,
};

const AFTER_HELP: &str = "Examples:
  reeve dev                                     a whole fleet on this machine
  reeve tenant create cho-ray --region vn --domain cho-ray.example --channel ehr
  reeve resolve cho-ray.example --explain
  reeve audit export audit.jsonl && reeve audit verify audit.jsonl

Exit codes:
  0 ok                   4 conflict, precondition   8 operation failed, undone
  1 error                5 not allowed              9 operation needs a person
  2 usage                6 no quorum, unavailable   10 a check failed
  3 not found            7 waiting timed out        130 interrupted";

/// A fleet of tenants, each with a PostgreSQL database of its own.
#[derive(Debug, Parser)]
#[command(name = "reeve", version, after_help = AFTER_HELP, max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(flatten)]
    link: Link,
    #[command(subcommand)]
    noun: Noun,
}

#[derive(Debug, Subcommand)]
enum Noun {
    /// Customers, each with a database of its own
    Tenant(tenant::Tenant),
    Resolve(resolve::Resolve),
    ServiceFile(mirror::ServiceFile),
    PgbouncerIni(mirror::PgbouncerIni),
    /// Durable jobs, step by step
    Op(op::Op),
    /// Groups of PostgreSQL instances
    Group(group::Group),
    /// Jurisdictions, in which data lives
    Region(region::Region),
    /// Whether each tenant's walls stand
    Isolation(isolation::Isolation),
    /// What is wrong, and who looks after it
    Alert(alert::Alerting),
    /// Tenants' credentials: how old they are, and changing them
    Secret(secret::Secret),
    /// Who has an identity of the cluster
    Principal(principal::Principal),
    #[command(name = "whoami")]
    WhoAmI(principal::WhoAmI),
    /// The registry's own nodes, and who may join
    Cluster(cluster::Cluster),
    /// The record of every change
    Audit(audit::Audit),
    /// What somebody who helps needs to see
    #[command(subcommand)]
    Debug(debug::Verb),
    /// Measure what the registry bears
    Bench(bench::Bench),
    /// Which fleet is meant when none is named
    Context(contexts::Context),
    /// Run a whole fleet on this machine until Ctrl-C
    #[command(
        after_help = "Examples:\n  reeve dev\n  reeve dev --nodes 5 --regions vn,eu --tenants 8\n  reeve dev --persist ~/reeve-dev"
    )]
    Dev(dev::Args),
    /// Show what the fleet bears: eight hospitals and a bad day
    #[command(after_help = "Examples:\n  reeve demo\n  reeve demo --patients 100")]
    Demo(demo::Args),
    Doctor(doctor::Doctor),
    Explain(explain::Explain),
    Completion(completion::Completion),
    Man(completion::Manual),
    /// Say which version this is
    #[command(after_help = "Examples:\n  reeve version\n  reeve version -o json")]
    Version,
}

/// `dev` has a `--nodes` of its own (how many), so this one is given to the nouns that ask a registry.
const ASKING: [&str; 17] = [
    "tenant",
    "resolve",
    "service-file",
    "pgbouncer-ini",
    "op",
    "group",
    "region",
    "isolation",
    "alert",
    "secret",
    "principal",
    "whoami",
    "cluster",
    "audit",
    "debug",
    "bench",
    "doctor",
];

/// The whole command line.
pub fn command() -> Command {
    let command = Cli::command().mut_arg("nodes", |nodes| nodes.global(false));
    command.mut_subcommands(|noun| match ASKING.contains(&noun.get_name()) {
        true => with_nodes(noun),
        false => noun,
    })
}

/// The arguments bring their own words about themselves; the noun keeps its.
fn with_nodes(noun: Command) -> Command {
    let about = noun.get_about().cloned().unwrap_or_default();
    Link::augment_args(noun).about(about).long_about(None)
}

/// Does what the arguments say.
pub async fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let parsed = command().try_get_matches_from(arguments);
    let cli = match parsed.and_then(|matches| read(&matches)) {
        Ok(cli) => cli,
        Err(told) => {
            // Help and usage go where clap sends them; a closed stream has nobody to tell.
            let _ = told.print();
            return if told.use_stderr() { Exit::Usage } else { Exit::Ok }.into();
        }
    };
    let session = Session::new(cli.globals, cli.link);
    match lead(cli.noun, &session).await {
        Ok(()) => Exit::Ok.into(),
        Err(mut failure) => {
            if let (Exit::Unavailable, Some(id)) = (failure.exit, session.tried()) {
                failure.fix = format!(
                    "say it again with --request-id {id}: it then happens once, whatever became of this"
                );
            }
            session.complain(&format!("{} {failure}", session.paint(Colour::Red, "error:")));
            failure.exit.into()
        }
    }
}

fn read(matches: &ArgMatches) -> Result<Cli, clap::Error> {
    let cli = Cli::from_arg_matches(matches)?;
    let verb = verb(matches);
    match form::refuse(&verb, cli.globals.output, &cli.globals.columns) {
        Some(why) => Err(command().error(ErrorKind::InvalidValue, why)),
        None => Ok(cli),
    }
}

/// The words of the verb that was asked for.
fn verb(matches: &ArgMatches) -> String {
    let mut words = Vec::new();
    let mut at = matches;
    while let Some((word, below)) = at.subcommand() {
        words.push(word);
        at = below;
    }
    words.join(" ")
}

/// Visits every noun and verb below a command, each with the words that lead to it.
pub fn walk(command: &Command, path: &str, visit: &mut impl FnMut(&str, &Command)) {
    for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
        let path = format!("{path} {}", verb.get_name());
        visit(&path, verb);
        walk(verb, &path, visit);
    }
}

async fn lead(noun: Noun, session: &Session) -> Result<(), Failure> {
    match noun {
        Noun::Tenant(tenant) => tenant::run(tenant, session).await,
        Noun::Resolve(resolve) => resolve::run(resolve, session).await,
        Noun::ServiceFile(file) => mirror::service_file(file, session).await,
        Noun::PgbouncerIni(file) => mirror::pgbouncer_ini(file, session).await,
        Noun::Op(op) => op::run(op, session).await,
        Noun::Group(group) => group::run(group, session).await,
        Noun::Region(region) => region::run(region, session).await,
        Noun::Principal(principal) => principal::run(principal, session).await,
        Noun::WhoAmI(_) => principal::whoami(session).await,
        Noun::Isolation(isolation) => isolation::run(isolation, session).await,
        Noun::Alert(alert) => alert::run(alert, session).await,
        Noun::Secret(secret) => secret::run(secret, session).await,
        Noun::Cluster(cluster) => cluster::run(cluster, session).await,
        Noun::Audit(audit) => audit::run(audit, session).await,
        Noun::Debug(verb) => debug::run(verb, session).await,
        Noun::Bench(bench) => bench::run(bench, session).await,
        Noun::Context(context) => contexts::run(context, session).await,
        Noun::Dev(args) => Ok(dev::run(args).await?),
        Noun::Demo(args) => Ok(demo::run(args).await?),
        Noun::Doctor(args) => doctor::run(args, session).await,
        Noun::Explain(args) => explain::run(&args, session),
        Noun::Completion(args) => completion::completion(&args, session),
        Noun::Man(args) => completion::man(&args, session),
        Noun::Version => version::run(session),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Result<Cli, clap::Error> {
        read(&command().try_get_matches_from(words.split(' '))?)
    }

    #[test]
    fn every_noun_says_what_it_is() {
        let help = command().render_help().to_string();
        assert!(!help.contains("Which nodes to ask"), "{help}");
        assert!(help.contains("The record of every change"), "{help}");
    }

    #[test]
    fn every_verb_is_there_and_has_an_example() {
        let mut verbs = Vec::new();
        walk(&command(), "reeve", &mut |path, verb| {
            if verb.get_subcommands().next().is_none() {
                let help = verb.clone().render_long_help().to_string();
                assert!(help.contains("Examples:\n  reeve "), "{path} has no example");
                assert!(verb.get_about().is_some(), "{path} does not say what it does");
                verbs.push(path.trim_start_matches("reeve ").to_owned());
            }
        });
        let expected = [
            "tenant create",
            "tenant ls",
            "tenant get",
            "tenant status",
            "tenant set",
            "tenant allowlist",
            "tenant suspend",
            "tenant resume",
            "tenant delete",
            "resolve",
            "service-file",
            "pgbouncer-ini",
            "op ls",
            "op get",
            "op watch",
            "op wait",
            "op cancel",
            "op retry",
            "op limits",
            "group ls",
            "group get",
            "group fence",
            "group unfence",
            "region ls",
            "region create",
            "isolation report",
            "isolation scan",
            "isolation test",
            "alert ls",
            "alert ack",
            "alert test",
            "secret rotate",
            "secret age",
            "principal ls",
            "principal revoke",
            "whoami",
            "cluster init",
            "cluster status",
            "cluster members",
            "cluster check",
            "cluster add-node",
            "cluster remove-node",
            "cluster transfer-leader",
            "cluster join-token",
            "cluster enroll",
            "cluster snapshot save",
            "cluster snapshot verify",
            "cluster snapshot restore",
            "cluster recover",
            "audit tail",
            "audit export",
            "audit verify",
            "debug bundle",
            "bench resolve",
            "bench write",
            "bench watch",
            "bench onboard",
            "bench connect",
            "bench empty",
            "context ls",
            "context get",
            "context use",
            "context refresh",
            "dev",
            "demo",
            "doctor",
            "explain",
            "completion",
            "man",
            "version",
        ];
        assert_eq!(verbs, expected);
        command().debug_assert();
    }

    #[test]
    fn the_help_names_every_noun_and_every_exit_code() {
        let help = command().render_long_help().to_string();
        for noun in command().get_subcommands() {
            assert!(
                help.contains(&format!("\n  {}", noun.get_name())),
                "{}: {help}",
                noun.get_name()
            );
        }
        for code in [
            "0 ok",
            "7 waiting timed out",
            "8 operation failed",
            "9 operation needs",
            "10 a check failed",
            "130 interrupted",
        ] {
            assert!(help.contains(code), "{code}: {help}");
        }
    }

    #[test]
    fn nodes_may_be_named_before_and_after_the_verb() {
        for words in [
            "reeve --nodes a:1,b:2 tenant ls",
            "reeve tenant ls --nodes a:1,b:2",
            "reeve tenant --nodes a:1,b:2 ls",
        ] {
            assert_eq!(parse(words).unwrap().link.nodes, ["a:1", "b:2"], "{words}");
        }
        let cli = parse("reeve dev --nodes 5").unwrap();
        assert!(matches!(cli.noun, Noun::Dev(dev::Args { nodes: 5, .. })));
        assert!(cli.link.nodes.is_empty());
    }

    #[test]
    fn global_options_go_anywhere() {
        let cli = parse("reeve op wait op_1 -o json --timeout 90s -q --context dev").unwrap();
        assert_eq!(cli.globals.timeout, Some(std::time::Duration::from_secs(90)));
        assert_eq!(cli.globals.context.as_deref(), Some("dev"));
        assert!(cli.globals.quiet);
        assert!(parse("reeve op wait op_1 --timeout soon").is_err());
        assert!(
            parse("reeve cluster join-token --role agent --name vn-1").is_err(),
            "an agent stands somewhere"
        );
        assert!(parse("reeve cluster join-token --role node").is_ok());
        assert!(
            parse("reeve bench resolve --rate 0").is_err() && parse("reeve bench watch --rate 9").is_ok()
        );
        assert!(parse("reeve resolve").is_err() && parse("reeve resolve a --header x").is_err());
    }

    #[test]
    fn names_are_for_what_lists_and_nothing_is_changed_before_that_is_said() {
        for verb in ["tenant ls", "isolation report", "cluster members"] {
            assert!(parse(&format!("reeve {verb} -o name")).is_ok(), "{verb}");
        }
        let refused = parse("reeve cluster remove-node 3 -o name")
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains("it is for what lists things with names") && refused.contains("cluster members"),
            "{refused}"
        );
        assert!(
            parse("reeve cluster status --every 5s").is_err(),
            "every is for --watch"
        );
    }

    #[tokio::test]
    async fn words_that_are_no_command_are_a_usage_error() {
        let code = run(["reeve", "tenant", "destroy"].map(OsString::from)).await;
        assert_eq!(code, ExitCode::from(2));
        assert_eq!(
            run(["reeve", "version", "-q"].map(OsString::from)).await,
            ExitCode::from(0)
        );
    }
}
