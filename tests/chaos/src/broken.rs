//! The word of a promise that was broken, told apart from a play that could not be played to its end.

/// What must not be, and was seen.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Broken(pub String);

impl Broken {
    /// What a judge of a history found.
    pub fn found(by: anyhow::Error) -> anyhow::Error {
        Broken(format!("{by:#}")).into()
    }
}

/// Whether it says that a promise was broken. Any other error shows nothing, for or against.
pub fn is_broken(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.is::<Broken>())
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, Result, bail};

    use super::*;

    #[test]
    fn a_promise_is_heard_through_what_others_add_and_nothing_else_is() {
        let broken: Result<()> = Err(Broken("two copies".to_owned()).into());
        let told = broken.context("while links were slow").unwrap_err();
        assert!(is_broken(&told) && format!("{told:#}").contains("two copies"));
        let late: Result<()> = (|| bail!("waited 60 s for a leader"))();
        assert!(!is_broken(&late.context("two copies").unwrap_err()));
    }
}
