//! What every verb needs: the fleet that is meant, and where to speak.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use clap::Args;
use reeve_client::{Api, Credentials, IdentityFiles};
use tonic::Request;

use crate::context::{self, Contexts};
use crate::fail::{Exit, Failure};
use crate::form::Form;
use crate::show::{Look, Show, env, time};

/// Options of every verb.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Global options")]
pub struct Globals {
    /// The fleet and identity of this name in the context file
    #[arg(long, global = true, env = "REEVE_CONTEXT", value_name = "NAME")]
    pub context: Option<String>,
    /// Root certificate of the cluster (PEM)
    #[arg(long, global = true, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Your certificate (PEM)
    #[arg(long, global = true, value_name = "FILE")]
    pub cert: Option<PathBuf>,
    /// Its key (PEM)
    #[arg(long, global = true, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// How results are written: table, wide, json, jsonl, yaml, name, env
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORM",
        hide_possible_values = true
    )]
    pub output: Form,
    /// Only these columns of a table, in this order
    #[arg(long, global = true, value_delimiter = ',', value_name = "NAMES")]
    pub columns: Vec<String>,
    /// Tables without the line that names their columns
    #[arg(long, global = true)]
    pub no_headers: bool,
    /// Patience for an answer (30s unless told) or an operation (15m unless told)
    #[arg(long, global = true, value_parser = duration, value_name = "TIME")]
    pub timeout: Option<Duration>,
    /// Only results and errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// No colours; NO_COLOR says the same
    #[arg(long, global = true)]
    pub no_color: bool,
    /// Names a change, so that it happens once however often it is said
    #[arg(long, global = true, value_name = "ID")]
    pub request_id: Option<String>,
}

/// Which nodes to ask.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Global options")]
pub struct Link {
    /// Registry nodes to ask, host:port
    #[arg(long, global = true, value_delimiter = ',', value_name = "ADDRESSES")]
    pub nodes: Vec<String>,
}

/// One run of the program.
pub struct Session {
    globals: Globals,
    nodes: Vec<String>,
    api: OnceLock<Api>,
    request_id: OnceLock<String>,
}

const CALL_PATIENCE: Duration = Duration::from_secs(30);
const WAIT_PATIENCE: Duration = Duration::from_secs(15 * 60);

impl Session {
    pub fn new(globals: Globals, link: Link) -> Session {
        Session {
            globals,
            nodes: link.nodes,
            api: OnceLock::new(),
            request_id: OnceLock::new(),
        }
    }

    /// The registry, as the identity that is meant.
    pub fn api(&self) -> Result<&Api, Failure> {
        match self.api.get() {
            Some(api) => Ok(api),
            None => {
                let api = self.connect()?;
                Ok(self.api.get_or_init(|| api))
            }
        }
    }

    /// What was said beside the verb.
    pub fn flags(&self) -> &Globals {
        &self.globals
    }

    /// Nodes that were named by flag.
    pub fn nodes(&self) -> &[String] {
        &self.nodes
    }

    /// A call, with the patience that was asked for.
    pub fn ask<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.globals.timeout.unwrap_or(CALL_PATIENCE));
        request
    }

    /// How long an operation is waited for.
    pub fn patience(&self) -> Duration {
        self.globals.timeout.unwrap_or(WAIT_PATIENCE)
    }

    /// Names this run's change: as asked for, or anew.
    pub fn request_id(&self) -> String {
        let given = || self.globals.request_id.clone();
        let id = self
            .request_id
            .get_or_init(|| given().unwrap_or_else(reeve_client::request_id));
        id.clone()
    }

    /// The name of the change that was tried, if any.
    pub fn tried(&self) -> Option<&str> {
        self.request_id.get().map(String::as_str)
    }

    pub fn form(&self) -> Form {
        self.globals.output
    }

    /// Writes a result.
    pub fn print(&self, result: &impl Show) -> Result<(), Failure> {
        let text = match self.form() {
            Form::Table | Form::Wide => result.page().shown(&self.look())?,
            Form::Json => result.json(),
            Form::Jsonl => result.lines().join("\n"),
            Form::Yaml => result.yaml()?,
            Form::Name => result.names().join("\n"),
            Form::Env => env::env(result)?,
        };
        match text.is_empty() {
            true => Ok(()),
            false => self.out(&text),
        }
    }

    /// How tables are looked at. Only a terminal has a width: elsewhere nothing is shortened.
    pub fn look(&self) -> Look {
        let width = || terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| width.0.into());
        Look {
            wide: self.form() == Form::Wide,
            no_headers: self.globals.no_headers,
            columns: self.globals.columns.clone(),
            width: width(),
        }
    }

    /// Writes a line of results. A reader that has gone away has seen enough.
    pub fn out(&self, line: &str) -> Result<(), Failure> {
        self.put(&format!("{line}\n")).map(drop)
    }

    /// Writes a piece of results as it is; says whether somebody still reads.
    pub fn put(&self, text: &str) -> Result<bool, Failure> {
        let mut out = io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(Failure::error(
                "the result could not be written",
                error.to_string(),
            )),
        }
    }

    /// Whether somebody looks on who would like to see how far it is.
    pub fn is_watched(&self) -> bool {
        !self.globals.quiet && io::stderr().is_terminal()
    }

    /// Writes a message beside the results.
    pub fn say(&self, message: &str) {
        if !self.globals.quiet {
            self.complain(message);
        }
    }

    /// Writes a message that even --quiet does not hold back.
    pub fn complain(&self, message: &str) {
        // There is nowhere left to tell of a standard error that is closed.
        let _ = writeln!(io::stderr().lock(), "{message}");
    }

    /// Dresses a word in a colour, where colours are welcome.
    pub fn paint(&self, colour: Colour, word: &str) -> String {
        let is_unwelcome =
            self.globals.no_color || std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        if is_unwelcome || !io::stderr().is_terminal() {
            return word.to_owned();
        }
        format!("\u{1b}[{}m{word}\u{1b}[0m", colour as u8)
    }

    fn connect(&self) -> Result<Api, Failure> {
        let (nodes, credentials) = self.doors()?;
        Ok(Api::connect(&nodes, &credentials)?)
    }

    /// A registry's client of its own, which outlives the certificate when that is a service's.
    pub fn lasting(&self) -> Result<(Api, impl Future<Output = ()> + Send + 'static), Failure> {
        let (nodes, files) = self.identity()?;
        let credentials = load(&files)?;
        let api = Api::connect(&nodes, &credentials)?;
        Ok((api.clone(), files.keep_fresh(api, credentials)))
    }

    /// The nodes that are meant, and the identity to show them.
    pub fn doors(&self) -> Result<(Vec<String>, Credentials), Failure> {
        let (nodes, files) = self.identity()?;
        Ok((nodes, load(&files)?))
    }

    fn identity(&self) -> Result<(Vec<String>, IdentityFiles), Failure> {
        let meant = self.meant()?;
        Ok((meant.nodes, IdentityFiles::new(meant.cert, meant.key, meant.ca)))
    }

    /// The nodes and files that are meant: what flags say stands above what the context says.
    pub fn meant(&self) -> Result<context::Context, Failure> {
        let flags = &self.globals;
        let (nodes, ca, cert, key) = match (&flags.ca, &flags.cert, &flags.key) {
            (Some(ca), Some(cert), Some(key)) if !self.nodes.is_empty() => {
                (self.nodes.clone(), ca.clone(), cert.clone(), key.clone())
            }
            _ => {
                let (_, found) = self.context()?;
                let or = |flag: &Option<PathBuf>, found: PathBuf| flag.clone().unwrap_or(found);
                let nodes = if self.nodes.is_empty() {
                    found.nodes
                } else {
                    self.nodes.clone()
                };
                (
                    nodes,
                    or(&flags.ca, found.ca),
                    or(&flags.cert, found.cert),
                    or(&flags.key, found.key),
                )
            }
        };
        Ok(context::Context { nodes, ca, cert, key })
    }

    /// The context that is meant, and its name.
    pub fn context(&self) -> Result<(String, context::Context), Failure> {
        let path = context::path()?;
        let mut contexts = Contexts::load(&path)?;
        let fix = "start one with `reeve dev`, enrol with `reeve cluster enroll`, or name --nodes, --ca, --cert and --key";
        let Some(name) = self.globals.context.clone().or(contexts.current) else {
            let why = format!("{} names no current context", path.display());
            return Err(Failure::usage("it is not said which fleet is meant", why).fix(fix));
        };
        let Some(context) = contexts.contexts.remove(&name) else {
            let why = format!("{} does not name it", path.display());
            let failure = Failure::usage(format!("there is no context {name}"), why);
            return Err(failure.fix("`reeve context ls` shows them"));
        };
        Ok((name, context))
    }
}

fn load(files: &IdentityFiles) -> Result<Credentials, Failure> {
    let unusable = |why: String| {
        let fix = "enrol with `reeve cluster enroll`, or name others with --cert, --key and --ca";
        Failure::new(Exit::Auth, "your certificate cannot be used", why).fix(fix)
    };
    let credentials = files.credentials().map_err(|error| unusable(error.to_string()))?;
    // A node would only hang up.
    let (now, from, to) = (
        SystemTime::now(),
        credentials.not_before(),
        credentials.not_after(),
    );
    match now {
        now if now >= to => Err(unusable(format!("it ended at {}", time(Some(to.into()))))),
        now if now < from => {
            let why = format!(
                "it begins at {}, and this machine's clock says {}",
                time(Some(from.into())),
                time(Some(now.into()))
            );
            Err(unusable(why).fix("set this machine's clock, or wait"))
        }
        _ => Ok(credentials),
    }
}

#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub enum Colour {
    Red = 31,
    Green = 32,
    Yellow = 33,
}

/// Reads `90s`, `1m 30s` or `500ms`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let parsed: jiff::SignedDuration = text
        .parse()
        .map_err(|_| format!("{text:?} is no time; write it like 30s, 5m or 1h"))?;
    Duration::try_from(parsed).map_err(|_| format!("{text:?} is before now"))
}
