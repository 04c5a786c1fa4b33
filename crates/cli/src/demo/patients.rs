//! Patients and encounters of all hospitals at once, through the client, by domain name.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use reeve_client::{Access, Fleet, Selector};
use sqlx::PgPool;

use super::{Hospital, Tour};

const BATCH: usize = 100;
const VISITS_PER_PATIENT: usize = 2;

impl Tour {
    pub(super) async fn patients(&mut self) -> Result<()> {
        self.show
            .stage("Patients and encounters for all of them at once, by domain name");
        let (service, count) = (&self.service, self.patients);
        try_join_all(
            self.hospitals
                .iter()
                .map(|hospital| fill(service, hospital, count)),
        )
        .await?;
        let rows = self.hospitals.len() * count;
        let written = format!("{rows} patients, {} encounters", rows * VISITS_PER_PATIENT);
        self.show.row("written through the client", written);

        let begun = Instant::now();
        try_join_all(
            self.hospitals
                .iter()
                .map(|hospital| check(service, hospital, count)),
        )
        .await?;
        let told = format!("{} hospitals, each exactly its own", self.hospitals.len());
        self.show.row_of("read back and counted", told, begun.elapsed());
        Ok(())
    }
}

/// The pool of a hospital, found by its domain as an application would.
pub(super) async fn pool(service: &Fleet, hospital: &Hospital) -> Result<PgPool> {
    let resolution = service.resolve(&Selector::domain(&hospital.domain)?).await;
    let resolution = resolution.with_context(|| format!("resolving {}", hospital.domain))?;
    Ok(service.pool(&resolution, Access::Write).await?)
}

/// Writes one batch of patients, each with encounters; numbers say whose they are.
pub(super) async fn write(
    pool: &PgPool,
    hospital: &Hospital,
    from: usize,
    count: usize,
) -> Result<(), sqlx::Error> {
    let numbers: Vec<String> = (from..from + count)
        .map(|n| format!("{}-{n:06}", hospital.mark()))
        .collect();
    let names: Vec<String> = (from..from + count).map(|n| format!("Patient {n}")).collect();
    let mut change = pool.begin().await?;
    sqlx::query(
        "INSERT INTO patient (mrn, family_name, given_name, birth_date, sex)
         SELECT mrn, $3, name, DATE '1950-01-01' + (random() * 25000)::int, 'female'
         FROM unnest($1::text[], $2::text[]) AS p (mrn, name)",
    )
    .bind(&numbers)
    .bind(&names)
    .bind(&hospital.slug)
    .execute(&mut *change)
    .await?;
    sqlx::query(
        "INSERT INTO encounter (patient_id, class, status, reason)
         SELECT id, 'outpatient', 'arrived', $2 FROM patient, generate_series(1, $3)
         WHERE mrn = ANY($1)",
    )
    .bind(&numbers)
    .bind(format!("visit at {}", hospital.slug))
    .bind(i32::try_from(VISITS_PER_PATIENT).unwrap_or(i32::MAX))
    .execute(&mut *change)
    .await?;
    change.commit().await
}

async fn fill(service: &Fleet, hospital: &Hospital, count: usize) -> Result<()> {
    let pool = pool(service, hospital).await?;
    let batches = (0..count)
        .step_by(BATCH)
        .map(|from| write(&pool, hospital, from, BATCH.min(count - from)));
    try_join_all(batches)
        .await
        .with_context(|| format!("writing for {}", hospital.slug))?;
    Ok(())
}

/// Counts what a hospital's database holds: all of its own, and nothing that is not.
async fn check(service: &Fleet, hospital: &Hospital, count: usize) -> Result<()> {
    let pool = pool(service, hospital).await?;
    let (database, patients, strangers, visits, odd): (String, i64, i64, i64, i64) = sqlx::query_as(
        "SELECT current_database()::text,
                (SELECT count(*) FROM patient),
                (SELECT count(*) FROM patient WHERE mrn NOT LIKE $1 || '-%' OR family_name <> $2),
                (SELECT count(*) FROM encounter),
                (SELECT count(*) FROM encounter WHERE reason <> 'visit at ' || $2)",
    )
    .bind(hospital.mark())
    .bind(&hospital.slug)
    .fetch_one(&pool)
    .await?;
    ensure!(
        database == hospital.tenant,
        "{} was led to database {database}",
        hospital.slug
    );
    let wanted = (i64::try_from(count)?, i64::try_from(count * VISITS_PER_PATIENT)?);
    ensure!(
        (patients, visits) == wanted && (strangers, odd) == (0, 0),
        "{}: {patients} patients and {visits} encounters, {strangers} and {odd} of them not its own",
        hospital.slug
    );
    Ok(())
}
