//! A web service of all hospitals, each reached by its own host; it goes on serving through what comes next.

use std::sync::atomic::Ordering;

use anyhow::{Result, ensure};
use futures::future::try_join_all;
use reeve_local::Clinic;

use super::storm::Seen;
use super::{Hospital, Tour};

/// Visits of each hospital before anything goes wrong.
const VISITS: usize = 5;

impl Tour {
    pub(super) async fn clinic(&mut self) -> Result<()> {
        let Some(program) = &self.program else {
            return Ok(());
        };
        self.show.stage(
            "A web service of all hospitals: who is asked for by which host is served from which database",
        );
        let clinic = Clinic::start(&self.fleet, program, &[]).await?;
        try_join_all(self.hospitals.iter().map(async |hospital| {
            for n in 0..VISITS {
                visit(&clinic, hospital, n).await?;
            }
            anyhow::Ok(())
        }))
        .await?;
        let told = format!(
            "{} by {} hosts, each its own",
            VISITS * self.hospitals.len(),
            self.hospitals.len()
        );
        self.show.row("visits through the web service", told);
        let (status, answer) = clinic.ask("GET /visits", "nobody.example", None, "").await?;
        ensure!(
            status == 404,
            "a host of nobody is answered with {status} {answer}"
        );
        self.show.row("a host of nobody", "404");
        self.clinic = Some(clinic);
        Ok(())
    }
}

/// Visits of one hospital until the storm is over; the first failure is told.
pub(super) async fn serve(clinic: Option<&Clinic>, hospital: &Hospital, seen: &Seen) -> Result<()> {
    let Some(clinic) = clinic else {
        return Ok(());
    };
    for n in VISITS.. {
        if seen.is_over.load(Ordering::Relaxed) {
            break;
        }
        seen.request(visit(clinic, hospital, n)).await?;
    }
    Ok(())
}

/// Somebody comes, and is the latest whom this hospital, and no other one, has seen.
async fn visit(clinic: &Clinic, hospital: &Hospital, n: usize) -> Result<()> {
    let number = format!("{}-W{n:05}", hospital.mark());
    clinic.add_visit(&hospital.domain, &number).await?;
    let (answering, latest) = clinic.visits(&hospital.domain).await?;
    ensure!(
        answering == hospital.slug,
        "{answering} answers for {}",
        hospital.domain
    );
    // Others write meanwhile, past the web service; all of it bears this hospital's mark.
    let foreign = latest.iter().find(|latest| !latest.starts_with(&hospital.mark()));
    ensure!(foreign.is_none(), "{} shows {foreign:?}", hospital.slug);
    ensure!(
        latest.contains(&number),
        "{} has not seen {number}",
        hospital.slug
    );
    Ok(())
}
