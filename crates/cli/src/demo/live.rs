//! Live progress: a line per piece of work that moves on a terminal, and is printed once elsewhere.

use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Where lines are drawn.
pub struct Live {
    lines: MultiProgress,
    is_terminal: bool,
}

/// One piece of work.
pub struct Line {
    bar: ProgressBar,
    name: String,
    is_terminal: bool,
}

impl Live {
    /// Draws on standard output when that is a terminal.
    pub fn new() -> Live {
        let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stdout());
        let target = if is_terminal {
            ProgressDrawTarget::stdout()
        } else {
            ProgressDrawTarget::hidden()
        };
        Live {
            lines: MultiProgress::with_draw_target(target),
            is_terminal,
        }
    }

    /// Begins a line.
    pub fn line(&self, name: &str, place: &str) -> Line {
        let bar = self.lines.add(ProgressBar::new_spinner());
        if let Ok(style) = ProgressStyle::with_template("    {spinner} {prefix:<24} {msg}") {
            bar.set_style(style);
        }
        let name = format!("{name} ({place})");
        bar.set_prefix(name.clone());
        bar.enable_steady_tick(Duration::from_millis(120));
        Line {
            bar,
            name,
            is_terminal: self.is_terminal,
        }
    }
}

impl Default for Live {
    fn default() -> Live {
        Live::new()
    }
}

impl Line {
    /// What it is doing now.
    pub fn tell(&self, what: &str) {
        self.bar.set_message(what.to_owned());
    }

    /// How it ended; the line stays.
    pub fn end(&self, how: &str, took: Duration) {
        let ended = format!("{how} in {:.1} s", took.as_secs_f64());
        self.bar.finish_with_message(ended.clone());
        if !self.is_terminal {
            say!("    · {:<24} {ended}", self.name);
        }
    }
}
