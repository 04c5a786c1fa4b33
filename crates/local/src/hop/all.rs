//! All hops of a fleet, by name: `n1->n2`, `client->n2`, `agent vn-1->n3`, `client->pg vn-1`.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use super::{Hop, Mode};

#[derive(Default)]
pub struct Hops {
    hops: BTreeMap<String, Hop>,
}

impl Hops {
    pub(crate) fn add(&mut self, hop: Hop) {
        self.hops.insert(hop.name().to_owned(), hop);
    }

    /// Takes every hop away that leads to or from a party that is gone for good.
    pub(crate) fn drop_around(&mut self, party: &str) {
        self.hops.retain(|_, hop| !leads_around(hop, party));
    }

    /// The hop of a link.
    pub fn get(&self, name: &str) -> Result<&Hop> {
        self.hops
            .get(name)
            .with_context(|| format!("no hop is named {name:?}"))
    }

    /// All names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.hops.keys().map(String::as_str)
    }

    /// Changes every hop that leads to or from this party: `n2`, `client`, `agent vn-1`, `pg vn-1`.
    pub fn set_around(&self, party: &str, mode: Mode) {
        let around = self.hops.values().filter(|hop| leads_around(hop, party));
        around.for_each(|hop| hop.set(mode));
    }

    /// Changes both directions between two nodes, and nothing else: clients still reach both.
    pub fn set_between(&self, one: u64, other: u64, mode: Mode) {
        for (from, to) in [(one, other), (other, one)] {
            self.set_link(from, to, mode);
        }
    }

    /// Changes the link on which one node calls another.
    pub fn set_link(&self, from: u64, to: u64, mode: Mode) {
        if let Some(hop) = self.hops.get(&format!("n{from}->n{to}")) {
            hop.set(mode);
        }
    }

    /// Nothing that `from` says reaches `to`: its calls are lost there, and so are its answers.
    pub fn silence(&self, from: u64, to: u64) {
        self.set_link(from, to, Mode::DropForth);
        self.set_link(to, from, Mode::DropBack);
    }

    /// All connections of this party are dead from here on, and nobody is told.
    pub fn strand_around(&self, party: &str) {
        let around = self.hops.values().filter(|hop| leads_around(hop, party));
        around.for_each(Hop::strand);
    }

    /// Lets everything pass again.
    pub fn heal(&self) {
        self.hops.values().for_each(|hop| hop.set(Mode::Pass));
    }
}

fn leads_around(hop: &Hop, party: &str) -> bool {
    let ends = hop.name().split_once("->");
    ends.is_some_and(|(from, to)| from == party || to == party)
}
