//! `reeve demo`: a fleet, eight hospitals and a bad day, without input and with a verdict.
//!
//! ```text
//! fleet ─► hospitals ─► patients ─► clinic ─► storm ─► trouble ─► walls ─► chain ─► table
//! ```
//! Each stage proves something and fails with a sentence; nothing is left running whichever way it ends.

mod chain;
mod clinic;
pub mod hospitals;
pub mod live;
mod patients;
mod show;
mod storm;
mod trouble;
mod walls;

use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, bail};
use reeve_local::{Clinic, Fleet, Restart, examples_dir, tenants};

use self::hospitals::Hospital;
use self::live::Live;
use self::show::Show;
use crate::dev::asked_to_end;

/// Options of the demonstration.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Folder with the example schemas `ehr` and `ehr-broken`
    #[arg(long, value_name = "DIR")]
    pub examples: Option<PathBuf>,
    /// Patients that each hospital gets
    #[arg(long, default_value_t = 500, value_name = "N")]
    pub patients: usize,
    /// Program of the example `clinic`, a web service of the hospitals, which is then played, too
    #[arg(long, value_name = "PATH")]
    pub clinic: Option<PathBuf>,
}

const HOSPITALS: usize = 8;

/// What all stages share.
struct Tour {
    fleet: Fleet,
    /// What an application of all hospitals would hold.
    service: reeve_client::Fleet,
    hospitals: Vec<Hospital>,
    show: Show,
    patients: usize,
    /// The web service's program, when it is to be played.
    program: Option<PathBuf>,
    clinic: Option<Clinic>,
}

/// Gives the demonstration.
pub async fn run(args: Args) -> Result<()> {
    let end = asked_to_end();
    tokio::pin!(end);
    let mut tour = tokio::select! {
        begun = Tour::begin(&args) => begun.context("starting the fleet")?,
        _ = &mut end => bail!("interrupted"),
    };
    let played = tokio::select! {
        played = tour.play() => played,
        _ = &mut end => Err(anyhow!("interrupted")),
    };
    let Tour {
        fleet,
        service,
        show,
        clinic,
        ..
    } = tour;
    drop(clinic);
    service.close().await;
    let left = fleet.shutdown().await;
    played?;
    left.context("stopping the fleet")?;
    show.end();
    Ok(())
}

impl Tour {
    async fn begin(args: &Args) -> Result<Tour> {
        let mut show = Show::new();
        let examples = args.examples.clone().map_or_else(examples_dir, Ok)?;
        let regions = ["vn".to_owned(), "eu".to_owned()];
        show.stage("A fleet: three registry nodes, two regions, an agent and a PostgreSQL in each");
        let fleet = Fleet::builder()
            .cluster("demo")
            .regions(regions.clone())
            .schema("ehr", examples.join("ehr"))
            .schema("ehr-broken", examples.join("ehr-broken"))
            .restart(Restart::Agents)
            .on_stage(|stage, took| show::say(format!("{stage} after {:.1} s", took.as_secs_f64())))
            .start()
            .await?;
        show.row("fleet ready", "3 nodes, 2 agents, 2 PostgreSQL");
        let service = fleet.service_client("ehr", &[]).await?;
        let hospitals = hospitals::draw(HOSPITALS, &regions);
        Ok(Tour {
            fleet,
            service,
            hospitals,
            show,
            patients: args.patients,
            program: args.clinic.clone(),
            clinic: None,
        })
    }

    async fn play(&mut self) -> Result<()> {
        self.onboard().await.context("onboarding the hospitals")?;
        self.patients().await.context("patients of all hospitals")?;
        self.clinic().await.context("the web service")?;
        self.storm().await.context("the leader's death")?;
        self.trouble().await.context("what goes wrong")?;
        self.walls().await.context("the walls between hospitals")?;
        self.chain().await.context("the audit chain")
    }

    async fn onboard(&mut self) -> Result<()> {
        self.show
            .stage("Eight hospitals, each with a database of its own and the whole EHR schema");
        hospitals::onboard_all(self.fleet.api(), &mut self.hospitals, "ehr", &Live::new()).await?;
        for hospital in &self.hospitals {
            tenants::heard(&self.service, &hospital.domain).await?;
        }
        self.show.row(
            "hospitals onboarded",
            format!("{} in 2 regions", self.hospitals.len()),
        );
        Ok(())
    }
}
