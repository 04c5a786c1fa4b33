//! `reeve completion` and `reeve man`: what a shell and `man` know of the command line, made from the command line itself.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Command, ValueEnum};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use crate::app;
use crate::fail::Failure;
use crate::session::Session;

/// Print what a shell completes `reeve` with
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  reeve completion bash > ~/.local/share/bash-completion/completions/reeve\n  reeve completion zsh > ~/.zfunc/_reeve\n  reeve completion fish > ~/.config/fish/completions/reeve.fish\n  source <(reeve completion bash)"
)]
pub struct Completion {
    /// Which shell
    #[arg(value_enum)]
    shell: Known,
}

/// The shells that are tried.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Known {
    Bash,
    Zsh,
    Fish,
}

/// Write a man page for every verb
#[derive(Debug, Args)]
#[command(
    name = "man",
    after_help = "Examples:\n  reeve man ~/.local/share/man/man1 && man reeve-tenant-create\n  sudo reeve man /usr/local/share/man/man1"
)]
pub struct Manual {
    /// Folder for them; made when it is not there
    dir: PathBuf,
}

pub fn completion(args: &Completion, session: &Session) -> Result<(), Failure> {
    let shell = match args.shell {
        Known::Bash => Shell::Bash,
        Known::Zsh => Shell::Zsh,
        Known::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut app::command(), "reeve", &mut script);
    session.put(&String::from_utf8_lossy(&script)).map(drop)
}

pub fn man(args: &Manual, session: &Session) -> Result<(), Failure> {
    let refused = |error: io::Error| {
        Failure::error(
            format!("the man pages were not written to {}", args.dir.display()),
            error.to_string(),
        )
        .fix("name a folder that you may write to")
    };
    fs::create_dir_all(&args.dir).map_err(refused)?;
    let mut command = app::command().disable_help_subcommand(true);
    command.build();
    let written = pages(&command, &args.dir).map_err(refused)?;
    session.say(&format!(
        "{written} pages in {}; try: man -l {0}/reeve.1",
        args.dir.display(),
    ));
    Ok(())
}

/// One for the command and each below it. Says how many.
fn pages(command: &Command, dir: &Path) -> io::Result<usize> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    fs::write(dir.join(format!("{name}.1")), page(command)?)?;
    let mut written = 1;
    for below in command.get_subcommands() {
        written += pages(below, dir)?;
    }
    Ok(written)
}

fn page(command: &Command) -> io::Result<Vec<u8>> {
    // Its lines are examples, which must stay lines.
    let behind = command.get_after_long_help().or(command.get_after_help());
    let behind = behind.map(ToString::to_string).unwrap_or_default();
    let man = Man::new(command.clone()).source(concat!("reeve ", env!("CARGO_PKG_VERSION")));
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    if command.get_arguments().any(|argument| !argument.is_hide_set()) {
        man.render_options_section(&mut page)?;
    }
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    let mut roff = Roff::new();
    for block in behind.split("\n\n") {
        match block.split_once(":\n") {
            Some((title, lines)) => {
                roff.control("SH", [title.to_uppercase().as_str()]);
                roff.control("nf", []);
                for line in lines.lines() {
                    roff.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
                }
                roff.control("fi", []);
            }
            None => {
                roff.control("PP", []);
                roff.text([roman(block)]);
            }
        };
    }
    roff.to_writer(&mut page)?;
    Ok(page)
}
