//! Sessions: the control session over the socket, and logins as a tenant's own roles.

use std::time::Duration;

use reeve_domain::TenantId;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{ConnectOptions, PgConnection};

use super::ident::{self, Ending, Ident};
use super::{Error, Host};

const PATIENCE: Duration = Duration::from_secs(10);

/// A statement made of quoted parts.
pub type Statement = String;

impl Host {
    /// A superuser's session in a database. It never runs anything that a tenant wrote.
    pub async fn control(&self, database: &str) -> Result<PgConnection, Error> {
        let settings = &self.inner.settings;
        let options = PgConnectOptions::new_without_pgpass()
            .socket(&settings.socket_dir)
            .port(settings.port)
            .username("ctl_agent")
            .database(database)
            .application_name("reeve-agent")
            // Shorter than any step's own limit: what a step gives up must not go on behind its back.
            .options([
                ("statement_timeout", "50s"),
                ("client_connection_check_interval", "1s"),
                // Looks at catalogs are over before a compiler has been loaded, which each session would do anew.
                ("jit", "off"),
                // What a tenant made in its own schemas takes no name of PostgreSQL's here.
                ("search_path", "pg_catalog,pg_temp"),
            ])
            .ssl_mode(PgSslMode::Disable);
        connect(&options).await
    }

    /// Logs in as the tenant's migration role, over the socket, with its one-job password.
    pub async fn as_migrator(&self, tenant: &TenantId, password: &str) -> Result<PgConnection, Error> {
        let settings = &self.inner.settings;
        let options = PgConnectOptions::new_without_pgpass()
            .socket(&settings.socket_dir)
            .port(settings.port)
            .username(Ident::role(tenant, Ending::Mig).as_str())
            .password(password)
            .database(Ident::of(tenant).as_str())
            .application_name("reeve-migrate")
            .options([("client_connection_check_interval", "1s")])
            .ssl_mode(PgSslMode::Disable);
        connect(&options).await
    }

    /// Logs in as one of the tenant's logins, as its services do: over TLS, the server verified in full.
    pub async fn as_tenant(
        &self,
        tenant: &TenantId,
        login: Ending,
        password: &str,
    ) -> Result<PgConnection, Error> {
        let settings = &self.inner.settings;
        let options = PgConnectOptions::new_without_pgpass()
            .host(settings.own_host())
            .port(settings.port)
            .username(Ident::role(tenant, login).as_str())
            .password(password)
            .database(Ident::of(tenant).as_str())
            .application_name("reeve-probe")
            // What the tenant made or set for its roles has no say in what is found out about it.
            .options([
                ("search_path", "pg_catalog,pg_temp"),
                ("jit", "off"),
                ("role", "none"),
                ("default_transaction_read_only", "off"),
                ("statement_timeout", "5s"),
                ("lock_timeout", "2s"),
            ])
            .ssl_mode(PgSslMode::VerifyFull)
            .ssl_root_cert(&settings.tls.ca);
        connect(&options).await
    }

    /// Runs statements of ours in one transaction: short locks, and nothing of them in PostgreSQL's own log.
    pub async fn in_one_transaction(&self, database: &str, statements: &[Statement]) -> Result<(), Error> {
        let mut session = self.control(database).await?;
        let mut script = String::from(
            "BEGIN; SET LOCAL log_min_error_statement = 'panic'; SET LOCAL lock_timeout = '1500ms';\n",
        );
        for statement in statements {
            script.push_str(statement);
            script.push_str(";\n");
        }
        script.push_str("COMMIT");
        sqlx::raw_sql(ident::ours(script)).execute(&mut session).await?;
        Ok(())
    }

    /// Runs one statement that no transaction may hold: CREATE DATABASE, DROP DATABASE.
    pub async fn alone(&self, statement: Statement) -> Result<(), Error> {
        let mut session = self.control("postgres").await?;
        sqlx::raw_sql(ident::ours(statement))
            .execute(&mut session)
            .await?;
        Ok(())
    }
}

async fn connect(options: &PgConnectOptions) -> Result<PgConnection, Error> {
    let options = options.clone().disable_statement_logging();
    match tokio::time::timeout(PATIENCE, options.connect()).await {
        Ok(session) => Ok(session?),
        Err(_) => Err(Error::retry("CONNECTION", "PostgreSQL does not answer")),
    }
}
