//! What the tables say, and what nobody can talk the gate into.

use std::net::SocketAddr;

use reeve_domain::access;
use reeve_domain::audit::Seed;
use reeve_domain::command::Witness;
use reeve_domain::entry::FORMAT;
use reeve_domain::group::{Facts, ReportMember};
use reeve_domain::policy::{Action, Role, Scope, allows};
use reeve_domain::words::Name;
use reeve_domain::{Actor, Command, Entry, Refusal, Stamp, State, TenantId};
use reeve_proto::Rpc;
use reeve_proto::identity::SpiffeId;

use super::*;
use crate::consensus::Forwarded;

/// Who may call what. `n`ode, a`g`ent, `s`ervice, `o`perator, a`u`ditor, `a`dmin; `-` may not.
const MATRIX: &str = "\
/reeve.v1.AccessService/CreateJoinToken        -----a
/reeve.v1.AccessService/Enroll                 ------
/reeve.v1.AccessService/RenewCertificate       ngsoua
/reeve.v1.AccessService/ListPrincipals         ----ua
/reeve.v1.AccessService/RevokePrincipal        -----a
/reeve.v1.AccessService/WhoAmI                 ngsoua
/reeve.v1.AgentService/Join                    ------
/reeve.v1.AgentService/Session                 -g----
/reeve.v1.AgentService/Renew                   -g----
/reeve.v1.AlertService/ListAlerts              ---oua
/reeve.v1.AlertService/AcknowledgeAlert        ---o-a
/reeve.v1.AlertService/TestAlert               ---o-a
/reeve.v1.AuditService/TailRecords             ----ua
/reeve.v1.AuditService/ListShards              ----ua
/reeve.v1.BenchService/Empty                   --so-a
/reeve.v1.ClusterService/GetCluster            n--oua
/reeve.v1.ClusterService/JoinNode              ------
/reeve.v1.ClusterService/RemoveNode            -----a
/reeve.v1.ClusterService/TransferLeader        -----a
/reeve.v1.ClusterService/SaveSnapshot          -----a
/reeve.v1.ClusterService/RenewNode             ngsoua
/reeve.v1.DatabaseService/ListFindings         ---oua
/reeve.v1.DatabaseService/ScanIsolation        ---o-a
/reeve.v1.DatabaseService/RotateCredential     ---o-a
/reeve.v1.DatabaseService/GetHealth            ---oua
/reeve.v1.DatabaseService/ListCredentials      ---oua
/reeve.v1.GroupService/ListRegions             ---oua
/reeve.v1.GroupService/CreateRegion            ---o-a
/reeve.v1.GroupService/ListGroups              ---oua
/reeve.v1.GroupService/GetGroup                ---oua
/reeve.v1.GroupService/FenceGroup              ---o-a
/reeve.v1.GroupService/UnfenceGroup            ---o-a
/reeve.v1.OperationService/GetOperation        ---oua
/reeve.v1.OperationService/ListOperations      ---oua
/reeve.v1.OperationService/WaitOperation       ---oua
/reeve.v1.OperationService/WatchOperation      ---oua
/reeve.v1.OperationService/CancelOperation     ---o-a
/reeve.v1.OperationService/RetryOperation      ---o-a
/reeve.v1.OperationService/GetOperationLimits  ---oua
/reeve.v1.OperationService/SetOperationLimits  -----a
/reeve.v1.ResolverService/Resolve              --so-a
/reeve.v1.ResolverService/BatchResolve         --so-a
/reeve.v1.ResolverService/Watch                --so-a
/reeve.v1.ResolverService/GetCredential        -gs---
/reeve.v1.ResolverService/AcknowledgeCredential -gs---
/reeve.v1.TenantService/CreateTenant           ---o-a
/reeve.v1.TenantService/GetTenant              ---oua
/reeve.v1.TenantService/ListTenants            ---oua
/reeve.v1.TenantService/UpdateTenant           ---o-a
/reeve.v1.TenantService/SuspendTenant          ---o-a
/reeve.v1.TenantService/ResumeTenant           ---o-a
/reeve.v1.TenantService/SetAllowlist           ---o-a
/reeve.v1.TenantService/DeleteTenant           ---o-a
";

const LETTERS: [(Role, char); 6] = [
    (Role::Node, 'n'),
    (Role::Agent, 'g'),
    (Role::Service, 's'),
    (Role::Operator, 'o'),
    (Role::Auditor, 'u'),
    (Role::Admin, 'a'),
];

fn id(role: Role) -> &'static str {
    match role {
        Role::Node => "spiffe://hospital/node/1",
        Role::Agent => "spiffe://hospital/agent/vn-1",
        Role::Service => "spiffe://hospital/svc/ehr",
        Role::Operator => "spiffe://hospital/person/lan",
        Role::Auditor => "spiffe://hospital/person/minh",
        Role::Admin => "spiffe://hospital/person/root",
    }
}

fn caller(id: &str) -> Caller {
    let address: SocketAddr = "10.0.0.9:5000".parse().unwrap();
    Caller::new(Some(SpiffeId::parse(id).unwrap()), Some([7; 32]), address)
}

fn state() -> State {
    let mut state = State::default();
    state.cluster.name = "hospital".into();
    state.cluster.id = "c1".into();
    state.policy_rev = 1;
    for role in Role::ALL {
        access::admit(&mut state, Stamp(1), id(role), role, Scope::Fleet);
    }
    state
}

#[test]
fn every_role_may_call_exactly_this() {
    let state = state();
    let mut rpcs = Rpc::ALL.to_vec();
    rpcs.sort_by_key(|rpc| {
        MATRIX
            .lines()
            .position(|line| line.split_whitespace().next() == Some(rpc.path()))
    });
    let mut found = String::new();
    for rpc in rpcs {
        let may: String = LETTERS
            .into_iter()
            .map(
                |(role, letter)| match decide(&state, &caller(id(role)), action(rpc), None) {
                    Ok(_) => letter,
                    Err(Denied::WrongRole { .. }) => '-',
                    Err(other) => panic!("{} {other:?}", rpc.path()),
                },
            )
            .collect();
        found.push_str(&format!("{:<46} {may}\n", rpc.path()));
    }
    assert_eq!(found, MATRIX);
}

#[test]
fn nobody_is_known_without_a_certificate_and_nobody_is_once_revoked() {
    let mut state = state();
    let nobody = Caller::new(None, None, "10.0.0.9:1".parse().unwrap());
    assert!(matches!(
        decide(&state, &nobody, Action::KnowSelf, None),
        Err(Denied::NoIdentity)
    ));
    let stranger = caller("spiffe://hospital/svc/stranger");
    assert!(matches!(
        decide(&state, &stranger, Action::KnowSelf, None),
        Err(Denied::Unknown(_))
    ));
    access::revoke(&mut state, id(Role::Service)).unwrap();
    let gone = decide(&state, &caller(id(Role::Service)), Action::KnowSelf, None);
    assert!(matches!(gone, Err(Denied::Revoked(_))));
}

fn proposal(permit: &Permit, command: Command) -> Forwarded {
    let entry = Entry {
        format: FORMAT,
        stamp: Stamp(0),
        actor: permit.actor.clone(),
        principal_rev: permit.principal_rev,
        policy_rev: permit.policy_rev,
        request: None,
        seed: Seed {
            certificate: permit.caller.as_ref().and_then(|caller| caller.certificate),
            ..Seed::default()
        },
        command,
    };
    Forwarded {
        caller: gate::pack(permit).unwrap(),
        entry,
    }
}

fn permit(state: &State, role: Role, action: Action) -> Permit {
    decide(state, &caller(id(role)), action, None).unwrap()
}

fn credential_read(tenant: &TenantId) -> Command {
    Command::Witness(Witness {
        action: CREDENTIAL_READ.into(),
        resource: format!("tenant/{tenant}"),
        tenant: Some(tenant.clone()),
        detail: String::new(),
    })
}

fn fence() -> Command {
    Command::FenceGroup {
        group: Name::parse("g1").unwrap(),
    }
}

#[test]
fn the_gate_decides_by_the_command_and_not_by_what_it_is_called() {
    let state = state();
    let harmless = permit(&state, Role::Service, Action::KnowSelf);
    let smuggled = Gate.admit(&state, &proposal(&harmless, fence()));
    assert_eq!(smuggled, Err(Refusal::PrincipalRevoked(id(Role::Service).into())));
    let operator = permit(&state, Role::Operator, Action::ChangeGroup);
    assert_eq!(Gate.admit(&state, &proposal(&operator, fence())), Ok(()));
}

#[test]
fn the_gate_holds_a_proposal_to_the_caller_that_was_seen() {
    let state = state();
    let operator = permit(&state, Role::Operator, Action::ChangeGroup);
    let mut posed = proposal(&operator, fence());
    posed.entry.actor = Actor::Principal(id(Role::Admin).into());
    assert!(Gate.admit(&state, &posed).is_err());
    let mut unseen = proposal(&operator, fence());
    unseen.caller.clear();
    assert!(Gate.admit(&state, &unseen).is_err());
    let mut swapped = proposal(&operator, fence());
    swapped.entry.seed.certificate = Some([8; 32]);
    assert!(Gate.admit(&state, &swapped).is_err());
}

#[test]
fn pilot_founder_and_joiner_propose_their_own_commands_only() {
    let state = state();
    let joiner = for_joiner(&state, &Caller::new(None, None, "10.0.0.9:1".parse().unwrap()));
    for actor in [Actor::Pilot, Actor::Founder, Actor::Joiner] {
        for command in [fence(), credential_read(&TenantId::from_random(1))] {
            let mut posed = proposal(&joiner, command);
            posed.entry.actor = actor.clone();
            assert!(Gate.admit(&state, &posed).is_err(), "{actor:?}");
        }
    }
}

#[test]
fn what_was_revoked_on_the_way_is_turned_away_by_the_leader() {
    let before = state();
    let operator = permit(&before, Role::Operator, Action::ChangeGroup);
    let mut after = before.clone();
    access::revoke(&mut after, id(Role::Operator)).unwrap();
    let refused = Gate.admit(&after, &proposal(&operator, fence()));
    assert_eq!(refused, Err(Refusal::PrincipalRevoked(id(Role::Operator).into())));
}

#[test]
fn an_agent_speaks_for_itself_alone() {
    let state = state();
    let agent = permit(&state, Role::Agent, Action::ServeAsAgent);
    let report = |name: &str| {
        Command::ReportMember(ReportMember {
            agent: Name::parse(name).unwrap(),
            facts: Facts::default(),
        })
    };
    assert_eq!(Gate.admit(&state, &proposal(&agent, report("vn-1"))), Ok(()));
    assert!(Gate.admit(&state, &proposal(&agent, report("vn-2"))).is_err());
    let admin = permit(&state, Role::Admin, Action::ChangeCluster);
    assert!(Gate.admit(&state, &proposal(&admin, report("vn-1"))).is_err());
}

#[test]
fn a_permit_is_for_one_action_and_one_tenant() {
    let mut state = state();
    let (own, other) = (TenantId::from_random(1), TenantId::from_random(2));
    let scope = Scope::Tenants([own.clone()].into());
    access::admit(&mut state, Stamp(2), id(Role::Service), Role::Service, scope);
    let service = caller(id(Role::Service));
    let permit = decide(&state, &service, Action::ReadCredential, Some(&own)).unwrap();
    assert!(gate::covers(&permit, &credential_read(&own)));
    assert!(!gate::covers(&permit, &credential_read(&other)));
    assert!(!gate::covers(&permit, &fence()));

    let posed = proposal(&permit, credential_read(&other));
    assert!(matches!(
        Gate.admit(&state, &posed),
        Err(Refusal::TenantNotFound(_))
    ));
    assert!(matches!(
        decide(&state, &service, Action::ReadCredential, Some(&other)),
        Err(Denied::OutOfScope)
    ));
}

#[test]
fn secrets_are_for_services_and_agents() {
    for role in Role::ALL {
        let reads = allows(role, action(Rpc::ResolverGetCredential));
        assert_eq!(reads, matches!(role, Role::Service | Role::Agent), "{role:?}");
    }
}
