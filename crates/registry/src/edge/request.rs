//! What makes a change happen once: the caller's request id, and a hash of everything it asked.

use std::collections::BTreeMap;

use prost::Message;
use reeve_domain::{RequestId, digest, request::Key};
use reeve_proto::convert::BadField;
use reeve_proto::{Rpc, v1};

/// A request whose bytes can be written in one way only.
pub(super) trait Canonical: Message + Clone {
    /// The caller's name for it.
    fn request_id(&self) -> &str;

    /// Takes out what is written in any order, and gives it back in the one order.
    fn take_unordered(&mut self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }
}

macro_rules! canonical {
    ($($name:ident),*) => { $(
        impl Canonical for v1::$name {
            fn request_id(&self) -> &str {
                &self.request_id
            }
        }
    )* };
}

canonical!(
    SuspendTenantRequest,
    ResumeTenantRequest,
    DeleteTenantRequest,
    CreateRegionRequest,
    FenceGroupRequest,
    UnfenceGroupRequest,
    CancelOperationRequest,
    RemoveNodeRequest,
    RevokePrincipalRequest
);

impl Canonical for v1::CreateTenantRequest {
    fn request_id(&self) -> &str {
        &self.request_id
    }

    fn take_unordered(&mut self) -> BTreeMap<String, String> {
        std::mem::take(&mut self.labels).into_iter().collect()
    }
}

impl Canonical for v1::UpdateTenantRequest {
    fn request_id(&self) -> &str {
        &self.request_id
    }

    fn take_unordered(&mut self) -> BTreeMap<String, String> {
        let labels = self
            .tenant
            .as_mut()
            .map(|tenant| std::mem::take(&mut tenant.labels));
        labels.unwrap_or_default().into_iter().collect()
    }
}

/// The key under which the answer is remembered; a change must have one.
pub(super) fn key<R: Canonical>(rpc: Rpc, request: &R) -> Result<Key, BadField> {
    let id = RequestId::parse(request.request_id()).map_err(|error| BadField::new("request_id", error))?;
    let mut ordered = request.clone();
    let unordered = ordered.take_unordered();
    let bytes = ordered.encode_to_vec();
    let length = (bytes.len() as u64).to_be_bytes();
    let rest = digest::of(&unordered);
    let hash = digest::of_bytes(&[rpc.path().as_bytes(), &[0], &length, &bytes, &rest]);
    Ok(Key { id, hash })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(labels: &[(&str, &str)]) -> v1::CreateTenantRequest {
        v1::CreateTenantRequest {
            request_id: "r1".into(),
            slug: "cho-ray".into(),
            labels: labels.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
            ..Default::default()
        }
    }

    #[test]
    fn the_order_of_labels_does_not_count_and_everything_else_does() {
        let key = |r: &v1::CreateTenantRequest| key(Rpc::TenantCreateTenant, r).unwrap().hash;
        let labels = [("a", "1"), ("b", "2"), ("c", "3"), ("d", "4"), ("e", "5")];
        let backwards: Vec<_> = labels.iter().rev().copied().collect();
        assert_eq!(key(&request(&labels)), key(&request(&backwards)));
        assert_ne!(key(&request(&labels)), key(&request(&labels[..4])));
        let mut other = request(&labels);
        other.slug = "bach-mai".into();
        assert_ne!(key(&request(&labels)), key(&other));
    }

    #[test]
    fn another_rpc_under_the_same_id_is_another_request() {
        let suspend = v1::SuspendTenantRequest {
            request_id: "r1".into(),
            tenant: "t".into(),
            ..Default::default()
        };
        let resume = v1::ResumeTenantRequest {
            request_id: "r1".into(),
            tenant: "t".into(),
            ..Default::default()
        };
        let one = key(Rpc::TenantSuspendTenant, &suspend).unwrap();
        let two = key(Rpc::TenantResumeTenant, &resume).unwrap();
        assert_eq!(one.id, two.id);
        assert_ne!(one.hash, two.hash);
    }

    #[test]
    fn a_change_without_a_request_id_is_refused_by_name() {
        let mut nameless = request(&[]);
        nameless.request_id.clear();
        assert_eq!(
            key(Rpc::TenantCreateTenant, &nameless).unwrap_err().field,
            "request_id"
        );
    }
}
