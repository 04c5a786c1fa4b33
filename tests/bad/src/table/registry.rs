//! The registry itself: nodes, groups, principals, alerts, the audit log.

use super::*;
use serde_json::json;

pub(super) fn doors(world: &World) -> Vec<Door> {
    let csr = world.csr.as_str();
    let mut all = nodes(csr);
    all.extend(joins(world.token.id(), &world.token.secret_text(), csr));
    all.extend(groups());
    all.extend(access(csr));
    all.extend(alerts());
    all
}

fn nodes(csr: &str) -> Vec<Door> {
    vec![
        Door {
            call: "ClusterService/GetCluster",
            who: Who::Admin,
            base: json!({}),
            ends: Ends::Done,
            fields: all([read(), vec![("with_state_hash", ANY)]]),
        },
        Door {
            call: "ClusterService/RemoveNode",
            who: Who::Admin,
            base: json!({"requestId": "bad-1", "nodeId": "77", "confirm": "hospital/77"}),
            ends: Ends::Refused(Reason::NodeNotFound),
            fields: vec![
                ("request_id", REQUEST_ID),
                ("node_id", Kind::OnlyBad(&Kind::Number(|id| id != 0))),
                CONFIRM,
                ("force", ANY),
            ],
        },
        Door {
            call: "ClusterService/TransferLeader",
            who: Who::Admin,
            base: json!({"toNodeId": "77"}),
            ends: Ends::Refused(Reason::NodeNotFound),
            fields: vec![(
                "to_node_id",
                Kind::OnlyBad(&Kind::Count(|id| id <= 1, Reason::NodeNotFound)),
            )],
        },
        Door {
            call: "ClusterService/RenewNode",
            who: Who::Node,
            base: json!({"csrPem": csr}),
            ends: Ends::Changes,
            fields: vec![("csr_pem", NEVER)],
        },
        Door {
            call: "AuditService/TailRecords",
            who: Who::Admin,
            base: json!({}),
            ends: Ends::Done,
            fields: vec![
                ("shard", EMPTY_OR_NOT),
                // Behind the last one there is nothing, and that is an answer.
                ("from_sequence", ANY),
                ("follow", ANY),
                ("limit", ANY),
            ],
        },
        Door {
            call: "AuditService/ListShards",
            who: Who::Admin,
            base: json!({}),
            ends: Ends::Done,
            fields: read(),
        },
    ]
}

/// The door of those who have no name yet. A token that is none is refused as one, and no more is said.
fn joins(id: &str, secret: &str, csr: &str) -> Vec<Door> {
    let token = Kind::Word(|_| false, Reason::TokenInvalid);
    let wrong = json!({"tokenId": id, "tokenSecret": "A".repeat(43), "csrPem": csr});
    let mut node = wrong.clone();
    node["apiAddress"] = "n9.example:7400".into();
    node["peerAddress"] = "n9.example:7401".into();
    // The true secret: it is the wrong door that is knocked at.
    let mut agent = json!({"tokenId": id, "tokenSecret": secret, "csrPem": csr});
    agent["postgresCsrPem"] = csr.into();
    agent["postgresHosts"] = json!(["db.example"]);
    vec![
        Door {
            call: "AccessService/Enroll",
            who: Who::Nobody,
            base: wrong,
            ends: Ends::Refused(Reason::TokenInvalid),
            fields: vec![
                ("token_id", token.clone()),
                ("token_secret", token.clone()),
                ("csr_pem", NEVER),
            ],
        },
        Door {
            call: "ClusterService/JoinNode",
            who: Who::Nobody,
            base: node,
            ends: Ends::Refused(Reason::TokenInvalid),
            fields: vec![
                ("token_id", token.clone()),
                ("token_secret", token.clone()),
                ("csr_pem", NEVER),
                ("api_address", NEVER),
                ("peer_address", NEVER),
                ("version_min", ANY),
                ("version_max", ANY),
            ],
        },
        Door {
            call: "AgentService/Join",
            who: Who::Nobody,
            base: agent,
            ends: Ends::Refused(Reason::TokenInvalid),
            fields: vec![
                ("token_id", token.clone()),
                ("token_secret", token),
                ("csr_pem", NEVER),
                ("postgres_csr_pem", NEVER),
                ("postgres_hosts", Kind::Many(32)),
                ("postgres_hosts[]", HOST),
            ],
        },
        Door {
            call: "AgentService/Renew",
            who: Who::Agent,
            base: json!({"csrPem": csr, "postgresCsrPem": csr, "postgresHosts": ["db.example"]}),
            ends: Ends::Changes,
            fields: vec![
                ("csr_pem", NEVER),
                ("postgres_csr_pem", NEVER),
                ("postgres_hosts", Kind::Many(32)),
                ("postgres_hosts[]", Kind::OnlyBad(&HOST)),
            ],
        },
    ]
}

const HOST: Kind = Kind::Text(|text| text == "ABC");

fn groups() -> Vec<Door> {
    let fence = || vec![("request_id", REQUEST_ID), ("group", NEVER), ("reason", REASON)];
    let nowhere = json!({"requestId": "bad-1", "group": "nowhere"});
    let confirmed = json!({"requestId": "bad-1", "group": "nowhere", "confirm": "nowhere"});
    vec![
        Door {
            call: "GroupService/ListRegions",
            who: Who::Admin,
            base: json!({}),
            ends: Ends::Done,
            fields: read(),
        },
        Door {
            call: "GroupService/CreateRegion",
            who: Who::Admin,
            base: json!({"requestId": "bad-1", "region": {"name": "vn"}}),
            ends: Ends::Refused(Reason::AlreadyExists),
            fields: vec![
                ("request_id", REQUEST_ID),
                ("region", Kind::Part(Some("region"))),
                ("region.name", NEVER),
                ("region.display_name", Kind::Text(|text| is_line(text, 200))),
            ],
        },
        Door {
            call: "GroupService/ListGroups",
            who: Who::Admin,
            base: json!({}),
            ends: Ends::Done,
            fields: all([page(), vec![("region", EMPTY_OR_NOT)], read()]),
        },
        Door {
            call: "GroupService/GetGroup",
            who: Who::Admin,
            base: json!({"group": "vn-1"}),
            ends: Ends::Done,
            fields: all([vec![("group", NEVER)], read()]),
        },
        Door {
            call: "GroupService/FenceGroup",
            who: Who::Admin,
            base: confirmed,
            ends: Ends::Refused(Reason::GroupNotFound),
            fields: all([fence(), vec![CONFIRM]]),
        },
        Door {
            call: "GroupService/UnfenceGroup",
            who: Who::Admin,
            base: nowhere,
            ends: Ends::Refused(Reason::GroupNotFound),
            fields: fence(),
        },
    ]
}

fn access(csr: &str) -> Vec<Door> {
    vec![
        Door {
            call: "AccessService/CreateJoinToken",
            who: Who::Admin,
            base: json!({"requestId": "bad-1", "role": "ROLE_AGENT", "name": "vn-9", "region": "nowhere"}),
            ends: Ends::Refused(Reason::RegionUnknown),
            fields: vec![
                // Not remembered: only the first answer could hold the secret.
                ("request_id", Kind::Unread),
                ("role", Kind::Enum(false)),
                ("name", NEVER),
                ("region", NEVER),
                ("group", EMPTY_OR_NOT),
                ("tenants", ANY),
                ("tenants[]", NEVER),
                (
                    "ttl",
                    Kind::Length(|seconds, nanos| is_length(seconds, nanos) && seconds > 0),
                ),
            ],
        },
        Door {
            call: "AccessService/RenewCertificate",
            who: Who::Service,
            base: json!({"csrPem": csr}),
            ends: Ends::Changes,
            fields: vec![("csr_pem", NEVER)],
        },
        Door {
            call: "AccessService/ListPrincipals",
            who: Who::Admin,
            base: json!({}),
            ends: Ends::Done,
            fields: all([page(), read()]),
        },
        Door {
            call: "AccessService/RevokePrincipal",
            who: Who::Admin,
            base: json!({
                "requestId": "bad-1",
                "principalId": "spiffe://hospital/svc/nobody",
                "confirm": "spiffe://hospital/svc/nobody"
            }),
            ends: Ends::Refused(Reason::PrincipalNotFound),
            fields: vec![
                ("request_id", REQUEST_ID),
                ("principal_id", NEVER),
                ("reason", REASON),
                CONFIRM,
            ],
        },
        Door {
            call: "AccessService/WhoAmI",
            who: Who::Service,
            base: json!({}),
            ends: Ends::Done,
            fields: vec![],
        },
    ]
}

fn alerts() -> Vec<Door> {
    vec![
        Door {
            call: "AlertService/ListAlerts",
            who: Who::Admin,
            base: json!({}),
            ends: Ends::Done,
            fields: all([page(), vec![("include_resolved", ANY)], read()]),
        },
        Door {
            call: "AlertService/AcknowledgeAlert",
            who: Who::Admin,
            base: json!({"requestId": "bad-1", "alert": "a_0123456789abcdef"}),
            ends: Ends::Refused(Reason::AlertNotFound),
            fields: vec![
                ("request_id", REQUEST_ID),
                ("alert", NEVER),
                ("note", NOTE),
                ("undo", ANY),
            ],
        },
        Door {
            call: "AlertService/TestAlert",
            who: Who::Admin,
            base: json!({"requestId": "bad-1"}),
            ends: Ends::Changes,
            fields: vec![("request_id", REQUEST_ID), ("note", Kind::OnlyBad(&NOTE))],
        },
    ]
}
