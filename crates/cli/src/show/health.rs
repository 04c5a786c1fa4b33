//! Is it safe? What is known of one tenant, each with a grade and a reason.

use reeve_client::v1;
use serde::Serialize;

use super::{Page, ago_ms, col, plain, table, wrap};

#[derive(Clone, Debug, Serialize)]
pub struct Health {
    pub grade: String,
    pub conditions: Vec<Condition>,
    pub vitals: Option<Vitals>,
    /// Since it was measured.
    pub measured_ms: Option<u64>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Condition {
    pub name: String,
    pub grade: String,
    pub told: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct Vitals {
    pub tried_took_ms: Option<u64>,
    pub connections: u32,
    pub slow_statements: u32,
    pub oldest_transaction_ms: u64,
    pub hits_permille: Option<u32>,
    pub deadlocks: u64,
    pub xid_age: u64,
    pub size_bytes: Option<u64>,
    pub live_rows: Option<u64>,
    pub dead_rows: Option<u64>,
}

impl From<v1::GetHealthResponse> for Health {
    fn from(wire: v1::GetHealthResponse) -> Health {
        let condition = |wire: v1::Condition| Condition {
            grade: plain(wire.grade().as_str_name(), "GRADE_"),
            name: wire.name,
            told: wire.told,
        };
        let vitals = |wire: v1::DatabaseVitals| Vitals {
            tried_took_ms: wire.tried_took.map(ago_ms),
            connections: wire.connections,
            slow_statements: wire.slow_statements,
            oldest_transaction_ms: wire.oldest_transaction.map_or(0, ago_ms),
            hits_permille: wire.hits_permille,
            deadlocks: wire.deadlocks,
            xid_age: wire.xid_age,
            size_bytes: wire.size_bytes,
            live_rows: wire.live_rows,
            dead_rows: wire.dead_rows,
        };
        Health {
            grade: plain(wire.grade().as_str_name(), "GRADE_"),
            measured_ms: wire.measured.map(ago_ms),
            vitals: wire.vitals.map(vitals),
            conditions: wire.conditions.into_iter().map(condition).collect(),
        }
    }
}

impl Health {
    /// The answer in a line, and what it rests on.
    pub fn page(&self) -> Page {
        let of = |grade: &str| -> Vec<&str> {
            let these = self.conditions.iter().filter(|one| one.grade == grade);
            these.map(|one| one.name.as_str()).collect()
        };
        let told = match self.grade.as_str() {
            "good" => "yes".to_owned(),
            "unknown" => format!("not proved: {}", of("unknown").join(", ")),
            "warning" => format!(
                "it serves, and somebody should look: {}",
                of("warning").join(", ")
            ),
            _ => format!("NO: {}", of("bad").join(", ")),
        };
        let mark = |grade: &str| match grade {
            "good" => "✓",
            "unknown" => "?",
            "warning" => "!",
            _ => "✗",
        };
        let rows = self.conditions.iter();
        let rows = rows.map(|one| vec![mark(&one.grade).to_owned(), one.name.clone(), one.told.clone()]);
        table([col(""), col("WHAT"), wrap("WHY")], rows).under(format!("safe? {told}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health(grades: &[(&str, v1::Grade)]) -> Health {
        let condition = |(name, grade): &(&str, v1::Grade)| v1::Condition {
            name: (*name).into(),
            grade: (*grade).into(),
            told: format!("{name} told"),
        };
        let worst = grades.iter().map(|(_, grade)| *grade as i32).max();
        Health::from(v1::GetHealthResponse {
            grade: worst.unwrap_or_default(),
            conditions: grades.iter().map(condition).collect(),
            ..Default::default()
        })
    }

    #[test]
    fn the_answer_stands_in_the_first_line() {
        use v1::Grade::{Bad, Good, Unknown, Warning};
        let first =
            |grades: &[(&str, v1::Grade)]| health(grades).page().plain().lines().next().unwrap().to_owned();
        assert_eq!(first(&[("serving", Good)]), "safe? yes");
        assert_eq!(
            first(&[("serving", Good), ("ready", Unknown), ("backup", Unknown)]),
            "safe? not proved: ready, backup"
        );
        assert_eq!(
            first(&[("backup", Unknown), ("load", Warning)]),
            "safe? it serves, and somebody should look: load"
        );
        assert_eq!(first(&[("load", Warning), ("serving", Bad)]), "safe? NO: serving");
        let page = health(&[("serving", Good), ("ready", Bad)]).page().plain();
        assert!(page.contains("✓  serving") && page.contains("✗  ready"), "{page}");
    }
}
