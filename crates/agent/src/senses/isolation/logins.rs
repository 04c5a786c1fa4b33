//! F10 and F11: who may log in, and with which password, beside what was set.

use reeve_domain::TenantId;
use reeve_domain::isolation::{Found, Rule};
use sqlx::PgConnection;

use super::{Whom, found, tenant};
use crate::host::{Error, Host};

/// Tenants' roles as they are: the password's verifier is only told by its sum. `$1`: one tenant, or none for all.
const ROLES: &str = "SELECT left(rolname, 14), rolname::text, rolcanlogin, \
    rolpassword IS NOT NULL, coalesce(rolpassword LIKE 'SCRAM-SHA-256$%', true), \
    coalesce(rolvaliduntil < now(), false), encode(sha256(convert_to(coalesce(rolpassword, ''), 'UTF8')), 'hex') \
    FROM pg_authid WHERE ($1::text IS NULL OR left(rolname, 14) = $1) \
        AND rolname ~ '^t_[0-9a-f]{12}(_(a|b|ddl|mig))?$'";

/// One role as it is.
struct Role {
    tenant: TenantId,
    name: String,
    can_log_in: bool,
    has_password: bool,
    is_scram: bool,
    is_over: bool,
    sum: String,
}

pub(super) async fn look(
    host: &Host,
    session: &mut PgConnection,
    whom: Whom<'_>,
) -> Result<Vec<Found>, Error> {
    type Row = (String, String, bool, bool, bool, bool, String);
    // What is wanted first: what is set meanwhile is by a step, and its tenant is not judged.
    let wanted = host.logins();
    let rows: Vec<Row> = sqlx::query_as(ROLES)
        .bind(whom.only())
        .fetch_all(&mut *session)
        .await?;
    let roles = rows.into_iter().filter_map(|row| {
        Some(Role {
            tenant: tenant(Some(row.0))?,
            name: row.1,
            can_log_in: row.2,
            has_password: row.3,
            is_scram: row.4,
            is_over: row.5,
            sum: row.6,
        })
    });
    Ok(roles
        .flat_map(|role| judge(&role, wanted.get(&role.name).map(String::as_str)))
        .collect())
}

/// What is wrong with a role whose password should have this sum; none: it should not log in at all.
fn judge(role: &Role, wanted: Option<&str>) -> Vec<Found> {
    let odd = |rule, why: &str| {
        found(
            rule,
            Some(role.tenant.clone()),
            format!("role {}: {why}", role.name),
            "",
        )
    };
    let login = [
        (role.can_log_in && wanted.is_none(), "may log in"),
        (!role.can_log_in && wanted.is_some(), "may not log in any more"),
        (role.has_password && wanted.is_none(), "has a password"),
        (!role.is_scram, "has a password that is no SCRAM verifier"),
        (
            role.can_log_in && role.is_over,
            "has a password whose time is over",
        ),
    ];
    let mut all: Vec<Found> = login
        .into_iter()
        .filter(|(is, _)| *is)
        .map(|(_, why)| odd(Rule::Login, why))
        .collect();
    if wanted.is_some_and(|sum| sum != role.sum) {
        all.push(odd(Rule::Password, "its password is not the registry's"));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role() -> Role {
        Role {
            tenant: TenantId::from_random(1),
            name: "t_000000000001_a".into(),
            can_log_in: true,
            has_password: true,
            is_scram: true,
            is_over: false,
            sum: "5e".into(),
        }
    }

    fn codes(role: Role, wanted: Option<&str>) -> Vec<&'static str> {
        judge(&role, wanted).iter().map(|f| f.rule.code()).collect()
    }

    #[test]
    fn each_difference_from_what_was_set_is_told() {
        assert!(codes(role(), Some("5e")).is_empty());
        assert_eq!(codes(role(), Some("other")), ["F11"]);
        assert_eq!(codes(role(), None), ["F10", "F10"]);
        assert_eq!(
            codes(
                Role {
                    is_scram: false,
                    ..role()
                },
                Some("5e")
            ),
            ["F10"]
        );
        assert_eq!(
            codes(
                Role {
                    is_over: true,
                    ..role()
                },
                Some("5e")
            ),
            ["F10"]
        );
        assert_eq!(
            codes(
                Role {
                    can_log_in: false,
                    ..role()
                },
                Some("5e")
            ),
            ["F10"]
        );
        let resting = Role {
            can_log_in: false,
            has_password: false,
            ..role()
        };
        assert!(codes(resting, None).is_empty());
    }
}
