//! Many tenants at once, before anybody asks for them.
//!
//! ```text
//! selectors ─► once each ─► not in memory ─► batches ─► BatchResolve, a few at a time ─► memory, by the rules of single answers
//! ```
//! Each tenant's answer stands for itself, and a batch that fails changes nothing.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use reeve_proto::{
    error,
    v1::{BatchResolveRequest, ErrorReason, Freshness, batch_resolve_response::Item},
};
use tokio::time::timeout;
use tonic::Request;

use crate::{
    Error, Fleet, Resolution, Selector,
    answer::{self, serving, unanswered, unknown},
    counts::{Outcome, Source},
};

/// Half of what a node takes, so that an answer whose tenants have many names is no message too long.
const BATCH: usize = 500;
/// Under way at once: no service that starts keeps others from the registry.
const BATCHES_AT_ONCE: usize = 4;
const PATIENCE: Duration = Duration::from_secs(6);
/// How often a batch comes back to a node that asks to slow down.
const TRIES_MAX: u32 = 4;

/// What became of a [`Fleet::warm_up`]. Each name is counted once, however often it was given.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct WarmUp {
    /// How many are in memory now, and serve.
    pub known: usize,
    /// Who is nobody, as far as this service may see.
    pub nobody: Vec<Selector>,
    /// Who could not be had, and why: it does not serve now, or its batch has failed.
    pub refused: Vec<(Selector, Error)>,
}

type Answer = (Selector, Source, Result<Arc<Resolution>, Error>);

impl Fleet {
    /// Finds many tenants in few calls, so that their first requests wait for no node. Any number may be given; who is in
    /// memory already is not asked for. It never fails as a whole: what is missing is in the report, and is resolved when
    /// it is asked for, as ever.
    ///
    /// With a watch [`ready`](Fleet::ready) brings all that the service may see; this is for services that have switched it
    /// off, or start before its listing is whole. An answer holds here as long as any other: without a watch
    /// [`LEASE`](crate::LEASE), and [`GRACE`](crate::GRACE) while no node answers.
    ///
    /// ```
    /// use reeve_client::{FleetMock, Selector};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mock = FleetMock::new();
    /// let (cho_ray, charite) = (Selector::slug("cho-ray")?, Selector::slug("charite")?);
    /// mock.tenant("cho-ray", [cho_ray.clone()]);
    ///
    /// let warm = mock.fleet().warm_up([cho_ray, charite.clone()]).await;
    /// assert_eq!((warm.known, warm.nobody), (1, vec![charite]));
    /// assert!(warm.refused.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn warm_up(&self, selectors: impl IntoIterator<Item = Selector>) -> WarmUp {
        let mut seen = HashSet::new();
        let selectors = selectors.into_iter().filter(|one| seen.insert(one.clone()));
        let (mut warm, mut missing) = (WarmUp::default(), Vec::new());
        for selector in selectors {
            match self.at_hand(&selector) {
                Some((source, found)) => self.note(&mut warm, (selector, source, found)),
                None => missing.push(selector),
            }
        }
        let batches: Vec<Vec<Selector>> = missing.chunks(BATCH).map(<[Selector]>::to_vec).collect();
        let mut answered = stream::iter(batches)
            .map(|batch| self.fetch(batch))
            .buffer_unordered(BATCHES_AT_ONCE);
        while let Some(answers) = answered.next().await {
            for answer in answers {
                self.note(&mut warm, answer);
            }
        }
        warm
    }

    /// What needs no node.
    fn at_hand(&self, selector: &Selector) -> Option<(Source, Result<Arc<Resolution>, Error>)> {
        #[cfg(feature = "mock")]
        if let Some(script) = self.rooms().script() {
            return Some((Source::Registry, script.resolve(selector)));
        }
        Some((Source::Memory, self.remembered(selector)?))
    }

    fn note(&self, warm: &mut WarmUp, (selector, source, found): Answer) {
        self.rooms().counts().resolved(source, Outcome::of(&found));
        match found {
            Ok(_) => warm.known += 1,
            Err(Error::Unknown(_)) => warm.nobody.push(selector),
            Err(error) => warm.refused.push((selector, error)),
        }
    }

    /// One batch, with an answer for each of its tenants.
    async fn fetch(&self, batch: Vec<Selector>) -> Vec<Answer> {
        let answered = self.ask_patiently(&batch).await;
        let answer = |(n, asked): (usize, &Selector)| match &answered {
            Ok(answered) => self.take(asked, &answered.items[n], answered),
            Err(error) => Err(error.clone()),
        };
        let answers: Vec<_> = batch.iter().enumerate().map(answer).collect();
        let all = batch.into_iter().zip(answers);
        all.map(|(asked, answer)| (asked, Source::Registry, answer))
            .collect()
    }

    /// Comes back to a node that asks to slow down, a few times.
    async fn ask_patiently(&self, batch: &[Selector]) -> Result<Answered, Error> {
        for _ in 1..TRIES_MAX {
            match self.ask_batch(batch).await {
                Err(Error::Busy { pause, .. }) => tokio::time::sleep(pause).await,
                answered => return answered,
            }
        }
        self.ask_batch(batch).await
    }

    async fn ask_batch(&self, batch: &[Selector]) -> Result<Answered, Error> {
        let Ok(Ok(_seat)) = timeout(PATIENCE, self.rooms().asking().acquire()).await else {
            return Err(unanswered());
        };
        let mut request = Request::new(BatchResolveRequest {
            claims: batch.iter().map(Selector::to_wire).collect(),
            network: self.rooms().network().to_owned(),
            ..Default::default()
        });
        request.set_timeout(PATIENCE);
        let asked_at = Instant::now();
        let response = self.api().resolver().batch_resolve(request).await?.into_inner();
        let is_of = |(asked, item): (&Selector, &Item)| {
            let claim = item.claim.as_ref().and_then(Selector::from_wire);
            claim.as_ref() == Some(asked)
        };
        // Nothing is believed of an answer to something else.
        if response.items.len() != batch.len() || !batch.iter().zip(&response.items).all(is_of) {
            let why = "a batch with other claims than were asked for";
            return Err(Error::Answer(why.to_owned()));
        }
        Ok(Answered {
            items: response.items,
            freshness: response.freshness.unwrap_or_default(),
            asked_at,
        })
    }

    fn take(&self, asked: &Selector, item: &Item, answered: &Answered) -> Result<Arc<Resolution>, Error> {
        let (freshness, asked_at) = (&answered.freshness, answered.asked_at);
        if let Some(wire) = &item.resolution {
            let found = answer::found(self.rooms().cache(), asked, wire.clone(), freshness, asked_at);
            return found.and_then(serving);
        }
        let reason = Some(item.reason()).filter(|reason| *reason != ErrorReason::Unspecified);
        let told = match reason {
            Some(ErrorReason::TenantNotFound) => unknown(asked),
            Some(ErrorReason::TenantNotServing) => Error::NotServing {
                tenant: asked.to_string(),
                state: "not active, when its node last heard a quorum".to_owned(),
            },
            Some(reason) => error::status(reason, asked.to_string(), &[]).into(),
            None => Error::Answer(format!("neither a tenant nor a reason for {asked}")),
        };
        let revision = Some(freshness.revision);
        answer::refused(self.rooms().cache(), asked, reason, revision, asked_at, told).and_then(serving)
    }
}

/// A batch's answer, for exactly the claims that were asked for.
struct Answered {
    items: Vec<Item>,
    freshness: Freshness,
    asked_at: Instant,
}
