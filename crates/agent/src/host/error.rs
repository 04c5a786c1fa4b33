//! What PostgreSQL or the machine said no to. Never a statement, a DETAIL or a value: they may be a patient's.

use std::io;

/// Why the hand could not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Asking again will not help.
    #[error("{message}")]
    Permanent { code: String, message: String },
    /// It may work another time.
    #[error("{message}")]
    Retry { code: String, message: String },
}

impl Error {
    /// Asking again will not help.
    pub fn permanent(code: &str, message: impl ToString) -> Error {
        Error::Permanent {
            code: code.to_owned(),
            message: message.to_string(),
        }
    }

    /// It may work another time.
    pub fn retry(code: &str, message: impl ToString) -> Error {
        Error::Retry {
            code: code.to_owned(),
            message: message.to_string(),
        }
    }

    /// SQLSTATE, or a word of ours.
    pub fn code(&self) -> &str {
        match self {
            Error::Permanent { code, .. } | Error::Retry { code, .. } => code,
        }
    }

    /// Whether asking again is useless.
    pub fn is_permanent(&self) -> bool {
        matches!(self, Error::Permanent { .. })
    }

    /// The same, said of something.
    pub fn of(self, what: impl std::fmt::Display) -> Error {
        match self {
            Error::Permanent { code, message } => Error::Permanent {
                code,
                message: format!("{what}: {message}"),
            },
            Error::Retry { code, message } => Error::Retry {
                code,
                message: format!("{what}: {message}"),
            },
        }
    }

    /// The same, and asking again is useless.
    pub fn for_good(self) -> Error {
        match self {
            Error::Retry { code, message } | Error::Permanent { code, message } => {
                Error::Permanent { code, message }
            }
        }
    }
}

/// Whether a SQLSTATE passes by itself: connections, resources, locks, shutdowns, serialization, and a database that
/// somebody else is just making.
fn passes(code: &str) -> bool {
    ["08", "40", "53", "57", "58"]
        .iter()
        .any(|class| code.starts_with(class))
        || code == "42P04"
        || code == "55P03"
        || code == "55006"
}

/// The SQLSTATE with which PostgreSQL refused; none when it did not get so far.
pub fn sqlstate_of(error: &sqlx::Error) -> Option<String> {
    let refused = error.as_database_error()?;
    refused.code().map(|code| code.into_owned())
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Error {
        let sqlx::Error::Database(refused) = &error else {
            // Sockets, TLS and protocol: none of it holds a value.
            return Error::retry("CONNECTION", "PostgreSQL does not answer");
        };
        let code = refused.code().map(|c| c.into_owned()).unwrap_or_default();
        let relation = refused
            .table()
            .map(|t| format!(" at relation {t}"))
            .unwrap_or_default();
        let message = format!("PostgreSQL refused it with SQLSTATE {code}{relation}");
        match passes(&code) {
            true => Error::Retry { code, message },
            false => Error::Permanent { code, message },
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        Error::retry(
            "DISK",
            format!("a file or process of the instance failed: {error}"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_by_itself_is_tried_again() {
        for code in ["08006", "40001", "53300", "55P03", "57P03"] {
            assert!(passes(code), "{code}");
        }
        for code in ["42501", "42P01", "23505", "28000"] {
            assert!(!passes(code), "{code}");
        }
        let error = Error::permanent("42P01", "refused").of("V003__x.sql");
        assert_eq!(
            (error.to_string().as_str(), error.code()),
            ("V003__x.sql: refused", "42P01")
        );
        assert!(Error::retry("X", "y").for_good().is_permanent());
    }
}
