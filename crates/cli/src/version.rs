//! `reeve version`.

use serde::Serialize;

use crate::fail::Failure;
use crate::session::Session;
use crate::show::Show;

#[derive(Serialize)]
struct Version {
    version: &'static str,
}

impl Show for Version {
    fn table(&self) -> String {
        format!("reeve {}", self.version)
    }
}

pub fn run(session: &Session) -> Result<(), Failure> {
    session.print(&Version {
        version: env!("CARGO_PKG_VERSION"),
    })
}
