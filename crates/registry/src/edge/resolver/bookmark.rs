//! How old all that a stream has delivered is. A view's age speaks of the whole view, and a stream may be behind it: until
//! the stream has come to the view's revision its own age is unknown.

use std::time::Duration;

use reeve_domain::Revision;
use tokio::time::Instant;

/// This node's view when a bookmark was due.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    pub revision: Revision,
    /// All that was committed by then is in it. None: nobody knows.
    pub as_of: Option<Instant>,
}

/// The view that the stream has to come to before an age can be told.
#[derive(Debug, Default)]
pub(super) struct Bookmarks {
    ahead: Option<View>,
}

impl Bookmarks {
    /// How old what was delivered up to the cursor is, when the node's view is this one. None: nobody knows, yet.
    pub(super) fn age(&mut self, cursor: Revision, view: View, now: Instant) -> Option<Duration> {
        let reached = match self.ahead {
            _ if view.revision <= cursor => view,
            Some(ahead) if ahead.revision <= cursor => ahead,
            Some(_) => return None,
            None => {
                self.ahead = Some(view);
                return None;
            }
        };
        self.ahead = None;
        let as_of = reached.as_of?;
        Some(now.saturating_duration_since(as_of))
    }

    /// Whether a bookmark went out without an age that can be told by now.
    pub(super) fn is_owed(&self, cursor: Revision) -> bool {
        self.ahead.is_some_and(|ahead| ahead.revision <= cursor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_delivered_is_never_called_younger_than_it_is() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let view = |revision, as_of| View {
            revision: Revision(revision),
            as_of: Some(at(as_of)),
        };
        let age = |ms| Some(Duration::from_millis(ms));
        let mut bookmarks = Bookmarks::default();
        assert_eq!(
            bookmarks.age(Revision(7), view(7, 100), at(150)),
            age(50),
            "all is delivered"
        );

        // The view holds 9, of which 8 and 9 are not delivered yet.
        assert_eq!(bookmarks.age(Revision(7), view(9, 200), at(200)), None);
        assert_eq!(bookmarks.age(Revision(8), view(12, 300), at(300)), None);
        assert!(!bookmarks.is_owed(Revision(8)) && bookmarks.is_owed(Revision(9)));
        assert_eq!(
            bookmarks.age(Revision(9), view(20, 390), at(400)),
            age(200),
            "as old as the view that was reached"
        );
        assert!(!bookmarks.is_owed(Revision(9)), "it was told");
        assert_eq!(bookmarks.age(Revision(9), view(20, 390), at(400)), None);
        assert_eq!(bookmarks.age(Revision(20), view(20, 500), at(500)), age(0));
        assert!(!bookmarks.is_owed(Revision(20)));
    }

    #[test]
    fn what_nobody_knows_is_not_told() {
        let now = Instant::now();
        let view = View {
            revision: Revision(7),
            as_of: None,
        };
        assert_eq!(Bookmarks::default().age(Revision(7), view, now), None);
    }
}
