//! Tenants, their databases, and what is asked about them.

use super::*;
use serde_json::json;

const NOBODY: &str = "nobody";

pub(super) fn doors(world: &World) -> Vec<Door> {
    let (tenant, operation) = (world.tenant.as_str(), world.operation.as_str());
    let mut all = lifecycle();
    all.extend(databases());
    all.extend(resolver(tenant));
    all.extend(operations(operation));
    all
}

fn lifecycle() -> Vec<Door> {
    vec![
        Door {
            call: "TenantService/CreateTenant",
            who: Who::Admin,
            base: json!({
                "requestId": "bad-1", "slug": "da-nang", "validateOnly": true,
                "regionPolicy": {"home": "vn", "allowed": ["vn"]},
                "claims": [{"kind": "KIND_DOMAIN", "key": "da-nang.example"}],
                "schema": {"channel": "ehr"}, "allowlistCidrs": ["10.0.0.0/8"],
            }),
            ends: Ends::Done,
            fields: all([
                vec![
                    ("request_id", REQUEST_ID),
                    ("slug", NEVER),
                    ("display_name", Kind::Text(|text| is_line(text, 200))),
                    ("region_policy", Kind::Part(Some("region_policy.home"))),
                    ("region_policy.home", NEVER),
                    ("region_policy.allowed", Kind::Many(64)),
                    ("region_policy.allowed[]", NEVER),
                    ("class", Kind::Enum(true)),
                    ("claims", Kind::Many(63)),
                    ("claims[].kind", Kind::Enum(false)),
                    // A domain in capitals is a Host header as it comes.
                    ("claims[].key", Kind::Text(|text| text == "ABC")),
                    ("schema", Kind::Part(Some("schema.channel"))),
                    ("schema.channel", NEVER),
                    ("schema.target_version", ANY),
                    ("schema.applied_version", Kind::Unread),
                    ("schema.applied_checksum", Kind::Unread),
                    ("allowlist_cidrs", Kind::Many(256)),
                    ("allowlist_cidrs[]", NEVER),
                    ("limits", Kind::Part(None)),
                    ("limits.connections", Kind::Number(|number| number <= 1000)),
                    ("settings", Kind::Settings),
                    ("labels{}", Kind::Labels),
                    ("validate_only", ANY),
                ],
                turn(),
            ]),
        },
        Door {
            call: "TenantService/GetTenant",
            who: Who::Admin,
            base: json!({"tenant": "cho-ray"}),
            ends: Ends::Done,
            fields: all([vec![("tenant", NEVER)], read()]),
        },
        Door {
            call: "TenantService/ListTenants",
            who: Who::Admin,
            base: json!({}),
            ends: Ends::Done,
            fields: all([
                page(),
                vec![("region", EMPTY_OR_NOT), ("state", Kind::Enum(true))],
                read(),
            ]),
        },
        Door {
            call: "TenantService/UpdateTenant",
            who: Who::Admin,
            base: json!({
                "requestId": "bad-1", "updateMask": ["display_name", "labels", "settings"],
                "tenant": {"id": "cho-ray", "displayName": "x", "etag": "stale", "labels": {"a": "b"}},
            }),
            ends: Ends::Refused(Reason::EtagMismatch),
            fields: vec![
                ("request_id", REQUEST_ID),
                ("tenant", Kind::Part(Some("tenant"))),
                ("tenant.id", NEVER),
                // Read when there is no id.
                ("tenant.slug", Kind::Unread),
                (
                    "tenant.display_name",
                    Kind::Text(|text| !text.is_empty() && is_line(text, 200)),
                ),
                ("tenant.state", Kind::Unread),
                ("tenant.access_mode", Kind::Unread),
                ("tenant.region_policy.*", Kind::Unread),
                ("tenant.class", Kind::Unread),
                ("tenant.claims.*", Kind::Unread),
                ("tenant.placement.*", Kind::Unread),
                ("tenant.schema.*", Kind::Unread),
                ("tenant.allowlist_cidrs.*", Kind::Unread),
                ("tenant.limits.*", Kind::Unread),
                ("tenant.settings", Kind::Settings),
                ("tenant.labels{}", Kind::Labels),
                ("tenant.etag", ETAG),
                ("tenant.create_time", Kind::Unread),
                ("tenant.update_time", Kind::Unread),
                ("tenant.current_operation", Kind::Unread),
                ("tenant.credential_version", Kind::Unread),
                ("tenant.mod_revision", Kind::Unread),
                ("tenant.legal_hold", Kind::Unread),
                ("tenant.fenced_because.*", Kind::Unread),
                ("tenant.not_ready.*", Kind::Unread),
                ("update_mask", Kind::Part(Some("update_mask"))),
                ("update_mask[]", NEVER),
            ],
        },
        Door {
            call: "TenantService/SuspendTenant",
            who: Who::Admin,
            base: json!({"requestId": "bad-1", "tenant": "cho-ray", "etag": "stale"}),
            ends: Ends::Refused(Reason::EtagMismatch),
            fields: vec![
                ("request_id", REQUEST_ID),
                ("tenant", NEVER),
                ("etag", ETAG),
                ("reason", REASON),
            ],
        },
        Door {
            call: "TenantService/ResumeTenant",
            who: Who::Admin,
            base: json!({"requestId": "bad-1", "tenant": "hue", "etag": "stale"}),
            ends: Ends::Refused(Reason::EtagMismatch),
            fields: vec![("request_id", REQUEST_ID), ("tenant", NEVER), ("etag", ETAG)],
        },
        Door {
            call: "TenantService/SetAllowlist",
            who: Who::Admin,
            base: json!({
                "requestId": "bad-1", "tenant": "cho-ray", "etag": "stale", "allowlistCidrs": ["10.0.0.0/8"],
            }),
            ends: Ends::Refused(Reason::EtagMismatch),
            fields: all([
                vec![
                    ("request_id", REQUEST_ID),
                    ("tenant", NEVER),
                    ("etag", ETAG),
                    ("allowlist_cidrs", Kind::Many(256)),
                    ("allowlist_cidrs[]", NEVER),
                ],
                turn(),
            ]),
        },
        Door {
            call: "TenantService/DeleteTenant",
            who: Who::Admin,
            base: json!({
                "requestId": "bad-1", "tenant": "cho-ray", "confirm": "cho-ray", "validateOnly": true,
            }),
            ends: Ends::Done,
            fields: all([
                vec![
                    ("request_id", REQUEST_ID),
                    ("tenant", NEVER),
                    ("etag", ETAG),
                    CONFIRM,
                    ("validate_only", ANY),
                ],
                turn(),
            ]),
        },
    ]
}

fn databases() -> Vec<Door> {
    vec![
        Door {
            call: "DatabaseService/ListFindings",
            who: Who::Admin,
            base: json!({}),
            ends: Ends::Done,
            fields: all([
                page(),
                vec![
                    ("tenant", EMPTY_OR_NOT),
                    ("group", EMPTY_OR_NOT),
                    ("include_closed", ANY),
                ],
                read(),
            ]),
        },
        Door {
            call: "DatabaseService/ScanIsolation",
            who: Who::Admin,
            base: json!({"requestId": "bad-1", "tenant": NOBODY}),
            ends: Ends::Refused(Reason::TenantNotFound),
            fields: all([vec![("request_id", REQUEST_ID), ("tenant", NEVER)], turn()]),
        },
        Door {
            call: "DatabaseService/RotateCredential",
            who: Who::Admin,
            base: json!({"requestId": "bad-1", "tenant": "cho-ray", "etag": "stale"}),
            ends: Ends::Refused(Reason::EtagMismatch),
            fields: all([
                vec![
                    ("request_id", REQUEST_ID),
                    ("tenant", NEVER),
                    ("etag", ETAG),
                    ("leaked", ANY),
                    (
                        "grace",
                        Kind::Length(|seconds, nanos| {
                            is_length(seconds, nanos) && (1..=604_800).contains(&seconds)
                        }),
                    ),
                ],
                turn(),
            ]),
        },
        Door {
            call: "DatabaseService/GetHealth",
            who: Who::Admin,
            base: json!({"tenant": "cho-ray"}),
            ends: Ends::Done,
            fields: all([vec![("tenant", NEVER)], read()]),
        },
        Door {
            call: "DatabaseService/ListCredentials",
            who: Who::Admin,
            base: json!({}),
            ends: Ends::Done,
            fields: all([
                page(),
                vec![("tenant", EMPTY_OR_NOT), ("include_clients", ANY)],
                read(),
            ]),
        },
    ]
}

fn resolver(tenant: &str) -> Vec<Door> {
    vec![
        Door {
            call: "ResolverService/Resolve",
            who: Who::Service,
            base: json!({"claim": {"kind": "KIND_SLUG", "key": "cho-ray"}}),
            ends: Ends::Done,
            fields: all([
                vec![
                    ("claim", Kind::Part(Some("claim"))),
                    ("claim.kind", Kind::Enum(false)),
                    ("claim.key", NEVER),
                    // Of a network that is none of the group's, those that it has are told.
                    ("network", EMPTY_OR_NOT),
                    ("explain", ANY),
                    ("require_ready", ANY),
                ],
                read(),
            ]),
        },
        Door {
            call: "ResolverService/BatchResolve",
            who: Who::Service,
            base: json!({"claims": [{"kind": "KIND_SLUG", "key": "cho-ray"}]}),
            ends: Ends::Done,
            fields: all([
                vec![
                    ("claims", Kind::Many(1000)),
                    ("claims[].kind", Kind::Enum(false)),
                    ("claims[].key", NEVER),
                    ("network", NETWORK),
                    ("require_ready", ANY),
                ],
                read(),
            ]),
        },
        Door {
            call: "ResolverService/Watch",
            who: Who::Service,
            base: json!({}),
            ends: Ends::Done,
            fields: vec![
                (
                    "after_revision",
                    Kind::Count(|revision| revision <= 1, Reason::NotCaughtUp),
                ),
                ("network", NETWORK),
                ("bookmark_interval", Kind::Length(is_length)),
            ],
        },
        Door {
            call: "ResolverService/GetCredential",
            who: Who::Service,
            base: json!({"tenantId": tenant, "version": "999"}),
            ends: Ends::Refused(Reason::Fenced),
            fields: vec![
                ("tenant_id", NEVER),
                (
                    "version",
                    Kind::OnlyBad(&Kind::Count(|version| version <= 1, Reason::Fenced)),
                ),
                ("slot", EMPTY_OR_NOT),
                ("instance", INSTANCE),
            ],
        },
        Door {
            call: "ResolverService/AcknowledgeCredential",
            who: Who::Service,
            base: json!({"tenantId": tenant, "version": "999"}),
            ends: Ends::Field("version"),
            fields: vec![
                ("tenant_id", NEVER),
                ("version", Kind::OnlyBad(&Kind::Number(|version| version <= 1))),
                ("instance", INSTANCE),
            ],
        },
    ]
}

const INSTANCE: Kind = Kind::Text(|text| {
    text.len() <= 64
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
});

fn operations(operation: &str) -> Vec<Door> {
    let named = json!({"operation": operation});
    let changed = json!({"requestId": "bad-1", "operation": operation});
    let change = || {
        vec![
            ("request_id", REQUEST_ID),
            ("operation", NEVER),
            ("reason", REASON),
        ]
    };
    let limits = |name| Kind::Part(Some(name));
    vec![
        Door {
            call: "OperationService/GetOperation",
            who: Who::Admin,
            base: named.clone(),
            ends: Ends::Done,
            fields: all([vec![("operation", NEVER)], read()]),
        },
        Door {
            call: "OperationService/ListOperations",
            who: Who::Admin,
            base: json!({}),
            ends: Ends::Done,
            fields: all([
                page(),
                vec![("tenant", EMPTY_OR_NOT), ("state", Kind::Enum(true))],
                read(),
            ]),
        },
        Door {
            call: "OperationService/WaitOperation",
            who: Who::Admin,
            base: named.clone(),
            ends: Ends::Done,
            fields: vec![("operation", NEVER), ("timeout", Kind::Length(is_length))],
        },
        Door {
            call: "OperationService/WatchOperation",
            who: Who::Admin,
            base: named,
            ends: Ends::Done,
            fields: vec![("operation", NEVER)],
        },
        Door {
            call: "OperationService/CancelOperation",
            who: Who::Admin,
            base: changed.clone(),
            ends: Ends::Refused(Reason::OperationEnded),
            fields: change(),
        },
        Door {
            call: "OperationService/RetryOperation",
            who: Who::Admin,
            base: changed,
            ends: Ends::Refused(Reason::OperationEnded),
            fields: change(),
        },
        Door {
            call: "OperationService/GetOperationLimits",
            who: Who::Admin,
            base: json!({}),
            ends: Ends::Done,
            fields: read(),
        },
        Door {
            call: "OperationService/SetOperationLimits",
            who: Who::Admin,
            base: json!({
                "requestId": "bad-1", "limits": {"perServer": 9, "perRegion": 65},
                "insteadOf": {"perServer": 63, "perRegion": 63},
            }),
            ends: Ends::Refused(Reason::EtagMismatch),
            fields: vec![
                ("request_id", REQUEST_ID),
                ("limits", limits("limits")),
                (
                    "limits.per_server",
                    Kind::Number(|number| (1..=64).contains(&number)),
                ),
                (
                    "limits.per_region",
                    Kind::Number(|number| (1..=1000).contains(&number)),
                ),
                // Without it the limits would be set.
                ("instead_of", ANY),
                ("instead_of.per_server", ANY),
                ("instead_of.per_region", ANY),
            ],
        },
    ]
}
