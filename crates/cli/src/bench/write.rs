//! Writing: a whole audited command that leaves everything as it is. Each tenant gets the display name it has.

use std::sync::Arc;

use reeve_client::v1::tenant_service_client::TenantServiceClient;
use reeve_client::{request_id, v1};
use tonic::transport::Channel;

use super::load::{Load, drive};
use super::tally::Tally;
use super::target::reason_of;

/// A change of each tenant, still without a name of its own.
pub fn changes(tenants: Vec<v1::Tenant>) -> Arc<[v1::UpdateTenantRequest]> {
    tenants.into_iter().map(change).collect()
}

fn change(tenant: v1::Tenant) -> v1::UpdateTenantRequest {
    v1::UpdateTenantRequest {
        request_id: String::new(),
        tenant: Some(v1::Tenant {
            id: tenant.id,
            display_name: tenant.display_name,
            ..Default::default()
        }),
        update_mask: vec!["display_name".to_owned()],
    }
}

/// The n-th change, going round, under an id that was never used.
pub fn nth(changes: &[v1::UpdateTenantRequest], number: u64) -> v1::UpdateTenantRequest {
    v1::UpdateTenantRequest {
        request_id: request_id(),
        ..changes[number as usize % changes.len()].clone()
    }
}

/// Writes for a while. There must be a change.
pub async fn measure(channels: &[Channel], changes: Arc<[v1::UpdateTenantRequest]>, load: &Load) -> Tally {
    drive(load, |worker| {
        let client = TenantServiceClient::new(channels[worker % channels.len()].clone());
        let changes = changes.clone();
        move |number| {
            let mut client = client.clone();
            let asked = nth(&changes, number);
            async move {
                let answered = client.update_tenant(asked).await;
                answered.map(drop).map_err(|status| reason_of(&status))
            }
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_leaves_everything_as_it_is_and_happens_under_a_new_name() {
        let tenant = v1::Tenant {
            id: "t_1".into(),
            slug: "a".into(),
            display_name: "A Hospital".into(),
            etag: "e".into(),
            ..Default::default()
        };
        let changes = changes(vec![tenant]);
        let (one, two) = (nth(&changes, 0), nth(&changes, 1));
        assert_ne!(one.request_id, two.request_id);
        assert_eq!(one.tenant, two.tenant);
        let sent = one.tenant.unwrap();
        assert_eq!(
            (sent.id.as_str(), sent.display_name.as_str()),
            ("t_1", "A Hospital")
        );
        assert_eq!(
            (sent.etag.as_str(), one.update_mask.as_slice()),
            ("", ["display_name".to_owned()].as_slice())
        );
    }
}
