//! The form of libpq's service files: a section a service, a line a parameter, and no quoting at all.

use std::path::Path;

use super::{Odd, Open, Shape};

/// The longest line that libpq reads, without its end.
const LINE_BYTES_MAX: usize = 1_021;

/// `pg_service.conf`.
pub const SHAPE: Shape = Shape { head, entry };

fn head(_: &Path) -> String {
    "# Written by `reeve service-file`, and written anew when anything changes.\n".to_owned()
}

fn entry(one: &Open<'_>, ca: &Path) -> Result<String, Odd> {
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
    let mut text = format!("\n[{}]\n", of.slug);
    for (name, value) in lines {
        let line = format!("{name}={value}");
        let is_plain = !value.is_empty() && value.trim() == value && !value.contains(char::is_control);
        if !is_plain || line.len() > LINE_BYTES_MAX {
            return Err(Odd(name));
        }
        text.push_str(&line);
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::super::pgbouncer;
    use super::*;
    use reeve_client::v1;

    fn written(shape: Shape, slug: &str, host: &str, password: &str) -> Result<String, Odd> {
        let resolution = v1::Resolution {
            slug: slug.into(),
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
        let ca = Path::new("/etc/it's/reeve.crt");
        Ok((shape.head)(ca) + &(shape.entry)(&open, ca)?)
    }

    #[test]
    fn each_form_says_where_and_how() {
        let libpq = "# Written by `reeve service-file`, and written anew when anything changes.\n
[cho-ray]\nhost=db.example\nport=5432\ndbname=t_01\nuser=t_01_a\npassword=s3-_\nsslmode=verify-full\nsslrootcert=/etc/it's/reeve.crt\n";
        assert_eq!(written(SHAPE, "cho-ray", "db.example", "s3-_").unwrap(), libpq);
        let pgbouncer =
            ";; Written by `reeve pgbouncer-ini`, and written anew when anything changes. For [pgbouncer]:
;; server_tls_sslmode = verify-full\n;; server_tls_ca_file = /etc/it's/reeve.crt\n
[databases]\ncho-ray = host='db.example' port=5432 dbname='t_01' user='t_01_a' password='it''s'\n";
        let found = written(pgbouncer::SHAPE, "cho-ray", "db.example", "it's");
        assert_eq!(found.unwrap(), pgbouncer);
    }

    #[test]
    fn what_would_be_read_as_something_else_is_not_written() {
        for shape in [SHAPE, pgbouncer::SHAPE] {
            for odd in ["", "a\nsslmode=disable", "\u{7f}"] {
                assert_eq!(written(shape, "a", odd, "s"), Err(Odd("host")), "{odd:?}");
                assert_eq!(written(shape, "a", "h", odd), Err(Odd("password")), "{odd:?}");
            }
        }
        assert_eq!(
            written(SHAPE, "a", " h", "s"),
            Err(Odd("host")),
            "libpq would trim it"
        );
        let longest = "h".repeat(LINE_BYTES_MAX - "host=".len());
        assert!(written(SHAPE, "a", &longest, "s").is_ok());
        let cut = written(SHAPE, "a", &format!("{longest}h"), "s");
        assert_eq!(cut, Err(Odd("host")), "libpq would refuse the file");
        let reserved = written(pgbouncer::SHAPE, "pgbouncer", "h", "s");
        assert_eq!(reserved, Err(Odd("slug")), "pgbouncer would refuse the file");
        assert!(written(SHAPE, "pgbouncer", "h", "s").is_ok());
    }
}
