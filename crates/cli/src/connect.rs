//! A connection as the flags and the context say.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use reeve_client::{Api, Credentials, request_id};
use tonic::Request;

use crate::args::{Format, Global};
use crate::context;

/// The API, and how to print what it says.
pub struct Connection {
    pub api: Api,
    pub format: Format,
    pub quiet: bool,
    timeout: Duration,
    request_id: Option<String>,
}

impl Connection {
    /// Nothing is dialled yet.
    pub fn open(global: &Global) -> Result<Connection> {
        let contexts = context::read(&context::path()?)?;
        let name = global.context.clone().unwrap_or_else(|| contexts.current.clone());
        let known = contexts.contexts.get(&name);
        if global.context.is_some() && known.is_none() {
            bail!("no context {name}; `reeve context ls` shows them");
        }
        let known = known.cloned().unwrap_or_default();
        let nodes = if global.nodes.is_empty() { known.nodes } else { global.nodes.clone() };
        if nodes.is_empty() {
            bail!("no cluster is known here; start one with `reeve dev`, enrol with `reeve cluster enroll`, or give --nodes");
        }
        let file = |given: &Option<PathBuf>, known: PathBuf| given.clone().unwrap_or(known);
        let (cert, key, ca) =
            (file(&global.cert, known.cert), file(&global.key, known.key), file(&global.ca, known.ca));
        let credentials = Credentials::from_files(&cert, &key, &ca)
            .with_context(|| format!("the identity in {} cannot be used; enrol again", cert.display()))?;
        Ok(Connection {
            api: Api::connect(&nodes, &credentials)?,
            format: global.output,
            quiet: global.quiet,
            timeout: Duration::from_secs(global.timeout.max(1)),
            request_id: global.request_id.clone(),
        })
    }

    /// A call with its deadline.
    pub fn call<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.timeout);
        request
    }

    /// The id of a change: the one given, or a new one.
    pub fn request_id(&self) -> String {
        self.request_id.clone().unwrap_or_else(request_id)
    }
}
