//! Credentials and who holds them; never a secret.

use std::time::{SystemTime, UNIX_EPOCH};

use reeve_client::v1;
use serde::Serialize;

use super::{Freshness, Page, Show, col, lines, spare, table, time, wide};

#[derive(Clone, Debug, Serialize)]
pub struct Secret {
    pub tenant_id: String,
    pub tenant_slug: String,
    pub version: u64,
    pub role: String,
    pub publish_time: String,
    pub age_s: u64,
    /// The change that is at work on it.
    pub operation: String,
    pub client_count: u32,
    pub behind_count: u32,
    pub clients: Vec<Client>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Client {
    pub principal: String,
    pub instance: String,
    pub oldest_version: u64,
    pub newest_version: u64,
    pub read_time: String,
}

impl Secret {
    fn of(from: v1::Credential, now_s: u64) -> Secret {
        let published = from.publish_time.map_or(0, |at| at.seconds.max(0) as u64);
        Secret {
            tenant_id: from.tenant_id,
            tenant_slug: from.tenant_slug,
            version: from.version,
            role: from.role,
            publish_time: time(from.publish_time),
            age_s: now_s.saturating_sub(published),
            operation: from.operation,
            client_count: from.client_count,
            behind_count: from.behind_count,
            clients: from.clients.into_iter().map(Client::from).collect(),
        }
    }
}

impl From<v1::credential::Client> for Client {
    fn from(from: v1::credential::Client) -> Client {
        Client {
            principal: from.principal,
            instance: from.instance,
            oldest_version: from.oldest_version,
            newest_version: from.newest_version,
            read_time: time(from.read_time),
        }
    }
}

/// The credentials of some tenants.
#[derive(Debug, Default, Serialize)]
pub struct Secrets {
    pub credentials: Vec<Secret>,
    pub freshness: Option<Freshness>,
}

impl Secrets {
    pub fn take(&mut self, credentials: Vec<v1::Credential>) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let shown = credentials
            .into_iter()
            .map(|one| Secret::of(one, since.as_secs()));
        self.credentials.extend(shown);
    }

    /// The oldest first.
    pub fn sort(&mut self) {
        self.credentials
            .sort_by(|one, other| (other.age_s, &one.tenant_slug).cmp(&(one.age_s, &other.tenant_slug)));
    }
}

/// In its largest unit: a schedule is thought of in days.
fn age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

impl Show for Secrets {
    fn lines(&self) -> Vec<String> {
        lines(&self.credentials)
    }

    fn page(&self) -> Page {
        let row = |one: &Secret| {
            vec![
                one.tenant_slug.clone(),
                format!("v{}", one.version),
                one.role.clone(),
                age(one.age_s),
                one.client_count.to_string(),
                one.behind_count.to_string(),
                one.operation.clone(),
                one.tenant_id.clone(),
                one.publish_time.clone(),
            ]
        };
        let head = [
            col("TENANT"),
            col("VERSION"),
            col("ROLE"),
            col("AGE"),
            spare("CLIENTS"),
            col("BEHIND"),
            col("CHANGE"),
            wide("ID"),
            wide("PUBLISHED"),
        ];
        let secrets = table(head, self.credentials.iter().map(row));
        let clients = self
            .credentials
            .iter()
            .flat_map(|one| one.clients.iter().map(|client| holder(one, client)));
        let clients: Vec<Vec<String>> = clients.collect();
        match clients.is_empty() {
            true => secrets,
            false => {
                let head = ["TENANT", "HOLDS", "PRINCIPAL", "PROCESS", "READ"];
                secrets.and(table(head, clients))
            }
        }
    }
}

fn holder(secret: &Secret, client: &Client) -> Vec<String> {
    let holds = match client.oldest_version == client.newest_version {
        true => format!("v{}", client.newest_version),
        false => format!("v{} to v{}", client.oldest_version, client.newest_version),
    };
    let holds = match client.oldest_version < secret.version {
        true => format!("{holds}, BEHIND"),
        false => holds,
    };
    vec![
        secret.tenant_slug.clone(),
        holds,
        client.principal.clone(),
        client.instance.clone(),
        client.read_time.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(slug: &str, age_s: u64, oldest_version: u64) -> Secret {
        Secret {
            tenant_id: "t_0123456789ab".into(),
            tenant_slug: slug.into(),
            version: 2,
            role: "t_0123456789ab_b".into(),
            publish_time: String::new(),
            age_s,
            operation: String::new(),
            client_count: 1,
            behind_count: u32::from(oldest_version < 2),
            clients: vec![Client {
                principal: "spiffe://hospital/svc/ehr".into(),
                instance: "reeve-01".into(),
                oldest_version,
                newest_version: 2,
                read_time: String::new(),
            }],
        }
    }

    #[test]
    fn the_oldest_come_first_and_who_is_behind_is_named() {
        let mut secrets = Secrets {
            credentials: vec![secret("hue", 90, 2), secret("cho-ray", 86_400 * 91, 1)],
            freshness: None,
        };
        secrets.sort();
        let lines: Vec<String> = secrets.table().lines().map(str::to_owned).collect();
        assert!(
            lines[1].starts_with("cho-ray  v2       t_0123456789ab_b  91 d"),
            "{lines:?}"
        );
        assert!(lines[2].contains("90 s"), "{lines:?}");
        assert!(
            lines
                .iter()
                .any(|l| l.contains("v1 to v2, BEHIND  spiffe://hospital/svc/ehr")),
            "{lines:?}"
        );
    }
}
