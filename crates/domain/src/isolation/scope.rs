//! How far a round looked: what it did not look at is neither found nor gone.

use std::collections::BTreeSet;

use super::Rule;
use crate::ids::TenantId;

/// What a round could judge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Not all that was found is told.
    pub truncated: bool,
    /// Tenants that a step was at work on: what is seen of them is half done.
    pub half_done: BTreeSet<TenantId>,
    /// Databases that were looked into.
    pub inside: BTreeSet<TenantId>,
    /// Tenants whose probe came to a verdict.
    pub probed: BTreeSet<TenantId>,
}

impl Scope {
    /// Whether a finding that was open and is not found now is gone. Whoever is not here any more has none.
    pub fn closes(&self, rule: Rule, tenant: Option<&TenantId>, subject: &str, is_here: bool) -> bool {
        if self.truncated {
            return false;
        }
        let Some(tenant) = tenant.filter(|_| is_here) else {
            return true;
        };
        if self.half_done.contains(tenant) {
            return false;
        }
        match rule {
            Rule::Leak | Rule::Unproved => self.probed.contains(tenant),
            _ if is_inside(tenant, subject) => self.inside.contains(tenant),
            _ => true,
        }
    }
}

/// The subject of what only a look into the tenant's own database can tell.
pub fn inside(tenant: &TenantId, what: &str) -> String {
    format!("{tenant}: {what}")
}

fn is_inside(tenant: &TenantId, subject: &str) -> bool {
    let rest = subject.strip_prefix(tenant.as_str());
    rest.is_some_and(|rest| rest.starts_with(": "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_looked_at_is_gone() {
        let [one, two] = [1, 2].map(TenantId::from_random);
        let scope = Scope {
            inside: [one.clone()].into(),
            probed: [two.clone()].into(),
            ..Scope::default()
        };
        let closes = |rule, of: &TenantId, subject: &str| scope.closes(rule, Some(of), subject, true);
        let extension = |of: &TenantId| inside(of, "extension dblink");
        assert!(closes(Rule::Grant, &one, "CONNECT") && closes(Rule::Grant, &two, "CONNECT"));
        assert!(closes(Rule::Object, &one, &extension(&one)));
        assert!(
            !closes(Rule::Object, &two, &extension(&two)),
            "nobody looked into it"
        );
        assert!(!closes(Rule::Leak, &one, "open") && closes(Rule::Leak, &two, "open"));
        assert!(
            scope.closes(Rule::Leak, Some(&one), "open", false),
            "who left has none"
        );
        assert!(scope.closes(Rule::Hba, None, "open", true));
        let half = Scope {
            half_done: [two.clone()].into(),
            ..scope.clone()
        };
        assert!(!half.closes(Rule::Grant, Some(&two), "CONNECT", true));
        let cut = Scope {
            truncated: true,
            ..scope
        };
        assert!(
            !cut.closes(Rule::Grant, Some(&one), "CONNECT", true) && !cut.closes(Rule::Hba, None, "x", true)
        );
    }
}
