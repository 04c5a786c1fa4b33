//! What clients asked, what they were told, and when.

use serde::{Deserialize, Serialize};

/// One operation of one client. Times are of one clock that only goes forward.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event<Op, Said> {
    pub client: usize,
    pub key: String,
    pub op: Op,
    pub asked_ns: u64,
    pub answer: Answer<Said>,
}

/// How it ended for the client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer<Said> {
    Known {
        said: Said,
        at_ns: u64,
    },
    /// Nobody knows: it may have been done at any time since, or never.
    Unknown,
    /// It was certainly not done.
    Failed,
}

impl<Op, Said> Event<Op, Said> {
    pub fn said(&self) -> Option<&Said> {
        match &self.answer {
            Answer::Known { said, .. } => Some(said),
            Answer::Unknown | Answer::Failed => None,
        }
    }

    /// When it was over at the latest.
    pub fn over_ns(&self) -> u64 {
        match self.answer {
            Answer::Known { at_ns, .. } => at_ns,
            Answer::Unknown | Answer::Failed => u64::MAX,
        }
    }
}

/// One event a line, to be kept and judged again later.
pub fn to_lines<Op: Serialize, Said: Serialize>(events: &[Event<Op, Said>]) -> serde_json::Result<String> {
    let lines: Vec<String> = events
        .iter()
        .map(serde_json::to_string)
        .collect::<Result<_, _>>()?;
    Ok(lines.join("\n"))
}
