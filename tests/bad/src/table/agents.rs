//! What an agent says in its session: each of its messages, behind a greeting.

use super::*;
use serde_json::json;

/// Words of the agent's own program.
const WORD: Kind = Kind::Text(|text| is_visible(text, 0, 64));
const TENANT: &str = "t_0123456789ab";

pub(super) fn doors() -> Vec<Door> {
    vec![hello(), beat(), report(), findings(), health()]
}

/// Those that the registry has of this agent: others that are well written would be written down.
pub fn known() -> Value {
    json!({
        "endpoints": [{"network": "default", "host": "db2.example", "port": 5432}],
        "postgresVersion": "16.4", "systemIdentifier": "1",
    })
}

/// What an agent says of its PostgreSQL.
fn facts(part: &str) -> Fields {
    let path = |name: &str| -> &'static str { Box::leak(format!("{part}.{name}").into_boxed_str()) };
    const HOST: Kind = Kind::OnlyBad(&Kind::Text(|text| text == "ABC"));
    const NETWORK: Kind = Kind::OnlyBad(&Kind::Text(|text| is_visible(text, 1, 63)));
    const PORT: Kind = Kind::OnlyBad(&Kind::Number(|port| (1..=65_535).contains(&port)));
    const TOLD: Kind = Kind::OnlyBad(&Kind::Text(|text| is_line(text, 64)));
    vec![
        (path("facts"), ANY),
        (path("facts.endpoints"), Kind::Many(16)),
        (path("facts.endpoints[].network"), NETWORK),
        (path("facts.endpoints[].host"), HOST),
        (path("facts.endpoints[].port"), PORT),
        (path("facts.postgres_version"), TOLD),
        (path("facts.postgres_up"), ANY),
        (path("facts.system_identifier"), TOLD),
    ]
}

fn hello() -> Door {
    Door {
        call: "AgentService/Session#hello",
        who: Who::Agent,
        base: json!({"hello": {"facts": known()}}),
        ends: Ends::Done,
        fields: all([
            vec![
                ("hello", Kind::Part(Some("message"))),
                ("hello.boot_id", WORD),
                ("hello.version", WORD),
                ("hello.held_epochs.*", Kind::Unread),
                ("hello.held_records", ANY),
                ("hello.held_records[].subject", NEVER),
                ("hello.held_records[].revision", ANY),
                ("hello.held_records[].gone", ANY),
            ],
            facts("hello"),
        ]),
    }
}

fn beat() -> Door {
    Door {
        call: "AgentService/Session#beat",
        who: Who::Agent,
        base: json!({"beat": {"sequence": "1", "facts": known()}}),
        ends: Ends::Done,
        fields: all([
            vec![
                ("beat", Kind::Part(Some("message"))),
                ("beat.sequence", ANY),
                ("beat.lag_bytes", ANY),
                ("beat.connections", ANY),
                ("beat.open_steps", ANY),
                // A length that is none is not known: the leader's memory, and nobody's word.
                ("beat.last_audit", ANY),
            ],
            facts("beat"),
        ]),
    }
}

fn report() -> Door {
    Door {
        call: "AgentService/Session#report",
        who: Who::Agent,
        base: json!({"report": {
            "key": {"operationId": "op_0123456789abcdef", "direction": "DIRECTION_FORWARD"},
            "outcome": "OUTCOME_DONE",
        }}),
        ends: Ends::TurnedAway,
        fields: vec![
            ("report", Kind::Part(Some("message"))),
            ("report.key", Kind::Part(Some("key"))),
            ("report.key.operation_id", NEVER),
            ("report.key.step", ANY),
            ("report.key.attempt", ANY),
            ("report.key.direction", Kind::Enum(false)),
            ("report.outcome", Kind::Enum(false)),
            // Kept of an operation that is there, cut to a length.
            ("report.proof", ANY),
            ("report.proof[]", ANY),
            ("report.error", ANY),
            ("report.code", ANY),
            ("report.schema_version", ANY),
            ("report.schema_checksum", ANY),
            ("report.epoch", ANY),
        ],
    }
}

fn findings() -> Door {
    const TEXT: Kind = Kind::OnlyBad(&Kind::Text(|text| text.len() <= 240));
    Door {
        call: "AgentService/Session#findings",
        who: Who::Agent,
        base: json!({"findings": {"round": "1", "found": [{"rule": "F1", "subject": "a"}], "scope": {}}}),
        ends: Ends::Changes,
        fields: vec![
            ("findings", Kind::Part(Some("message"))),
            ("findings.round", ANY),
            ("findings.found", ANY),
            ("findings.found[].rule", NEVER),
            ("findings.found[].tenant_id", Kind::OnlyBad(&EMPTY_OR_NOT)),
            ("findings.found[].subject", TEXT),
            ("findings.found[].detail", TEXT),
            ("findings.scope", ANY),
            ("findings.scope.truncated", ANY),
            ("findings.scope.half_done", ANY),
            ("findings.scope.half_done[]", NEVER),
            ("findings.scope.inside", ANY),
            ("findings.scope.inside[]", NEVER),
            ("findings.scope.probed", ANY),
            ("findings.scope.probed[]", NEVER),
        ],
    }
}

fn health() -> Door {
    Door {
        call: "AgentService/Session#health",
        who: Who::Agent,
        base: json!({"health": {"tenants": [{"tenantId": TENANT}]}}),
        ends: Ends::Done,
        fields: vec![
            ("health", Kind::Part(Some("message"))),
            ("health.tenants", Kind::Many(1000)),
            ("health.tenants[].tenant_id", NEVER),
            ("health.tenants[].tried", ANY),
            ("health.tenants[].not_ready", ANY),
            (
                "health.tenants[].not_ready.cause",
                Kind::OnlyBad(&Kind::Enum(false)),
            ),
            // Cut to a length where it is written down.
            ("health.tenants[].not_ready.detail", ANY),
            ("health.tenants[].not_ready.since", Kind::Unread),
            ("health.tenants[].schema_version", ANY),
            // The leader's memory: what cannot be is left out, or cut to what can.
            ("health.tenants[].vitals.*", ANY),
            ("health.tenants[].audited", ANY),
        ],
    }
}
