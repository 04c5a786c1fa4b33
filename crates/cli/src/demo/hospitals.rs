//! The hospitals of every demonstration: who they are, and how they come in.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use reeve_client::Api;
use reeve_client::v1::operation::State;
use reeve_client::v1::{Operation, step};
use reeve_local::tenants;

use super::live::Live;

/// Real onboarding takes about a second; the rest is for a machine under load.
const PATIENCE: Duration = Duration::from_secs(60);
const NAMES: [&str; 12] = [
    "cho-ray",
    "charite",
    "bach-mai",
    "karolinska",
    "viet-duc",
    "la-fe",
    "hue-central",
    "rigshospitalet",
    "tu-du",
    "motol",
    "nhi-dong",
    "ghent",
];

/// One hospital, before or after its onboarding.
#[derive(Clone, Debug)]
pub struct Hospital {
    pub slug: String,
    pub domain: String,
    pub region: String,
    /// Its tenant's id, which is also its database's name; empty until it was ordered.
    pub tenant: String,
}

impl Hospital {
    /// A hospital by its name, reached by a domain of the same name.
    pub fn named(slug: &str, region: &str) -> Hospital {
        Hospital {
            slug: slug.to_owned(),
            domain: format!("{slug}.example"),
            region: region.to_owned(),
            tenant: String::new(),
        }
    }

    /// The numbers of its patients begin with this; nobody else's do.
    pub fn mark(&self) -> String {
        self.slug.to_uppercase()
    }
}

/// So many hospitals, spread over the regions in turn.
pub fn draw(count: usize, regions: &[String]) -> Vec<Hospital> {
    let name = |n: usize| {
        NAMES
            .get(n)
            .map_or_else(|| format!("clinic-{:03}", n + 1), |name| (*name).to_owned())
    };
    (0..count)
        .zip(regions.iter().cycle())
        .map(|(n, region)| Hospital::named(&name(n), region))
        .collect()
}

/// Orders one with this schema channel and follows it to its end.
pub async fn onboard(api: &Api, hospital: &mut Hospital, channel: &str, live: &Live) -> Result<Operation> {
    let begun = Instant::now();
    let line = live.line(&hospital.slug, &hospital.region);
    let order = tenants::order(&hospital.slug, &hospital.domain, &hospital.region, channel);
    let operation = tenants::create(api, order).await?;
    hospital.tenant.clone_from(&operation.tenant_id);
    let follow = tenants::follow(api, &operation.id, PATIENCE, |now| line.tell(&standing(now)));
    let ended = follow
        .await
        .with_context(|| format!("onboarding {}", hospital.slug))?;
    line.end(&verdict(&ended), begun.elapsed());
    Ok(ended)
}

/// Onboards all of them at once; every one must end done.
pub async fn onboard_all(api: &Api, hospitals: &mut [Hospital], channel: &str, live: &Live) -> Result<()> {
    let ended = try_join_all(
        hospitals
            .iter_mut()
            .map(|hospital| onboard(api, hospital, channel, live)),
    )
    .await?;
    ended.iter().try_for_each(ensure_done)
}

/// An operation that did not end done, in one sentence.
pub fn ensure_done(operation: &Operation) -> Result<()> {
    ensure!(
        operation.state() == State::Done,
        "onboarding {} ended {}: {} {}",
        operation.tenant_slug,
        verdict(operation),
        operation.reason,
        operation.detail
    );
    Ok(())
}

fn standing(operation: &Operation) -> String {
    let done = operation
        .steps
        .iter()
        .filter(|step| step.state() == step::State::Done)
        .count();
    let at = operation
        .steps
        .iter()
        .find(|step| matches!(step.state(), step::State::Open | step::State::Undoing));
    let at = at.map_or("", |step| step.name.as_str());
    format!("{done}/{} {at}", operation.steps.len())
}

fn verdict(operation: &Operation) -> String {
    match operation.state() {
        State::Done => format!("done, {} steps", operation.steps.len()),
        State::Undone => "undone".to_owned(),
        State::Stuck => "stuck".to_owned(),
        State::Queued | State::Running | State::Undoing | State::Unspecified => "not ended".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hospitals_alternate_between_regions_and_never_share_a_name() {
        let drawn = draw(30, &["vn".to_owned(), "eu".to_owned()]);
        assert_eq!((drawn[0].region.as_str(), drawn[1].region.as_str()), ("vn", "eu"));
        let mut slugs: Vec<_> = drawn.iter().map(|h| h.slug.clone()).collect();
        slugs.sort();
        slugs.dedup();
        assert_eq!(slugs.len(), 30);
        assert_eq!(drawn[0].domain, "cho-ray.example");
    }
}
