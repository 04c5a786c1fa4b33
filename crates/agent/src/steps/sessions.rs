//! Ending sessions that must not be.

use std::time::Duration;

use crate::host::Error;

/// Between two looks.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(40);
const LOOKS_MAX: u32 = 50;

/// Looks at sessions, each of which ends those that it finds.
#[derive(Default)]
pub(super) struct Looks {
    ended: u64,
    clear: u32,
    made: u32,
}

impl Looks {
    /// Takes one down: how many were ended in all, once two looks in a row found none. One that was just coming in is
    /// seen by the second.
    pub(super) async fn made(&mut self, whose: &str, found: u64) -> Result<Option<u64>, Error> {
        self.ended += found;
        self.made += 1;
        self.clear = if found == 0 { self.clear + 1 } else { 0 };
        if self.clear == 2 {
            return Ok(Some(self.ended));
        }
        if self.made == LOOKS_MAX {
            return Err(Error::retry("SESSIONS", format!("sessions {whose} do not end")));
        }
        tokio::time::sleep(LOOK_EVERY).await;
        Ok(None)
    }
}
