//! The form of pgbouncer's settings: what its own file takes in by `%include`.

use std::path::Path;

use super::{Odd, Open, Shape};

/// pgbouncer's own database, of which there is no other.
const RESERVED: &str = "pgbouncer";

/// A section of databases.
pub const SHAPE: Shape = Shape { head, entry };

/// Not [pgbouncer]: a second section of that name would set all of the first back. So TLS is for its own file to say.
fn head(ca: &Path) -> String {
    format!(
        ";; Written by `reeve pgbouncer-ini`, and written anew when anything changes. For [pgbouncer]:\n\
         ;; server_tls_sslmode = verify-full\n;; server_tls_ca_file = {}\n\n[databases]\n",
        ca.display()
    )
}

fn entry(one: &Open<'_>, _: &Path) -> Result<String, Odd> {
    let (write, of) = (one.write, one.resolution);
    let quoted = |what, value: &str| {
        let is_plain = !value.is_empty() && !value.contains(char::is_control);
        let quoted = || format!("'{}'", value.replace('\'', "''"));
        is_plain.then(quoted).ok_or(Odd(what))
    };
    if of.slug == RESERVED {
        return Err(Odd("slug"));
    }
    Ok(format!(
        "{} = host={} port={} dbname={} user={} password={}\n",
        of.slug,
        quoted("host", &write.host)?,
        write.port,
        quoted("dbname", &of.database)?,
        quoted("user", &of.role)?,
        quoted("password", one.password)?,
    ))
}
