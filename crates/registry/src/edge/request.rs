//! What makes a change happen once: the caller's request id, and a hash of everything it asked.

use std::collections::BTreeMap;

use prost::Message;
use reeve_domain::request::{Key, REMEMBER_MS};
use reeve_domain::{RequestId, Stamp, digest};
use reeve_proto::convert::BadField;
use reeve_proto::{Rpc, v1};
use uuid::Uuid;

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
    RetryOperationRequest,
    SetOperationLimitsRequest,
    AcknowledgeAlertRequest,
    TestAlertRequest,
    ScanIsolationRequest,
    SetAllowlistRequest,
    RotateCredentialRequest,
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

/// How old an id may be that says when it was made. Its answer is remembered for a day from when it came first; a
/// caller's clock may be an hour off.
const AGE_MAX_MS: u64 = REMEMBER_MS - 3_600_000;

/// The key under which the answer is remembered; a change must have one. An id that is too old to be remembered is
/// refused where that can be seen: it may have been carried out, and must not be once more.
pub(super) fn key<R: Canonical>(rpc: Rpc, request: &R, now: Stamp) -> Result<Key, BadField> {
    let id = RequestId::parse(request.request_id()).map_err(|error| BadField::new("request_id", error))?;
    if made(&id).is_some_and(|made| now.millis_since(made) > AGE_MAX_MS) {
        let why = "was made over 23 h ago, and an answer is remembered for a day: look whether it was done, then \
                   take a new id";
        return Err(BadField::new("request_id", why));
    }
    let mut ordered = request.clone();
    let unordered = ordered.take_unordered();
    let bytes = ordered.encode_to_vec();
    let length = (bytes.len() as u64).to_be_bytes();
    let rest = digest::of(&unordered);
    let hash = digest::of_bytes(&[rpc.path().as_bytes(), &[0], &length, &bytes, &rest]);
    Ok(Key { id, hash })
}

/// When an id was made, if it is a UUID that says so (version 7).
fn made(id: &RequestId) -> Option<Stamp> {
    let (seconds, nanos) = Uuid::try_parse(id.as_str()).ok()?.get_timestamp()?.to_unix();
    Some(Stamp(
        seconds.saturating_mul(1_000) + u64::from(nanos / 1_000_000),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Stamp = Stamp(1_790_000_000_000);

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
        let key = |r: &v1::CreateTenantRequest| key(Rpc::TenantCreateTenant, r, NOW).unwrap().hash;
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
        let one = key(Rpc::TenantSuspendTenant, &suspend, NOW).unwrap();
        let two = key(Rpc::TenantResumeTenant, &resume, NOW).unwrap();
        assert_eq!(one.id, two.id);
        assert_ne!(one.hash, two.hash);
    }

    #[test]
    fn a_change_without_a_request_id_is_refused_by_name() {
        let mut nameless = request(&[]);
        nameless.request_id.clear();
        assert_eq!(
            key(Rpc::TenantCreateTenant, &nameless, NOW).unwrap_err().field,
            "request_id"
        );
    }

    #[test]
    fn an_id_whose_answer_may_be_forgotten_is_refused_where_it_says_so() {
        let asked = |id: String| {
            let request = v1::CreateTenantRequest {
                request_id: id,
                ..request(&[])
            };
            key(Rpc::TenantCreateTenant, &request, NOW)
        };
        let made = |age_ms: u64| {
            let made = NOW.0 - age_ms;
            let at =
                uuid::Timestamp::from_unix(uuid::NoContext, made / 1_000, (made % 1_000) as u32 * 1_000_000);
            Uuid::new_v7(at)
        };
        assert!(asked(made(AGE_MAX_MS).to_string()).is_ok());
        for old in [made(AGE_MAX_MS + 1), made(NOW.0)] {
            let refused = asked(old.to_string()).unwrap_err();
            assert_eq!(refused.field, "request_id");
            assert!(
                asked(old.simple().to_string().to_uppercase()).is_err(),
                "however it is written"
            );
        }
        // Made a little ahead of this clock, or by a caller who says nothing of when.
        let ahead = uuid::Timestamp::from_unix(uuid::NoContext, NOW.0 / 1_000 + 3_600, 0);
        assert!(asked(Uuid::new_v7(ahead).to_string()).is_ok());
        assert!(asked(Uuid::new_v4().to_string()).is_ok());
        assert!(asked("order-17".into()).is_ok());
    }
}
