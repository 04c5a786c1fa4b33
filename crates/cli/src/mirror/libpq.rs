//! The form of libpq's service files: a section a service, a line a parameter, and no quoting at all.

use std::path::Path;

use super::{Odd, Open};

/// The longest line that libpq reads, without its end.
const LINE_BYTES_MAX: usize = 1_022;

pub fn text(tenants: &[Open<'_>], ca: &Path) -> Result<String, Odd> {
    let mut text =
        String::from("# Written by `reeve service-file`, and written anew when anything changes.\n");
    for one in tenants {
        let (write, of) = (one.write, one.resolution);
        let port = write.port.to_string();
        let ca = ca.to_string_lossy();
        let lines = [
            ("host", write.host.as_str()),
            ("port", &port),
            ("dbname", &of.database),
            ("user", &of.role),
            ("password", one.password),
            ("sslmode", "verify-full"),
            ("sslrootcert", &ca),
        ];
        text.push_str(&format!("\n[{}]\n", of.slug));
        for (name, value) in lines {
            let line = format!("{name}={value}");
            let is_plain = !value.is_empty() && value.trim() == value && !value.contains(char::is_control);
            if !is_plain || line.len() > LINE_BYTES_MAX {
                return Err(Odd {
                    tenant: of.slug.clone(),
                    what: name,
                });
            }
            text.push_str(&line);
            text.push('\n');
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::super::pgbouncer;
    use super::*;
    use reeve_client::v1;

    fn written(shape: super::super::Shape, host: &str, password: &str) -> Result<String, Odd> {
        let resolution = v1::Resolution {
            slug: "cho-ray".into(),
            database: "t_01".into(),
            role: "t_01_a".into(),
            ..Default::default()
        };
        let write = v1::Endpoint {
            host: host.into(),
            port: 5432,
            ..Default::default()
        };
        let open = Open {
            resolution: &resolution,
            write: &write,
            password,
        };
        shape(&[open], Path::new("/etc/it's/reeve.crt"))
    }

    #[test]
    fn each_form_says_where_and_how() {
        let libpq = "# Written by `reeve service-file`, and written anew when anything changes.\n
[cho-ray]\nhost=db.example\nport=5432\ndbname=t_01\nuser=t_01_a\npassword=s3-_\nsslmode=verify-full\nsslrootcert=/etc/it's/reeve.crt\n";
        assert_eq!(written(text, "db.example", "s3-_").unwrap(), libpq);
        let pgbouncer =
            ";; Written by `reeve pgbouncer-ini`, and written anew when anything changes. For [pgbouncer]:
;; server_tls_sslmode = verify-full\n;; server_tls_ca_file = /etc/it's/reeve.crt\n
[databases]\ncho-ray = host='db.example' port=5432 dbname='t_01' user='t_01_a' password='it''s'\n";
        assert_eq!(written(pgbouncer::text, "db.example", "it's").unwrap(), pgbouncer);
    }

    #[test]
    fn what_would_be_read_as_something_else_is_not_written() {
        for shape in [text as super::super::Shape, pgbouncer::text] {
            for odd in ["", "a\nsslmode=disable", "\u{7f}"] {
                assert_eq!(written(shape, odd, "s").unwrap_err().what, "host", "{odd:?}");
                assert_eq!(written(shape, "h", odd).unwrap_err().what, "password", "{odd:?}");
            }
        }
        assert_eq!(
            written(text, " h", "s").unwrap_err().what,
            "host",
            "libpq would trim it"
        );
        assert_eq!(
            written(text, &"h".repeat(2_000), "s").unwrap_err().what,
            "host",
            "libpq would cut it"
        );
    }
}
