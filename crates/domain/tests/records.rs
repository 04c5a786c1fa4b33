//! A restore that hears agents' records: what happened behind the snapshot comes back, and what clashes is fenced.

mod world;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use reeve_domain::audit::Verifier;
use reeve_domain::operation::Outcome;
use reeve_domain::record::{
    Hosted, NUMBER_MAX, Said, Statement, Subject, of_group, of_tenant, says_the_same, state_to,
};
use reeve_domain::restore::{Clash, Fate, Restore, Restored, restore};
use reeve_domain::tenant::{AccessMode, Setting, Status, Tenant, Update};
use reeve_domain::words::{Claim, Domain};
use reeve_domain::{Command, Epoch, PlacementNumber, Revision, Stamp, State, TenantId, resolve};
use world::{World, name, sealed};

/// What an agent keeps: the newest record on each subject, handed out in the order of revisions.
#[derive(Clone, Default)]
struct Kept {
    records: BTreeMap<(String, Subject), Statement>,
    /// What the session looked at last.
    seen: State,
}

impl Kept {
    /// The registry hands out what changed, as a session does.
    fn hear(&mut self, state: &State) {
        for group in state.groups.values() {
            let mut said: Vec<(Revision, Said)> = of_group(state, group).into_iter().collect();
            let known = self.records.keys().filter_map(|(agent, subject)| match subject {
                Subject::Tenant(id) if *agent == group.primary.as_str() => Some(id.clone()),
                _ => None,
            });
            let placed = state.placed.get(&group.name).into_iter().flatten().cloned();
            let ids: BTreeSet<TenantId> = known.chain(placed).collect();
            let told = |id: &&TenantId| match (self.seen.tenants.get(*id), state.tenants.get(*id)) {
                (Some(seen), Some(now)) => !says_the_same(seen, now),
                _ => true,
            };
            said.extend(
                ids.iter()
                    .filter(told)
                    .filter_map(|id| of_tenant(state, &group.name, id)),
            );
            for said in said {
                let told = state_to(state, &group.primary, state.clock, said);
                let key = (group.primary.to_string(), told.said.subject());
                if self
                    .records
                    .get(&key)
                    .is_none_or(|known| known.revision < told.revision && !is_gone(known))
                {
                    self.records.insert(key, told);
                }
            }
        }
        self.seen = state.clone();
    }

    fn all(&self) -> Vec<Statement> {
        self.records.values().cloned().collect()
    }
}

fn is_gone(statement: &Statement) -> bool {
    matches!(statement.said, Said::Gone(_))
}

fn order(heard: Vec<Statement>) -> Restore {
    let ids = heard.iter().filter_map(|told| match told.said.subject() {
        Subject::Tenant(id) => Some(id),
        Subject::Group(_) => None,
    });
    Restore {
        cluster_id: "c-2".into(),
        api_address: "127.0.0.1:8400".into(),
        peer_address: "127.0.0.1:8401".into(),
        admin: "spiffe://hospital/person/vera".into(),
        salt: [7; 16],
        reason: "from a copy".into(),
        audit_keys: ids
            .map(|id| (id.clone(), sealed(&format!("audit_key/{id}"))))
            .collect(),
        heard,
        seed: [9; 16],
    }
}

fn merged(snapshot: &State, heard: Vec<Statement>) -> (State, Restored) {
    let mut state = snapshot.clone();
    let restored = restore(&mut state, snapshot.clock, order(heard)).unwrap();
    (state, restored)
}

fn active(world: &mut World, serial: u64, slug: &str, domain: &str) {
    world.create(serial, slug, "vn", Some(domain));
    let operation = world.operation(serial);
    while world.report(&operation, Outcome::Done).is_some() {}
    assert_eq!(world.state.find_tenant(slug).unwrap().status, Status::Active);
}

fn serves(state: &State, domain: &str) -> bool {
    let claim = Claim::Domain(Domain::parse(domain).unwrap());
    resolve::by_claim(state, &claim).is_ok_and(|found| found.serves())
}

/// The admin of the snapshot is one afterwards.
fn say(world: &mut World, command: Command) -> reeve_domain::Applied {
    world.say(command)
}

fn id(serial: u64) -> TenantId {
    TenantId::from_random(serial)
}

fn fate(restored: &Restored, serial: u64) -> Option<(Fate, Vec<Clash>)> {
    let subject = Subject::Tenant(id(serial));
    let found = restored
        .verdicts
        .iter()
        .find(|(verdict, _)| verdict.subject == subject);
    found.map(|(verdict, _)| (verdict.fate, verdict.clashes.clone()))
}

#[test]
fn what_the_snapshot_does_not_know_comes_back_and_what_it_knows_is_made_newer() {
    let mut world = World::with_regions(&["vn"]);
    let mut kept = Kept::default();
    active(&mut world, 1, "cho-ray", "cho-ray.example");
    world.create(2, "hue", "vn", Some("hue.example"));
    let snapshot = world.state.clone();
    active(&mut world, 3, "bach-mai", "bach-mai.example");
    let operation = world.operation(2);
    while world.report(&operation, Outcome::Done).is_some() {}
    kept.hear(&world.state);

    let (state, restored) = merged(&snapshot, kept.all());
    assert_eq!(fate(&restored, 3), Some((Fate::CameBack, vec![])));
    assert_eq!(fate(&restored, 2), Some((Fate::Updated, vec![])));
    assert_eq!(fate(&restored, 1), None);
    for domain in ["cho-ray.example", "bach-mai.example", "hue.example"] {
        assert!(serves(&state, domain), "{domain}");
    }
    // The onboarding ended behind the snapshot: nobody does it again.
    assert!(state.open.is_empty() && state.operations[&operation].has_ended());
    let back = state.tenant(&id(3)).unwrap();
    let was = world.state.tenant(&id(3)).unwrap();
    assert_eq!(back.credential, was.credential);
    assert!(back.placement.number > was.placement.number && back.modified > world.state.revision);
    let (plain, _) = merged(&snapshot, vec![]);
    assert!(!serves(&plain, "bach-mai.example"), "it needs no record");
}

#[test]
fn what_was_said_before_the_snapshot_decides_nothing() {
    let mut world = World::with_regions(&["vn"]);
    let mut kept = Kept::default();
    active(&mut world, 1, "cho-ray", "cho-ray.example");
    kept.hear(&world.state);
    // Another time, which the snapshot never knew: its tenant has the claim of one that is there now.
    let mut other = World::with_regions(&["vn"]);
    active(&mut other, 2, "cho-ray-old", "cho-ray.example");
    kept.hear(&other.state);
    let mut forged = kept.all();
    for statement in &mut forged {
        if let Said::Hosts(hosted) = &mut statement.said {
            hosted.placement.number = hosted.placement.number.next();
        }
    }
    active(&mut world, 3, "hue", "hue.example");
    let snapshot = world.state.clone();
    assert!(
        forged
            .iter()
            .all(|statement| statement.revision <= snapshot.revision)
    );
    let (state, restored) = merged(&snapshot, forged);
    assert_eq!((fate(&restored, 1), fate(&restored, 2)), (None, None));
    assert!(serves(&state, "cho-ray.example") && state.tenant(&id(2)).is_err());
}

#[test]
fn a_group_that_was_enrolled_behind_the_snapshot_comes_back_with_its_agent() {
    let mut world = World::with_regions(&["vn"]);
    let snapshot = world.state.clone();
    world.enrol("vn-2", "vn");
    world.up("vn-2", true);
    active(&mut world, 1, "cho-ray", "cho-ray.example");
    active(&mut world, 2, "hue", "hue.example");
    let mut kept = Kept::default();
    kept.hear(&world.state);
    let (state, _) = merged(&snapshot, kept.all());
    assert!(serves(&state, "cho-ray.example") && serves(&state, "hue.example"));
    assert!(!state.principals["spiffe://hospital/agent/vn-2"].revoked);
    let epoch = |state: &State| state.group(&name("vn-2")).unwrap().epoch;
    assert!(epoch(&state) > epoch(&world.state));
}

#[test]
fn what_is_gone_or_unheard_of_is_fenced_until_a_person_resumes_or_deletes_it() {
    let mut world = World::with_regions(&["vn"]);
    let mut kept = Kept::default();
    active(&mut world, 1, "cho-ray", "cho-ray.example");
    active(&mut world, 2, "hue", "hue.example");
    kept.hear(&world.state);
    let snapshot = world.state.clone();
    world.delete(9, "cho-ray", "cho-ray");
    let operation = world.operation(9);
    while world.report(&operation, Outcome::Done).is_some() {}
    active(&mut world, 3, "bach-mai", "bach-mai.example");
    kept.hear(&world.state);
    kept.records.remove(&("vn-1".to_owned(), Subject::Tenant(id(2))));

    let (state, restored) = merged(&snapshot, kept.all());
    assert!(
        matches!(fate(&restored, 1), Some((Fate::Fenced, why)) if matches!(why[..], [Clash::Gone { .. }]))
    );
    assert!(
        matches!(fate(&restored, 2), Some((Fate::Fenced, why)) if matches!(why[..], [Clash::Unheard { .. }]))
    );
    assert!(!serves(&state, "cho-ray.example") && !serves(&state, "hue.example"));

    world.state = state;
    let resumed = say(
        &mut world,
        Command::ResumeTenant {
            tenant: id(2),
            etag: String::new(),
        },
    );
    assert!(resumed.outcome.is_ok(), "{resumed:?}");
    assert!(serves(&world.state, "hue.example"));
    assert!(world.state.tenant(&id(2)).unwrap().dispute.is_none());
    world.delete(11, "cho-ray", "cho-ray");
    let operation = world.operation(11);
    while world.report(&operation, Outcome::Done).is_some() {}
    assert!(world.state.tenant(&id(1)).is_err());
}

#[test]
fn two_tenants_with_one_claim_are_both_fenced_and_the_one_that_stays_takes_it_back() {
    let mut world = World::with_regions(&["vn"]);
    active(&mut world, 1, "cho-ray", "care.example");
    let snapshot = world.state.clone();
    world.delete(9, "cho-ray", "cho-ray");
    let operation = world.operation(9);
    while world.report(&operation, Outcome::Done).is_some() {}
    active(&mut world, 2, "hue", "care.example");
    let mut kept = Kept::default();
    kept.hear(&world.state);
    let (state, restored) = merged(&snapshot, kept.all());
    for serial in [1, 2] {
        assert!(
            matches!(fate(&restored, serial), Some((Fate::Fenced, _))),
            "{serial}"
        );
    }
    assert!(!serves(&state, "care.example"));
    world.state = state;
    let resume = |world: &mut World| {
        say(
            world,
            Command::ResumeTenant {
                tenant: id(2),
                etag: String::new(),
            },
        )
    };
    assert!(resume(&mut world).outcome.is_err(), "another holds its claim");
    world.delete(11, "cho-ray", "cho-ray");
    let operation = world.operation(11);
    while world.report(&operation, Outcome::Done).is_some() {}
    assert!(resume(&mut world).outcome.is_ok());
    assert!(serves(&world.state, "care.example"));
}

#[test]
fn two_hosts_an_older_number_and_a_fork_are_fenced() {
    let mut world = World::with_regions(&["vn", "eu"]);
    let snapshot = world.state.clone();
    active(&mut world, 1, "cho-ray", "cho-ray.example");
    let mut kept = Kept::default();
    kept.hear(&world.state);
    let vn = kept.records[&("vn-1".to_owned(), Subject::Tenant(id(1)))].clone();
    let changed = |change: &dyn Fn(&mut Statement, &mut reeve_domain::record::Hosted)| {
        let mut told = vn.clone();
        let Said::Hosts(mut hosted) = told.said.clone() else {
            panic!("it is hosted")
        };
        change(&mut told, &mut hosted);
        told.said = Said::Hosts(hosted);
        told
    };
    let other = changed(&|told, hosted| {
        told.agent = name("eu-1");
        told.revision = Revision(told.revision.0 - 1);
        hosted.placement.group = name("eu-1");
    });
    let fork = changed(&|_, hosted| hosted.connections_max += 1);
    let unknown = changed(&|_, hosted| hosted.placement.group = name("nowhere"));
    for heard in [
        vec![vn.clone(), other.clone()],
        vec![vn.clone(), fork],
        vec![unknown],
    ] {
        let (state, restored) = merged(&snapshot, heard);
        assert!(
            matches!(fate(&restored, 1), Some((Fate::Fenced, _))),
            "{restored:?}"
        );
        assert!(!serves(&state, "cho-ray.example"));
    }
    // A move that both sides heard of is no conflict: the newer number holds.
    let moved = changed(&|told, hosted| {
        told.agent = name("eu-1");
        told.revision = told.revision.next();
        hosted.placement.group = name("eu-1");
        hosted.placement.number = hosted.placement.number.next();
    });
    let (_, restored) = merged(&snapshot, vec![vn.clone(), moved]);
    assert_eq!(fate(&restored, 1), Some((Fate::CameBack, vec![])));
    let older = changed(&|told, hosted| {
        told.revision = told.revision.next();
        hosted.placement.number = PlacementNumber(0);
    });
    let (state, restored) = merged(&world.state, vec![older]);
    assert!(
        matches!(fate(&restored, 1), Some((Fate::Fenced, why)) if matches!(why[..], [Clash::Backwards { .. }]))
    );
    assert!(!serves(&state, "cho-ray.example"));
}

#[test]
fn a_host_hears_of_a_tenant_again_when_what_it_is_told_changed() {
    let mut world = World::with_regions(&["vn"]);
    active(&mut world, 1, "cho-ray", "cho-ray.example");
    let was = world.state.tenant(&id(1)).unwrap().clone();
    type Edit = fn(&mut Tenant);
    let edits: [(bool, Edit); 12] = [
        (true, |t| t.display_name.push('!')),
        (true, |t| drop(t.labels.insert("ward".into(), "7".into()))),
        (true, |t| t.modified = t.modified.next()),
        (true, |t| t.updated = t.updated.plus_millis(1)),
        (false, |t| t.status = Status::Suspended),
        (false, |t| t.access_mode = AccessMode::Fenced),
        (false, |t| t.claims.clear()),
        (false, |t| t.placement.number = t.placement.number.next()),
        (false, |t| t.schema.applied += 1),
        (false, |t| t.connections_max += 1),
        (false, |t| {
            drop(t.settings.insert("locale".into(), Setting::Bool(true)))
        }),
        (false, |t| t.credential.version += 1),
    ];
    for (at, (same, edit)) in edits.into_iter().enumerate() {
        let mut now = was.clone();
        edit(&mut now);
        assert_ne!(now, was, "edit {at}");
        assert_eq!(says_the_same(&was, &now), same, "edit {at}");
        assert_eq!(Hosted::of(&was) == Hosted::of(&now), same, "edit {at}");
    }
}

/// What may be done to three tenants that want two domains.
fn acts() -> impl Strategy<Value = Vec<(u8, usize)>> {
    proptest::collection::vec((0..9u8, 0..3usize), 1..60)
}

fn play(world: &mut World, (act, at): (u8, usize)) {
    let slug = ["cho-ray", "hue", "bach-mai"][at];
    let domain = ["one.example", "two.example", "one.example"][at];
    world.now += 1_000;
    let known = world.state.find_tenant(slug).ok().map(|tenant| tenant.id.clone());
    match (act, known) {
        (0 | 1, _) => {
            let serial = 100 + world.serial;
            let region = if act == 0 { "vn" } else { "eu" };
            world.create(serial, slug, region, Some(domain));
        }
        (2, Some(_)) => {
            let serial = 100 + world.serial;
            world.delete(serial, slug, slug);
        }
        (3, Some(tenant)) => {
            let etag = String::new();
            say(world, Command::SuspendTenant { tenant, etag });
        }
        (4, Some(tenant)) => {
            let etag = String::new();
            say(world, Command::ResumeTenant { tenant, etag });
        }
        (8, Some(tenant)) => {
            let display_name = Some(format!("{slug} at {}", world.now));
            let (etag, labels, settings) = (String::new(), None, None);
            say(
                world,
                Command::UpdateTenant(Update {
                    tenant,
                    etag,
                    display_name,
                    labels,
                    settings,
                }),
            );
        }
        (_, Some(tenant)) => {
            let operation = world.state.tenant(&tenant).unwrap().operation.clone();
            let outcome = if act == 7 { Outcome::Failed } else { Outcome::Done };
            if let Some(operation) = operation {
                world.report(&operation, outcome);
            }
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whatever_happened_behind_the_snapshot_nobody_is_sent_to_the_wrong_place(
        acts in acts(),
        cut in 0..60usize,
        deaf in 0..60usize,
    ) {
        let mut world = World::with_regions(&["vn", "eu"]);
        let mut kept = Kept::default();
        let mut snapshot = world.state.clone();
        for (at, act) in acts.iter().enumerate() {
            play(&mut world, *act);
            // From some moment on nothing reaches the agents any more.
            if at <= deaf {
                kept.hear(&world.state);
            }
            if at <= cut {
                snapshot = world.state.clone();
            }
        }
        let heard = kept.all();
        let (state, restored) = merged(&snapshot, heard.clone());

        // Each tenant is as new as every record of it, or fenced, or known to be gone.
        for told in &heard {
            let Subject::Tenant(id) = told.said.subject() else { continue };
            match (state.tenants.get(&id), &told.said) {
                (Some(tenant), Said::Hosts(hosted)) => prop_assert!(
                    tenant.dispute.is_some()
                        || (tenant.placement.number > hosted.placement.number
                            && tenant.credential.version >= hosted.credential.version)
                ),
                (Some(tenant), _) => prop_assert!(tenant.dispute.is_some() || tenant.status == Status::Deleting),
                (None, _) => prop_assert!(state.tombstones.contains_key(&id)),
            }
        }
        // Claims lead where tenants say, and to one tenant each.
        let mut claims = BTreeMap::new();
        for tenant in state.tenants.values() {
            for claim in &tenant.claims {
                prop_assert!(claims.insert(claim.clone(), tenant.id.clone()).is_none(), "{claim} twice");
            }
            prop_assert!(state.placed[&tenant.placement.group].contains(&tenant.id));
            prop_assert!(!state.tombstones.contains_key(&tenant.id));
            if tenant.dispute.is_some() {
                prop_assert!(resolve::of(&state, tenant).write.is_empty());
            }
        }
        let listed: BTreeMap<_, _> = state.claims.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        prop_assert_eq!(claims, listed);
        // Who serves now and was heard of served like that when the agents last heard, or at the snapshot.
        let mut last = restored.applied.revision;
        for (_, applied) in &restored.verdicts {
            prop_assert_eq!(applied.revision, last.next());
            last = applied.revision;
        }
        prop_assert_eq!(state.revision, last);
        // An agent that heard everything makes the State whole: nothing that is gone serves.
        if deaf >= acts.len() {
            for tenant in state.tenants.values().filter(|tenant| resolve::of(&state, tenant).serves()) {
                let truth = world.state.tenants.get(&tenant.id);
                prop_assert!(truth.is_some_and(|truth| truth.status == Status::Active), "{tenant:?}");
            }
            for truth in world.state.tenants.values().filter(|truth| truth.status == Status::Active) {
                let back = state.tenants.get(&truth.id);
                prop_assert!(back.is_some(), "{} is lost", truth.slug);
            }
        }
        // Chains lead to their heads.
        let mut shards: BTreeMap<String, Verifier> = BTreeMap::new();
        let all = world.applied.iter().filter(|a| a.revision <= snapshot.revision).cloned();
        let all = all.chain([restored.applied]).chain(restored.verdicts.into_iter().map(|(_, a)| a));
        for record in all.filter_map(|applied| applied.record) {
            let verifier = shards.entry(record.shard.clone()).or_insert_with(|| Verifier::new(&record.shard));
            prop_assert!(verifier.check(&record).is_ok());
        }
        for (shard, verifier) in shards {
            prop_assert!(verifier.finish(&state.heads[shard.as_str()]).is_ok());
        }
    }
}

#[test]
fn a_record_from_far_ahead_makes_the_leap_longer() {
    let world = World::with_regions(&["vn"]);
    let mut kept = Kept::default();
    kept.hear(&world.state);
    let mut heard = kept.all();
    heard[0].revision = Revision(NUMBER_MAX);
    let (state, _) = merged(&world.state, heard);
    assert!(state.revision > Revision(NUMBER_MAX));
    assert!(state.clock >= Stamp(0));
}

/// Sets one number of a statement; false when it says nothing of the kind.
type SetNumber = fn(&mut Statement, u64) -> bool;

fn numbers() -> [(&'static str, SetNumber); 6] {
    [
        ("revision", |told, number| {
            told.revision = Revision(number);
            true
        }),
        ("time", |told, number| {
            told.at = Stamp(number);
            true
        }),
        ("epoch", |told, number| match &mut told.said {
            Said::Group(hosting) => {
                hosting.group.epoch = Epoch(number);
                true
            }
            _ => false,
        }),
        ("placement number", |told, number| match &mut told.said {
            Said::Hosts(hosted) => {
                hosted.placement.number = PlacementNumber(number);
                true
            }
            _ => false,
        }),
        ("credential's version", |told, number| match &mut told.said {
            Said::Hosts(hosted) => {
                hosted.credential.version = number;
                true
            }
            _ => false,
        }),
        ("time of creation", |told, number| match &mut told.said {
            Said::Hosts(hosted) => {
                hosted.created = Stamp(number);
                true
            }
            _ => false,
        }),
    ]
}

#[test]
fn a_number_that_no_registry_gave_is_refused_with_its_record_and_nothing_is_changed() {
    let mut world = World::with_regions(&["vn"]);
    let snapshot = world.state.clone();
    active(&mut world, 1, "cho-ray", "cho-ray.example");
    let mut kept = Kept::default();
    kept.hear(&world.state);
    for (what, set) in numbers() {
        let mut were_set = 0;
        for at in 0..kept.all().len() {
            let mut heard = kept.all();
            if !set(&mut heard[at], NUMBER_MAX) {
                continue;
            }
            were_set += 1;
            let (state, _) = merged(&snapshot, heard.clone());
            assert!(state.revision > heard[at].revision, "{what}");
            for absurd in [NUMBER_MAX + 1, u64::MAX / 2, u64::MAX - 1, u64::MAX] {
                set(&mut heard[at], absurd);
                let mut state = snapshot.clone();
                let refused = restore(&mut state, snapshot.clock, order(heard.clone())).unwrap_err();
                let subject = heard[at].said.subject().to_string();
                for word in [what, &subject, "vn-1", &absurd.to_string()] {
                    assert!(refused.to_string().contains(word), "{word}: {refused}");
                }
                assert_eq!(state, snapshot, "{what}");
            }
        }
        assert!(were_set > 0, "{what}");
    }
}
