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

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    /// The log's library tells of each flush once its log is longer than one file.
    #[test]
    fn what_libraries_do_for_each_change_is_not_told() {
        let filter = EnvFilter::builder().parse(Logs::default().filter).unwrap();
        let lines = tracing_subscriber::fmt().with_env_filter(filter).finish();
        tracing::subscriber::with_default(lines, || {
            assert!(
                !tracing::enabled!(target: "raft_log::raft_log::state_machine::payload_cache", Level::INFO)
            );
            assert!(tracing::enabled!(target: "raft_log::raft_log", Level::WARN));
            assert!(tracing::enabled!(target: "reeve_registry::consensus", Level::INFO));
        });
    }
}
