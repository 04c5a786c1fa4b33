//! The commands of docs/operations.md, by section, each with the machine that it is for.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};

const PAGE: &str = include_str!("../../../../docs/operations.md");

/// One command.
#[derive(Clone, Debug)]
pub struct Step {
    pub heading: String,
    pub machine: String,
    pub words: String,
}

impl Step {
    /// One that stands elsewhere on the page, said once more.
    pub fn at_desk(words: &str) -> Step {
        let found = all().into_iter().find(|step| step.words == words);
        found.unwrap_or_else(|| panic!("docs/operations.md does not say {words}"))
    }
}

/// The commands of a section, in their order.
pub fn steps(heading: &str) -> Result<Vec<Step>> {
    let steps: Vec<Step> = all().into_iter().filter(|step| step.heading == heading).collect();
    ensure!(
        !steps.is_empty(),
        "docs/operations.md says nothing to do under {heading:?}"
    );
    Ok(steps)
}

/// Every section that says what to do.
pub fn headings() -> BTreeSet<String> {
    all().into_iter().map(|step| step.heading).collect()
}

fn all() -> Vec<Step> {
    let page = PAGE.replace("\\\n", " ");
    let (mut heading, mut machine) = (String::new(), String::new());
    let mut is_shell = false;
    let mut steps = Vec::new();
    for line in page.lines() {
        match line {
            "```sh" => (is_shell, machine) = (true, super::DESK.to_owned()),
            "```" => is_shell = false,
            line if is_shell => match line.strip_prefix("# on ") {
                Some(other) => machine = other.to_owned(),
                None => steps.push(Step {
                    heading: heading.clone(),
                    machine: machine.clone(),
                    words: words(line),
                }),
            },
            line => {
                if let Some(next) = line.strip_prefix("## ") {
                    heading = next.to_owned();
                }
            }
        }
    }
    steps
}

/// A command without what is only said about it.
fn words(line: &str) -> String {
    let command = line.split(" # ").next().unwrap_or(line);
    command.split_whitespace().collect::<Vec<_>>().join(" ")
}
