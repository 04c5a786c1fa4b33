//! What results look like, letter by letter.

use prost_types::{Duration, Timestamp};
use reeve_client::v1;

use super::operation::{Operation, Operations};
use super::tenant::{Tenant, Tenants};
use super::{Freshness, Show, group, resolution};

fn at(seconds: i64, nanos: i32) -> Option<Timestamp> {
    let seconds = 1_795_472_100 + seconds;
    Some(Timestamp { seconds, nanos })
}

fn freshness() -> Option<v1::Freshness> {
    Some(v1::Freshness {
        revision: 88,
        staleness: Some(Duration {
            seconds: 0,
            nanos: 12_000_000,
        }),
        stale: false,
        node_id: 2,
    })
}

fn operation() -> v1::Operation {
    let step = |name: &str, state: v1::step::State, error: &str| v1::Step {
        name: name.into(),
        addressee: "agent/vn-1".into(),
        state: state.into(),
        attempt: 1,
        start_time: at(0, 0),
        end_time: at(0, 42_000_000),
        error: error.into(),
        ..Default::default()
    };
    v1::Operation {
        id: "op_0123456789abcdef".into(),
        kind: v1::operation::Kind::Onboard.into(),
        state: v1::operation::State::Undone.into(),
        tenant_id: "t_0123456789ab".into(),
        tenant_slug: "cho-ray".into(),
        steps: vec![
            step("create_roles", v1::step::State::Undone, ""),
            step("migrate", v1::step::State::Failed, "V3: no such table"),
        ],
        reason: "STEP_FAILED".into(),
        actor: "spiffe://dev/person/ann".into(),
        create_time: at(0, 0),
        end_time: at(3, 100_000_000),
        ..Default::default()
    }
}

fn tenant(slug: &str) -> v1::Tenant {
    v1::Tenant {
        id: "t_0123456789ab".into(),
        slug: slug.into(),
        state: v1::tenant::State::Active.into(),
        access_mode: v1::tenant::AccessMode::ReadWrite.into(),
        class: v1::tenant::Class::Shared.into(),
        region_policy: Some(v1::RegionPolicy {
            home: "vn".into(),
            allowed: vec!["vn".into()],
        }),
        claims: vec![v1::Claim {
            kind: v1::claim::Kind::Domain.into(),
            key: format!("{slug}.example"),
        }],
        placement: Some(v1::Placement {
            group: "vn-1".into(),
            region: "vn".into(),
            database: "t_0123456789ab".into(),
            number: 1,
            epoch: 1,
        }),
        schema: Some(v1::SchemaPolicy {
            channel: "ehr".into(),
            applied_version: 6,
            ..Default::default()
        }),
        limits: Some(v1::Limits { connections: 50 }),
        create_time: at(0, 0),
        etag: "t.7".into(),
        ..Default::default()
    }
}

#[test]
fn an_operation_shows_its_steps() {
    let expected = "\
operation  op_0123456789abcdef
kind       onboard
state      undone
tenant     cho-ray (t_0123456789ab)
reason     STEP_FAILED
by         spiffe://dev/person/ann
created    2026-11-23T22:15:00Z
ended      2026-11-23T22:15:03.1Z
took       3.1 s

STEP          BY          STATE   ATTEMPT  TOOK   ERROR
create_roles  agent/vn-1  undone  -        42 ms  -
migrate       agent/vn-1  failed  -        42 ms  V3: no such table";
    assert_eq!(Operation::from(operation()).table(), expected);

    let mut proved = operation();
    proved.steps[0].proof = vec!["roles: five are there".into(), "none has an attribute".into()];
    proved.steps[1].proof = vec!["V1 applied".into()];
    let log = "\n
create_roles  roles: five are there
              none has an attribute
migrate       V1 applied";
    assert_eq!(Operation::from(proved).table(), format!("{expected}{log}"));
}

#[test]
fn operations_are_one_line_each() {
    let listed = Operations {
        operations: vec![operation().into()],
        freshness: Freshness::of(freshness()),
    };
    let expected = "\
OPERATION            KIND     TENANT   STATE   STEPS  CREATED               TOOK
op_0123456789abcdef  onboard  cho-ray  undone  0/2    2026-11-23T22:15:00Z  3.1 s";
    assert_eq!(listed.table(), expected);
}

#[test]
fn tenants_line_up_and_their_json_stays() {
    let listed = Tenants {
        tenants: vec![tenant("cho-ray").into(), tenant("a").into()],
        freshness: Freshness::of(freshness()),
    };
    let expected = "\
TENANT   ID              STATE   REGION  GROUP  SCHEMA  DOMAINS
cho-ray  t_0123456789ab  active  vn      vn-1   6       cho-ray.example
a        t_0123456789ab  active  vn      vn-1   6       a.example";
    assert_eq!(listed.table(), expected);

    let expected = r#"{
  "id": "t_0123456789ab",
  "slug": "cho-ray",
  "display_name": "",
  "state": "active",
  "access_mode": "read_write",
  "class": "shared",
  "home_region": "vn",
  "allowed_regions": [
    "vn"
  ],
  "claims": [
    {
      "kind": "domain",
      "key": "cho-ray.example"
    }
  ],
  "group": "vn-1",
  "database": "t_0123456789ab",
  "schema_channel": "ehr",
  "schema_applied": 6,
  "schema_target": 0,
  "allowlist_cidrs": [],
  "connections": 50,
  "labels": {},
  "current_operation": "",
  "create_time": "2026-11-23T22:15:00Z",
  "update_time": "",
  "etag": "t.7"
}"#;
    assert_eq!(Tenant::from(tenant("cho-ray")).json(), expected);
}

#[test]
fn a_tenants_page_begins_with_its_state() {
    let status = super::tenant::Status {
        health: None,
        tenant: tenant("cho-ray").into(),
        group: None,
        operation: Some(operation().into()),
        freshness: Freshness::of(freshness()),
    };
    let text = status.table();
    let first = "cho-ray  ACTIVE  region vn  schema ehr at 6 (wanted: newest)  revision 88";
    assert_eq!(text.lines().next(), Some(first));
    assert!(
        text.contains("\nonboard op_0123456789abcdef  undone  STEP_FAILED\nSTEP "),
        "{text}"
    );
}

#[test]
fn groups_say_who_writes_and_how_full_they_are() {
    let member = v1::Member {
        name: "vn-1".into(),
        state: v1::member::State::Ready.into(),
        endpoints: vec![v1::Endpoint {
            network: "default".into(),
            host: "::1".into(),
            port: 5432,
        }],
        postgres_version: "15.18".into(),
        last_seen: Some(Duration {
            seconds: 1,
            nanos: 500_000_000,
        }),
        lag_bytes: 0,
    };
    let given = v1::Group {
        name: "vn-1".into(),
        region: "vn".into(),
        class: v1::tenant::Class::Shared.into(),
        epoch: 1,
        primary: "vn-1".into(),
        members: vec![member],
        databases: 4,
        capacity: 200,
        ..Default::default()
    };
    let listed = group::Groups {
        groups: vec![given.into()],
        freshness: Freshness::of(freshness()),
    };
    let expected = "\
GROUP  REGION  CLASS   DOOR  PRIMARY  READY  DATABASES  EPOCH
vn-1   vn      shared  open  vn-1     1/1    4/200      1";
    assert_eq!(listed.table(), expected);
    let expected = "\
MEMBER  ROLE     STATE  ADDRESS     POSTGRES  SEEN     LAG
vn-1    primary  ready  [::1]:5432  15.18     1500 ms  0 B";
    assert_eq!(listed.groups[0].members_page().plain(), expected);
}

#[test]
fn a_resolution_puts_the_reasoning_first() {
    let found = v1::Resolution {
        tenant_id: "t_0123456789ab".into(),
        slug: "cho-ray".into(),
        state: v1::tenant::State::Active.into(),
        region: "vn".into(),
        group: "vn-1".into(),
        epoch: 1,
        placement_number: 1,
        database: "t_0123456789ab".into(),
        role: "t_0123456789ab_a".into(),
        credential_version: 1,
        write: Some(v1::Endpoint {
            network: "default".into(),
            host: "127.0.0.1".into(),
            port: 5432,
        }),
        schema_version: 6,
        mod_revision: 80,
        ..Default::default()
    };
    let answer = v1::ResolveResponse {
        resolution: Some(found),
        freshness: freshness(),
        explanation: vec!["domain cho-ray.example -> t_0123456789ab".into()],
    };
    let expected = "\
domain cho-ray.example -> t_0123456789ab

tenant    cho-ray (t_0123456789ab)
state     active
region    vn
group     vn-1, epoch 1
write     127.0.0.1:5432
database  t_0123456789ab, placement 1
role      t_0123456789ab_a, credential 1
schema    6
revision  88, changed at 80";
    assert_eq!(resolution::Resolved::of(answer).table(), expected);
}

/// Words that other readers of YAML take for something else than a text.
const ODD: [&str; 16] = [
    "no",
    "null",
    "~",
    "0x1f",
    "1e3",
    "007",
    "1_000",
    "12:30:45",
    "2026-11-23",
    "- a",
    "a: b # c",
    "{}",
    "'\"",
    "a\n b\n\n",
    " x ",
    "\u{7}\u{85}\u{2028}",
];

#[test]
fn yaml_is_the_document_that_json_is() {
    let mut odd = tenant("cho-ray");
    odd.labels = ODD
        .iter()
        .map(|text| ((*text).to_owned(), (*text).to_owned()))
        .collect();
    odd.display_name = ODD.concat();
    odd.fenced_because = ODD.map(str::to_owned).into();
    let tenants = Tenants {
        tenants: vec![odd.into(), tenant("hue").into()],
        freshness: Freshness::of(freshness()),
    };
    fn same(shown: &impl Show) {
        let yaml = shown.yaml().unwrap();
        let read: serde_json::Value = serde_saphyr::from_str(&yaml).unwrap();
        let json: serde_json::Value = serde_json::from_str(&shown.json()).unwrap();
        assert_eq!(read, json, "{yaml}");
    }
    same(&tenants);
    same(&Operation::from(operation()));
    let plain = Tenants {
        tenants: vec![],
        freshness: Freshness::of(freshness()),
    };
    let expected =
        "tenants: []\nfreshness:\n  revision: 88\n  staleness_ms: 12\n  stale: false\n  node_id: 2";
    assert_eq!(plain.yaml().unwrap(), expected);
}

#[test]
fn a_line_is_an_element_and_not_the_wrapper() {
    let tenants = Tenants {
        tenants: vec![tenant("cho-ray").into(), tenant("hue").into()],
        freshness: Freshness::of(freshness()),
    };
    let json: serde_json::Value = serde_json::from_str(&tenants.json()).unwrap();
    let lines: Vec<serde_json::Value> = tenants
        .lines()
        .iter()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(json["tenants"], serde_json::Value::from(lines));
    assert!(tenants.lines().iter().all(|line| !line.contains('\n')));
    assert_eq!(
        Operation::from(operation()).lines().len(),
        1,
        "one thing is one line"
    );
}
