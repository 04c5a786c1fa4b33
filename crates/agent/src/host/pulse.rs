//! Whether an instance counts as up, from one look to the next.
//!
//! ```text
//! answers ─► up          refuses, is not there ─► down at once          silent ─► as before, SILENT_MAX times; then down
//! ```
//!
//! A server that is busy for a moment, or has no free seat, is not one that is down: nothing would be placed there, and
//! people would be called.

use super::Error;

/// So many looks in a row that PostgreSQL left without an answer are an answer.
const SILENT_MAX: u32 = 3;

/// What one look came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Look {
    Answered,
    /// Nobody is there, or whoever is says that it starts, stops or recovers.
    #[default]
    Refused,
    /// Nothing in time, or too busy to say more than that.
    Silent,
}

impl Look {
    /// What a look that went wrong says.
    pub(super) fn failed(error: &Error) -> Look {
        // No free seat, no memory, no disk; a statement that took too long.
        let is_busy = error.code().starts_with("53") || error.code() == "57014";
        match is_busy {
            true => Look::Silent,
            false => Look::Refused,
        }
    }
}

/// Looks in a row.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pulse {
    is_up: bool,
    silent: u32,
}

impl Pulse {
    /// Takes in one more look, and says whether the instance counts as up.
    pub fn feel(&mut self, look: Look) -> bool {
        self.silent = match look {
            Look::Silent => self.silent.saturating_add(1),
            Look::Answered | Look::Refused => 0,
        };
        self.is_up = match look {
            Look::Answered => true,
            Look::Refused => false,
            Look::Silent => self.is_up && self.silent < SILENT_MAX,
        };
        self.is_up
    }
}

#[cfg(test)]
mod tests {
    use super::Look::{Answered, Refused, Silent};
    use super::*;

    fn felt(looks: &[Look]) -> Vec<bool> {
        let mut pulse = Pulse::default();
        looks.iter().map(|look| pulse.feel(*look)).collect()
    }

    #[test]
    fn silence_is_borne_for_a_while_and_a_refusal_is_not() {
        assert_eq!(felt(&[Answered, Silent, Silent, Answered]), [true; 4]);
        assert_eq!(
            felt(&[Answered, Silent, Silent, Silent]),
            [true, true, true, false]
        );
        assert_eq!(felt(&[Answered, Refused, Answered]), [true, false, true]);
        // It begins anew with each answer, and who was never up is not so for being silent.
        assert_eq!(
            felt(&[Answered, Silent, Silent, Answered, Silent, Silent]),
            [true; 6]
        );
        assert_eq!(felt(&[Silent, Silent]), [false, false]);
        assert_eq!(felt(&[Answered, Refused, Silent]), [true, false, false]);
    }

    #[test]
    fn who_is_busy_is_not_gone() {
        let look = |code| Look::failed(&Error::retry(code, "as a test has it"));
        assert_eq!(look("53300"), Silent, "too many connections");
        assert_eq!(look("57014"), Silent, "the statement took too long");
        assert_eq!(look("57P03"), Refused, "it starts or stops");
        assert_eq!(look("CONNECTION"), Refused, "nobody listens");
    }
}
