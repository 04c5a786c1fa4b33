//! The end of the process, where going on would lie.

use std::sync::Arc;

/// Ends the process when going on would lie.
#[derive(Clone)]
pub struct Fatal(Arc<dyn Fn(&str) + Send + Sync>);

impl Fatal {
    /// What to do; the process must not go on afterwards.
    pub fn new(end: impl Fn(&str) + Send + Sync + 'static) -> Fatal {
        Fatal(Arc::new(end))
    }

    /// Logs why and exits with status 70.
    #[allow(
        clippy::disallowed_methods,
        reason = "what would run on the way out could acknowledge what is not durable"
    )]
    pub fn exit() -> Fatal {
        Fatal::new(|why| {
            tracing::error!(why, "this node cannot go on");
            std::process::exit(70);
        })
    }

    /// Says why.
    pub fn raise(&self, why: &str) {
        (self.0)(why);
    }
}

impl std::fmt::Debug for Fatal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fatal")
    }
}
