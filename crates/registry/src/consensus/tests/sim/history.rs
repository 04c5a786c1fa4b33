//! What happened, in order, on the simulation's clock.

use std::fmt::Write;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::exec;

#[derive(Clone, Debug, Hash)]
pub enum Event {
    /// A message between two nodes, and what became of it.
    Message {
        from: u64,
        to: u64,
        call: &'static str,
        fate: &'static str,
    },
    /// A fault, or what a client did and was told.
    Told(String),
}

/// The events of one run.
#[derive(Default)]
pub struct History(Vec<(u64, Event)>);

impl History {
    pub fn push(&mut self, at_ns: u64, event: Event) {
        self.0.push((at_ns, event));
    }

    /// Two runs with the same hash went alike.
    pub fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.0.hash(&mut hasher);
        hasher.finish()
    }

    pub fn text(&self) -> String {
        let mut text = String::new();
        for (at, event) in &self.0 {
            let ms = *at as f64 / 1e6;
            let line = match event {
                Event::Message { from, to, call, fate } => format!("{from} > {to} {call}: {fate}"),
                Event::Told(told) => told.clone(),
            };
            // Writing into a text does not fail.
            let _ = writeln!(text, "{ms:>12.3} {line}");
        }
        text
    }
}

/// Writes a line into the history of the simulation that runs here.
pub fn tell(told: impl Into<String>) {
    note(Event::Told(told.into()));
}

pub fn note(event: Event) {
    if let Some(core) = exec::here() {
        let at = exec::now_ns();
        core.history.lock().push(at, event);
    }
}
