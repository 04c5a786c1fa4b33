//! What a change of the group needs: somebody who leads, and patience until it is so.

use std::time::Duration;

use reeve_client::v1;

use super::look::Picture;
use crate::fail::{Exit, Failure};
use crate::session::Session;

const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// The cluster before the change, in which somebody leads. Any node may be asked for the change itself.
pub async fn before(session: &Session) -> Result<Picture, Failure> {
    let picture = Picture::look(session).await?;
    if picture.leader().is_some() {
        return Ok(picture);
    }
    let failure = Failure::new(Exit::Unavailable, "nobody leads, and nothing was changed", "");
    Err(failure.fix("look at `reeve cluster check`"))
}

/// Looks until it is so.
pub async fn until<T>(
    session: &Session,
    what: &str,
    is_so: impl Fn(&v1::GetClusterResponse) -> Option<T>,
) -> Result<T, Failure> {
    let looking = async {
        loop {
            // Who is asked may be the one that is leaving: others are asked then.
            if let Ok(picture) = Picture::look(session).await
                && let Some(found) = picture.leader().and_then(|_| is_so(&picture.best))
            {
                return found;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    let back = "look with `reeve cluster status`";
    tokio::select! {
        found = looking => Ok(found),
        () = tokio::time::sleep(session.patience()) => {
            let why = format!("it was not so within {:?}", session.patience());
            Err(Failure::new(Exit::TimedOut, format!("stopped waiting for {what}"), why).fix(back))
        }
        _ = tokio::signal::ctrl_c() => {
            let why = "you left; the change goes on without you";
            Err(Failure::new(Exit::Interrupted, format!("stopped waiting for {what}"), why).fix(back))
        }
    }
}
