//! What a tenant's login may try from inside to get out: each must be refused for want of a right, and for nothing else.
//!
//! None of it does harm where the right is there: what a transaction can hold is taken back, all else fails behind the
//! look at the right, and says so with another code.

use sqlx::{AssertSqlSafe, PgConnection};

use crate::host::{Error, sqlstate_of};

const FORBIDDEN: &str = "42501";

/// In a transaction that is taken back. `{db}` is the tenant's own database.
const HELD: [&str; 34] = [
    // Files and programs of the machine.
    "SELECT pg_catalog.pg_read_file('/etc/passwd')",
    "SELECT pg_catalog.pg_stat_file('pg_hba.conf')",
    "SELECT pg_catalog.lo_import('/etc/passwd')",
    "SELECT pg_catalog.lo_creat(-1)",
    "SELECT pg_catalog.pg_ls_logdir()",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "COPY (SELECT 1) TO '/dev/null'",
    "LOAD 'dblink'",
    // Ways to other databases.
    "CREATE FOREIGN DATA WRAPPER reeve_probe",
    "CREATE SUBSCRIPTION reeve_probe CONNECTION 'host=localhost' PUBLICATION p WITH (connect = false)",
    "CREATE PUBLICATION reeve_probe FOR ALL TABLES",
    "SELECT pg_catalog.pg_create_physical_replication_slot('reeve_probe'::name, false, true)",
    "SELECT pg_catalog.pg_create_logical_replication_slot('reeve_probe'::name, 'pgoutput'::name, true)",
    "SELECT pg_catalog.pg_database_size('postgres'::name)",
    // Other roles, and more of one's own.
    "SET SESSION AUTHORIZATION ctl_agent",
    "SET ROLE ctl_owner",
    "SET ROLE {db}_ddl",
    "SET ROLE {db}_mig",
    "ALTER ROLE CURRENT_USER CREATEROLE",
    "ALTER ROLE {db}_ddl LOGIN",
    "REASSIGN OWNED BY {db}_ddl TO CURRENT_USER",
    "SELECT rolpassword FROM pg_catalog.pg_authid",
    "SELECT passwd FROM pg_catalog.pg_shadow",
    // The database itself.
    "ALTER DATABASE {db} CONNECTION LIMIT -1",
    "ALTER DATABASE {db} SET work_mem = '1GB'",
    "COMMENT ON DATABASE {db} IS 'mine'",
    "CREATE SCHEMA reeve_probe",
    "CREATE TABLE public.reeve_probe ()",
    "CREATE TEMPORARY TABLE reeve_probe ()",
    "DO $$ BEGIN END $$",
    "CREATE EVENT TRIGGER reeve_probe ON ddl_command_start EXECUTE FUNCTION pg_catalog.now()",
    // The server.
    "SET session_replication_role = replica",
    "SET log_statement = 'none'",
    "SET temp_file_limit = -1",
];

/// On their own: who has the right is told of something else that is wrong with them, or does what does no harm.
const ALONE: [&str; 8] = [
    "CREATE ROLE ctl_owner",
    "CREATE DATABASE postgres",
    "DROP DATABASE {db}",
    "CREATE TABLESPACE pg_default LOCATION '/tmp'",
    "ALTER SYSTEM SET work_mem = 'x'",
    "CHECKPOINT",
    "SELECT pg_catalog.pg_reload_conf()",
    "SELECT pg_catalog.pg_switch_wal()",
];

/// Tries each in the tenant's session; how many were refused.
pub(super) async fn try_all(session: &mut PgConnection, database: &str) -> Result<usize, Error> {
    for text in HELD.iter().map(|text| text.replace("{db}", database)) {
        say(session, "BEGIN").await?;
        let tried = say(session, &text).await;
        let taken_back = say(session, "ROLLBACK").await;
        judge(&text, tried, false)?;
        taken_back?;
    }
    for text in ALONE.iter().map(|text| text.replace("{db}", database)) {
        let tried = say(session, &text).await;
        judge(&text, tried, true)?;
    }
    Ok(HELD.len() + ALONE.len())
}

async fn say(session: &mut PgConnection, text: &str) -> Result<(), sqlx::Error> {
    // Nothing in it is anybody's but the database's own name.
    let said = sqlx::raw_sql(AssertSqlSafe(text.to_owned()))
        .execute(session)
        .await;
    said.map(drop)
}

/// Only a refusal for want of a right is one.
fn judge(text: &str, tried: Result<(), sqlx::Error>, another_code_leaks: bool) -> Result<(), Error> {
    let leak = || {
        Err(Error::permanent(
            "LEAK",
            format!("the tenant's login may: {text}"),
        ))
    };
    let Err(error) = tried else {
        return leak();
    };
    match sqlstate_of(&error).as_deref() {
        Some(FORBIDDEN) => Ok(()),
        // A server that goes away says nothing of rights.
        Some(code)
            if another_code_leaks && !["57", "53", "08"].iter().any(|class| code.starts_with(class)) =>
        {
            leak()
        }
        Some(code) => Err(Error::retry(
            "INCONCLUSIVE",
            format!("{text}: turned away with {code}, which proves nothing"),
        )),
        None => Err(error.into()),
    }
}
