//! The one place where names and texts become SQL. Everything that is put together passes here.

use reeve_domain::TenantId;
use sqlx::AssertSqlSafe;

/// A role or database of a tenant, or one of the control roles: letters, digits and '_' only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ident(String);

impl Ident {
    /// The tenant's database, and its group role.
    pub fn of(tenant: &TenantId) -> Ident {
        Ident(tenant.to_string())
    }

    /// A role of the tenant's by its ending: "ddl", "a", "b", "mig".
    pub fn role(tenant: &TenantId, ending: Ending) -> Ident {
        Ident(format!("{tenant}_{}", ending.word()))
    }

    /// The bare name, for parameters and connections.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Quoted, for statements.
    pub fn quoted(&self) -> String {
        quoted(&self.0)
    }
}

/// The endings that tenants' roles have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Ddl,
    A,
    B,
    Mig,
}

impl Ending {
    /// All of them.
    pub const ALL: [Ending; 4] = [Ending::Ddl, Ending::A, Ending::B, Ending::Mig];

    fn word(self) -> &'static str {
        match self {
            Ending::Ddl => "ddl",
            Ending::A => "a",
            Ending::B => "b",
            Ending::Mig => "mig",
        }
    }
}

/// Any name that a catalog holds, quoted: roles and databases that others made are called as they like.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as a literal. Backslashes are ordinary: standard_conforming_strings is on.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\0', "").replace('\'', "''"))
}

/// A statement of ours, made of quoted parts only.
pub(super) fn ours(sql: String) -> AssertSqlSafe<String> {
    AssertSqlSafe(sql)
}

/// A whole file of a tenant's schema, which runs as the tenant's own migration role and never as a superuser.
pub(crate) fn tenants_own(sql: String) -> AssertSqlSafe<String> {
    AssertSqlSafe(sql)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_ids_alone_and_texts_cannot_end_their_literal() {
        let tenant = TenantId::from_random(1);
        assert_eq!(Ident::of(&tenant).quoted(), "\"t_000000000001\"");
        assert_eq!(Ident::role(&tenant, Ending::Mig).as_str(), "t_000000000001_mig");
        assert_eq!(quoted("a\"; DROP ROLE x; --"), "\"a\"\"; DROP ROLE x; --\"");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\0'; DROP"), "'a''; DROP'");
        for odd in [
            "t_\"; DROP ROLE x; --",
            "t_ABCDEFABCDEF",
            "pg_read_all_data",
            "t_00000000000é",
        ] {
            assert!(TenantId::parse(odd).is_err(), "{odd}");
        }
    }
}
