//! What a service feels of a tenant's database through the client: finding it, coming in, the first statement, and going
//! from one tenant to the next.

use std::time::Instant;

use clap::Args;
use reeve_client::{Access, Fleet, Selector};
use serde::Serialize;

use super::at_least_one;
use super::tally::Tally;
use super::times::{Row, note, shown};
use crate::fail::Failure;
use crate::session::Session;
use crate::show::{Page, Show, pairs};

/// Whose databases, and how often.
#[derive(Debug, Args)]
pub struct Plan {
    /// Domains or slugs of tenants whose passwords your certificate may read: a service's
    #[arg(required = true)]
    tenants: Vec<String>,
    /// How often it goes around all of them once it is in
    #[arg(long, default_value_t = 200, value_parser = at_least_one, value_name = "N")]
    rounds: usize,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Report {
    tenants: usize,
    rounds: usize,
    times: Vec<Row>,
}

impl Show for Report {
    fn page(&self) -> Page {
        let head = pairs([
            ("tenants", self.tenants.to_string()),
            ("rounds", self.rounds.to_string()),
        ]);
        head.and(shown("CONNECT", &self.times))
    }
}

/// Comes in everywhere, then goes around.
pub async fn run(plan: Plan, session: &Session) -> Result<Report, Failure> {
    let (nodes, credentials) = session.doors()?;
    let fleet = |watch| {
        let fleet = Fleet::builder()
            .nodes(nodes.clone())
            .credentials(credentials.clone());
        fleet.watch(watch).build()
    };
    let selectors = plan.tenants.iter().map(|text| Selector::parse(text));
    let selectors = selectors.collect::<Result<Vec<Selector>, _>>()?;
    let tenants: Vec<(&str, Selector)> = plan.tenants.iter().map(String::as_str).zip(selectors).collect();

    let mut found = Tally::default();
    let asking = fleet(false)?;
    for (_, selector) in &tenants {
        let from = Instant::now();
        asking.resolve(selector).await?;
        note(&mut found, from.elapsed());
    }
    asking.close().await;

    // From here on as a service does it: what it knows is kept fresh by a watch.
    let fleet = fleet(true)?;
    fleet.ready().await?;
    let [mut password, mut inside, mut first, mut second] = [(); 4].map(|()| Tally::default());
    for (name, selector) in &tenants {
        let tenant = fleet.resolve(selector).await?;
        let from = Instant::now();
        let pool = fleet.pool(&tenant, Access::Write).await?;
        note(&mut password, from.elapsed());
        let from = Instant::now();
        let mut session = pool.acquire().await.map_err(|error| lost(name, &error))?;
        note(&mut inside, from.elapsed());
        for tally in [&mut first, &mut second] {
            let from = Instant::now();
            let asked = sqlx::query("SELECT 1").execute(&mut *session).await;
            asked.map_err(|error| lost(name, &error))?;
            note(tally, from.elapsed());
        }
    }
    let mut switched = Tally::default();
    for _ in 0..plan.rounds {
        for (name, selector) in &tenants {
            let from = Instant::now();
            let tenant = fleet.resolve(selector).await?;
            let pool = fleet.pool(&tenant, Access::Write).await?;
            let asked = sqlx::query("SELECT 1").execute(&pool).await;
            asked.map_err(|error| lost(name, &error))?;
            note(&mut switched, from.elapsed());
        }
    }
    fleet.close().await;
    Ok(Report {
        tenants: tenants.len(),
        rounds: plan.rounds,
        times: vec![
            Row::of("found, asked of a node", &found),
            Row::of("its password, asked of a node", &password),
            Row::of("in, over TLS", &inside),
            Row::of("first statement", &first),
            Row::of("second statement", &second),
            Row::of("next tenant, statement included", &switched),
        ],
    })
}

fn lost(name: &str, error: &sqlx::Error) -> Failure {
    Failure::error(
        format!("the database of {name} does not answer"),
        error.to_string(),
    )
}
