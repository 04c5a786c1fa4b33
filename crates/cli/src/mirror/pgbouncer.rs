//! The form of pgbouncer's settings: what its own file takes in by `%include`.

use std::path::Path;

use super::{Odd, Open};

pub fn text(tenants: &[Open<'_>], ca: &Path) -> Result<String, Odd> {
    // Not [pgbouncer]: a second section of that name would set all of the first back. So TLS is for its own file to say.
    let mut text = format!(
        ";; Written by `reeve pgbouncer-ini`, and written anew when anything changes. For [pgbouncer]:\n\
         ;; server_tls_sslmode = verify-full\n;; server_tls_ca_file = {}\n\n[databases]\n",
        ca.display()
    );
    for one in tenants {
        let (write, of) = (one.write, one.resolution);
        let quoted = |what, value: &str| {
            let is_plain = !value.is_empty() && !value.contains(char::is_control);
            let odd = Odd {
                tenant: of.slug.clone(),
                what,
            };
            is_plain
                .then(|| format!("'{}'", value.replace('\'', "''")))
                .ok_or(odd)
        };
        text.push_str(&format!(
            "{} = host={} port={} dbname={} user={} password={}\n",
            of.slug,
            quoted("host", &write.host)?,
            write.port,
            quoted("dbname", &of.database)?,
            quoted("user", &of.role)?,
            quoted("password", one.password)?,
        ));
    }
    Ok(text)
}
