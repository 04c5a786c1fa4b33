//! A person types again what a change is about, before what harms many at once or cannot be undone. The registry compares
//! it: whoever asks without this program must say it too.

use std::io::{self, BufRead, IsTerminal, Write};

use crate::fail::Failure;

/// What is at stake.
pub struct Stake<'a> {
    /// What must be typed.
    pub word: &'a str,
    /// What did not happen when it is not: "cho-ray was not deleted".
    pub stays: String,
    /// Told to whoever types: "this destroys all data of cho-ray".
    pub warning: String,
}

/// What was given by flag, or else what a person at a terminal types.
pub fn confirmed(given: Option<String>, stake: &Stake) -> Result<String, Failure> {
    match given {
        Some(given) => Ok(given),
        None => typed(stake),
    }
}

fn typed(stake: &Stake) -> Result<String, Failure> {
    let Stake { word, stays, warning } = stake;
    if !io::stdin().is_terminal() {
        let failure = Failure::usage(stays, format!("{warning}, and nobody is there to confirm it"));
        return Err(failure.fix(format!("add --confirm {word}")));
    }
    let unheard = |error: io::Error| Failure::error(stays, error.to_string());
    let mut err = io::stderr().lock();
    write!(err, "{warning}. Type {word} to go on: ").map_err(unheard)?;
    err.flush().map_err(unheard)?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(unheard)?;
    match line.trim() {
        typed if typed == *word => Ok(typed.to_owned()),
        _ => Err(Failure::usage(stays, format!("what you typed is not {word}"))),
    }
}
