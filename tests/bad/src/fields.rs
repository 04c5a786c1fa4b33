//! Every field that a caller can fill, as the descriptors have it.

use anyhow::{Context, Result};
use prost_reflect::{DescriptorPool, Kind, MessageDescriptor, MethodDescriptor};

/// Messages that are one value to whoever fills them.
const WHOLE: [&str; 3] = [
    "google.protobuf.Duration",
    "google.protobuf.Timestamp",
    "google.protobuf.Struct",
];

/// All that the proto files say.
pub fn pool() -> Result<DescriptorPool> {
    DescriptorPool::decode(reeve_proto::DESCRIPTORS).context("the descriptors")
}

/// Every RPC of the public API.
pub fn methods(pool: &DescriptorPool) -> Vec<MethodDescriptor> {
    let services = pool.services().filter(|s| s.package_name() == "reeve.v1");
    services
        .flat_map(|service| service.methods().collect::<Vec<_>>())
        .collect()
}

/// `TenantService/CreateTenant`.
pub fn name(method: &MethodDescriptor) -> String {
    format!("{}/{}", method.parent_service().name(), method.name())
}

/// The paths of all fields: `claims` is how many there are, `claims[]` one of them, `claims[].key` a field of it,
/// `labels{}` a map.
pub fn paths(message: &MessageDescriptor) -> Vec<String> {
    let mut all = Vec::new();
    walk(message, "", &mut all);
    all
}

fn walk(message: &MessageDescriptor, before: &str, all: &mut Vec<String>) {
    for field in message.fields() {
        let path = format!("{before}{}", field.name());
        if field.is_map() {
            all.push(format!("{path}{{}}"));
            continue;
        }
        all.push(path.clone());
        let path = match field.is_list() {
            true => format!("{path}[]"),
            false => path,
        };
        match field.kind() {
            Kind::Message(inner) if !WHOLE.contains(&inner.full_name()) => {
                walk(&inner, &format!("{path}."), all);
            }
            _ if field.is_list() => all.push(path),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_maps_and_messages_are_all_walked() {
        let pool = pool().unwrap();
        let create = pool.get_message_by_name("reeve.v1.CreateTenantRequest").unwrap();
        let paths = paths(&create);
        for path in [
            "slug",
            "region_policy",
            "region_policy.home",
            "region_policy.allowed",
            "region_policy.allowed[]",
            "claims",
            "claims[].key",
            "settings",
            "labels{}",
            "turn.priority",
        ] {
            assert!(paths.iter().any(|known| known == path), "{path} in {paths:?}");
        }
        assert!(methods(&pool).len() > 40);
    }
}
