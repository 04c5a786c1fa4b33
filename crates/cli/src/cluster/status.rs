//! `reeve cluster status`: how each node is, once or again and again.

use std::fmt::Write;
use std::io::{self, IsTerminal};
use std::time::Duration;

use clap::Args;

use super::look::Picture;
use crate::fail::{Exit, Failure};
use crate::form::Form;
use crate::session::{Session, duration};
use crate::show::Show;
use crate::show::cluster::Cluster;

/// To the first place, and clear the screen.
const CLEAR: &str = "\u{1b}[H\u{1b}[2J";
/// To the first place.
const HOME: &str = "\u{1b}[H";
/// Clear what is left of the line.
const REST_OF_LINE: &str = "\u{1b}[K";
/// Clear what is left of the screen.
const REST_OF_SCREEN: &str = "\u{1b}[J";

/// Show the nodes, how each one is, and what is wrong; any node may be asked, also without a leader
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  reeve cluster status\n  reeve cluster status --nodes n2.example:7400 -o json\n  reeve cluster status --watch --every 5s"
)]
pub struct Status {
    /// Look again and again until Ctrl-C: redrawn in place on a terminal, one block after the other elsewhere
    #[arg(long)]
    watch: bool,
    /// How often
    #[arg(long, value_parser = duration, default_value = "2s", value_name = "TIME", requires = "watch")]
    every: Duration,
}

pub async fn run(args: Status, session: &Session) -> Result<(), Failure> {
    if !args.watch {
        let picture = Picture::look(session).await?;
        return session.print(&Cluster::from(&picture));
    }
    tokio::select! {
        ended = watch(args.every, session) => ended,
        // That is how one leaves.
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

async fn watch(every: Duration, session: &Session) -> Result<(), Failure> {
    let mut page = Page::of(session);
    loop {
        let block = match Picture::look(session).await {
            Ok(picture) => page.block(&Cluster::from(&picture), session)?,
            // It may be watched until somebody answers again.
            Err(failure) if failure.exit == Exit::Unavailable => page.failed(&failure, session),
            Err(failure) => return Err(failure),
        };
        if !session.put(&block)? {
            return Ok(());
        }
        tokio::time::sleep(every).await;
    }
}

/// Where the blocks go.
enum Page {
    /// A terminal; whether something is on it already.
    Screen {
        is_drawn: bool,
    },
    Blocks {
        is_begun: bool,
    },
    /// One object a line.
    Json,
    /// One document behind the other.
    Yaml,
}

impl Page {
    fn of(session: &Session) -> Page {
        match session.form() {
            Form::Json | Form::Jsonl => Page::Json,
            Form::Yaml => Page::Yaml,
            Form::Table | Form::Wide | Form::Name | Form::Env if io::stdout().is_terminal() => {
                Page::Screen { is_drawn: false }
            }
            Form::Table | Form::Wide | Form::Name | Form::Env => Page::Blocks { is_begun: false },
        }
    }

    fn block(&mut self, cluster: &Cluster, session: &Session) -> Result<String, Failure> {
        Ok(match self {
            Page::Json => cluster.lines().join("\n") + "\n",
            Page::Yaml => format!("---\n{}\n", cluster.yaml()?),
            Page::Screen { .. } | Page::Blocks { .. } => {
                let text = cluster.page().shown(&session.look())?;
                self.text(&text, &now())
            }
        })
    }

    /// Programs that read hear of it beside the results; people see it where they look.
    fn failed(&mut self, failure: &Failure, session: &Session) -> String {
        match self {
            Page::Json | Page::Yaml => {
                session.complain(&format!("error: {failure}"));
                String::new()
            }
            Page::Screen { .. } | Page::Blocks { .. } => self.text(&format!("error: {failure}"), &now()),
        }
    }

    fn text(&mut self, text: &str, now: &str) -> String {
        match self {
            Page::Screen { is_drawn } => {
                let mut drawn = String::from(if *is_drawn { HOME } else { CLEAR });
                *is_drawn = true;
                for line in format!("{now}, until Ctrl-C\n\n{text}").lines() {
                    // A String takes whatever is written.
                    let _ = writeln!(drawn, "{line}{REST_OF_LINE}");
                }
                drawn + REST_OF_SCREEN
            }
            Page::Blocks { is_begun } => {
                let between = if *is_begun { "\n" } else { "" };
                *is_begun = true;
                format!("{between}{now}\n\n{text}\n")
            }
            Page::Json | Page::Yaml => String::new(),
        }
    }
}

fn now() -> String {
    let now = jiff::Timestamp::now();
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screen_is_redrawn_in_place_and_nothing_of_the_last_look_stays() {
        let mut screen = Page::Screen { is_drawn: false };
        let first = screen.text("one\ntwo", "now");
        assert_eq!(
            first,
            format!(
                "{CLEAR}now, until Ctrl-C{REST_OF_LINE}\n{REST_OF_LINE}\none{REST_OF_LINE}\ntwo{REST_OF_LINE}\n{REST_OF_SCREEN}"
            )
        );
        let second = screen.text("one", "later");
        assert!(
            second.starts_with(HOME) && !second.starts_with(CLEAR),
            "{second:?}"
        );
        assert!(
            second.ends_with(&format!("one{REST_OF_LINE}\n{REST_OF_SCREEN}")),
            "{second:?}"
        );
    }

    #[test]
    fn elsewhere_one_block_follows_the_other_without_a_control_character() {
        let mut blocks = Page::Blocks { is_begun: false };
        assert_eq!(blocks.text("one", "now"), "now\n\none\n");
        assert_eq!(blocks.text("two", "later"), "\nlater\n\ntwo\n");
    }
}
