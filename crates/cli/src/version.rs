//! `reeve version`.

use serde::Serialize;

use crate::fail::Failure;
use crate::session::Session;
use crate::show::{Page, Show};

#[derive(Serialize)]
struct Version {
    version: &'static str,
}

impl Show for Version {
    fn page(&self) -> Page {
        format!("reeve {}", self.version).into()
    }
}

pub fn run(session: &Session) -> Result<(), Failure> {
    session.print(&Version {
        version: env!("CARGO_PKG_VERSION"),
    })
}
