//! Log lines on standard error, as text or as JSON.

use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, Logs};

/// Starts logging for the whole process; a second call changes nothing.
pub fn init(logs: &Logs) -> Result<(), tracing_subscriber::filter::ParseError> {
    let filter = EnvFilter::builder().parse(&logs.filter)?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // It fails only when somebody (a test) has started logging before, and then that one stays.
    let _ = match logs.format {
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
        LogFormat::Text => lines.with_ansi(false).try_init(),
    };
    Ok(())
}
