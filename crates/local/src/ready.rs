//! Waiting for a condition, with a patience and a last word about what was missing.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

/// Between two looks; short beside everything that is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Looks until there is an answer. An error counts as "not yet" and is told when the patience ends.
pub async fn until<T>(
    what: &str,
    patience: Duration,
    mut look: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let end = Instant::now() + patience;
    let mut last = anyhow!("it never came");
    loop {
        match tokio::time::timeout_at(end.into(), look()).await {
            Ok(Ok(Some(found))) => return Ok(found),
            Ok(Ok(None)) => {}
            Ok(Err(error)) => last = error,
            Err(_) => last = anyhow!("the look itself took too long").context(last),
        }
        if Instant::now() >= end {
            return Err(last.context(format!("waited {} s for {what}", patience.as_secs())));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_condition_is_met_or_named() {
        let mut looks = 0;
        let met = until("three", Duration::from_secs(5), async || {
            looks += 1;
            Ok((looks == 3).then_some(looks))
        });
        assert_eq!(met.await.unwrap(), 3);
        let never = until::<()>("rain", Duration::from_millis(30), async || Err(anyhow!("sunny")));
        let told = format!("{:#}", never.await.unwrap_err());
        assert!(told.contains("rain") && told.contains("sunny"), "{told}");
    }
}
