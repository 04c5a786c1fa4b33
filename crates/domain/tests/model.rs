//! Random commands against a small honest model, and the same log told twice, or from a snapshot at any index.

mod world;

use std::collections::BTreeMap;

use proptest::prelude::*;
use reeve_domain::audit::Verifier;
use reeve_domain::credential::{Next, Slot};
use reeve_domain::isolation::{Found, Rule};
use reeve_domain::operation::{Allow, Outcome, Retry, Rotate, Scan, Turn};
use reeve_domain::resolve;
use reeve_domain::words::{Claim, Slug};
use reeve_domain::{Command, Entry, OperationId, State, TenantId, apply};
use world::{World, name, sealed};

const SLUGS: [&str; 4] = ["cho-ray", "bach-mai", "viet-duc", "hue"];

#[derive(Clone, Debug)]
enum Act {
    Create { slug: usize, region: usize },
    Ask { slug: usize, request: u8, hash: u8 },
    Report { nth: usize, outcome: u8 },
    Repeat { back: usize },
    Cancel { nth: usize },
    Retry { nth: usize },
    Scan { slug: usize },
    Allow { slug: usize },
    Rotate { slug: usize },
    Audit { found: bool },
    Delete { slug: usize },
    Suspend { slug: usize },
    Resume { slug: usize },
    Fence { region: usize, on: bool },
    Timeout { nth: usize },
    Wait { millis: u32 },
}

fn act() -> impl Strategy<Value = Act> {
    let slug = 0..SLUGS.len();
    prop_oneof![
        3 => (slug.clone(), 0..2usize).prop_map(|(slug, region)| Act::Create { slug, region }),
        2 => (slug.clone(), 0..3u8, 0..2u8).prop_map(|(slug, request, hash)| Act::Ask { slug, request, hash }),
        14 => (0..6usize, 0..8u8).prop_map(|(nth, outcome)| Act::Report { nth, outcome }),
        3 => (0..20usize).prop_map(|back| Act::Repeat { back }),
        1 => (0..6usize).prop_map(|nth| Act::Cancel { nth }),
        1 => (0..6usize).prop_map(|nth| Act::Retry { nth }),
        1 => slug.clone().prop_map(|slug| Act::Scan { slug }),
        1 => slug.clone().prop_map(|slug| Act::Allow { slug }),
        1 => slug.clone().prop_map(|slug| Act::Rotate { slug }),
        1 => any::<bool>().prop_map(|found| Act::Audit { found }),
        2 => slug.clone().prop_map(|slug| Act::Delete { slug }),
        1 => slug.clone().prop_map(|slug| Act::Suspend { slug }),
        1 => slug.prop_map(|slug| Act::Resume { slug }),
        1 => (0..2usize, any::<bool>()).prop_map(|(region, on)| Act::Fence { region, on }),
        1 => (0..6usize).prop_map(|nth| Act::Timeout { nth }),
        1 => (1..50_000u32).prop_map(|millis| Act::Wait { millis }),
    ]
}

/// What the model knows of one tenant: how far its operation is, and which way it goes.
#[derive(Clone, Debug, PartialEq)]
enum Life {
    /// Steps done of seven.
    Coming(u32),
    /// Steps left to undo, absence proof included.
    Going(u32),
    Active,
    Suspended,
    /// Offboarding: steps done of four.
    Leaving(u32),
    /// Waits for a person, on its way to where it was going.
    Stuck(Box<Life>),
    /// Its walls are looked at: looks done of two. It lives on meanwhile.
    Scanned(Box<Life>, u32),
    /// Its doors are changed, or changed back; it lives on meanwhile.
    Allowed(Box<Life>, bool),
    /// Its password is changed; it lives on meanwhile.
    Rotated(Box<Life>, Rotation),
}

/// How far a change of a leaked password is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rotation {
    Prepares,
    Retires,
    TakesBack,
}

/// The honest model: a list of tenants by slug, and nothing clever.
#[derive(Default)]
struct Model {
    tenants: BTreeMap<String, Life>,
    operations: BTreeMap<OperationId, String>,
    fenced: [bool; 2],
    /// Whether a critical finding of the instance of "vn" is open.
    barred: bool,
    asked: BTreeMap<u8, u8>,
    /// The version of each tenant's password, where it is not the first.
    passwords: BTreeMap<String, u64>,
}

impl Model {
    /// Steps that must be undone when an onboarding turns back while step `at` is open.
    fn to_undo(at: u32) -> u32 {
        (at + 1).min(3) + 1
    }

    fn succeed(&mut self, slug: &str) {
        let next = match self.tenants.get(slug) {
            Some(Life::Coming(6)) => Some(Life::Active),
            Some(Life::Scanned(life, 1) | Life::Allowed(life, _)) => Some(Life::clone(life)),
            Some(Life::Scanned(life, n)) => Some(Life::Scanned(life.clone(), n + 1)),
            Some(Life::Rotated(life, Rotation::Prepares)) => {
                *self.passwords.entry(slug.to_owned()).or_insert(1) += 1;
                Some(Life::Rotated(life.clone(), Rotation::Retires))
            }
            Some(Life::Rotated(life, _)) => Some(Life::clone(life)),
            Some(Life::Coming(n)) => Some(Life::Coming(n + 1)),
            Some(Life::Going(1)) | Some(Life::Leaving(3)) => None,
            Some(Life::Going(n)) => Some(Life::Going(n - 1)),
            Some(Life::Leaving(n)) => Some(Life::Leaving(n + 1)),
            other => other.cloned(),
        };
        match next {
            Some(life) => self.tenants.insert(slug.to_owned(), life),
            None => {
                self.passwords.remove(slug);
                self.tenants.remove(slug)
            }
        };
    }

    fn fail(&mut self, slug: &str) {
        let next = match self.tenants.get(slug) {
            Some(Life::Coming(n)) => Life::Going(Model::to_undo(*n)),
            Some(life @ (Life::Going(_) | Life::Leaving(_))) => Life::Stuck(Box::new(life.clone())),
            Some(Life::Scanned(life, _)) => Life::clone(life),
            Some(Life::Allowed(life, false)) => Life::Allowed(life.clone(), true),
            Some(Life::Rotated(life, Rotation::Prepares)) => Life::Rotated(life.clone(), Rotation::TakesBack),
            Some(life @ (Life::Allowed(_, true) | Life::Rotated(..))) => Life::Stuck(Box::new(life.clone())),
            other => panic!("nothing of {other:?} can fail"),
        };
        self.tenants.insert(slug.to_owned(), next);
    }
}

fn play(acts: &[Act]) -> World {
    let mut world = World::with_regions(&["vn", "eu"]);
    let mut model = Model::default();
    let mut serial = 100;
    for act in acts {
        world.now += 1;
        serial += 1;
        step(&mut world, &mut model, act, serial);
        compare(&world, &model);
    }
    world
}

fn step(world: &mut World, model: &mut Model, act: &Act, serial: u64) {
    let open: Vec<OperationId> = world.state.open_operations().map(|o| o.id.clone()).collect();
    let pick = |nth: &usize| open.get(nth % open.len().max(1)).cloned();
    match act {
        Act::Create { slug, region } => {
            let said = world.create(serial, SLUGS[*slug], ["vn", "eu"][*region], None);
            let expected = !model.tenants.contains_key(SLUGS[*slug]) && !model.fenced[*region];
            assert_eq!(said.outcome.is_ok(), expected, "{:?}", said.outcome);
            if expected {
                model.tenants.insert(SLUGS[*slug].to_owned(), Life::Coming(0));
                model
                    .operations
                    .insert(OperationId::from_random(serial), SLUGS[*slug].to_owned());
            }
        }
        Act::Ask { slug, request, hash } => {
            let order = world.order(serial, SLUGS[*slug], "vn", None);
            let said = world.ask(&format!("r{request}"), *hash, Command::CreateTenant(order));
            if let Some(known) = model.asked.get(request) {
                assert!(
                    said.record.is_none() && said.events.is_empty(),
                    "a request was carried out twice"
                );
                if known != hash {
                    assert_eq!(said.outcome, Err(reeve_domain::Refusal::RequestIdReused));
                }
                return;
            }
            model.asked.insert(*request, *hash);
            if said.outcome.is_ok() {
                model.tenants.insert(SLUGS[*slug].to_owned(), Life::Coming(0));
                model
                    .operations
                    .insert(OperationId::from_random(serial), SLUGS[*slug].to_owned());
            }
        }
        Act::Report { nth, outcome } => {
            let Some(operation) = pick(nth) else { return };
            let outcome = match outcome {
                0 => Outcome::Failed,
                1 => Outcome::AlreadyTrue,
                _ => Outcome::Done,
            };
            let Some(said) = world.report(&operation, outcome) else {
                return;
            };
            assert!(said.outcome.is_ok(), "{:?}", said.outcome);
            let slug = model.operations[&operation].clone();
            match outcome {
                Outcome::Failed => model.fail(&slug),
                _ => model.succeed(&slug),
            }
        }
        Act::Repeat { back } => {
            let reports: Vec<_> = world
                .log
                .iter()
                .rev()
                .filter_map(|e| match &e.command {
                    Command::ReportStep(report) => Some(report.clone()),
                    _ => None,
                })
                .collect();
            let Some(report) = reports.get(back % reports.len().max(1)).cloned() else {
                return;
            };
            let said = world.say_report(report);
            assert!(said.record.is_none(), "a report counted twice");
        }
        Act::Cancel { nth } => {
            let Some(operation) = pick(nth) else { return };
            let slug = model.operations[&operation].clone();
            let said = world.cancel(&operation);
            let next = match model.tenants.get(&slug) {
                Some(Life::Coming(at)) => Life::Going(Model::to_undo(*at)),
                // Absence could not be proved: everything is undone once more before it is proved again.
                Some(Life::Stuck(was)) if **was == Life::Going(1) => Life::Going(4),
                Some(Life::Stuck(was))
                    if !matches!(**was, Life::Leaving(_) | Life::Rotated(_, Rotation::Retires)) =>
                {
                    Life::clone(was)
                }
                Some(Life::Allowed(life, false)) => Life::Allowed(life.clone(), true),
                Some(Life::Scanned(life, _)) => Life::clone(life),
                Some(Life::Rotated(life, Rotation::Prepares)) => {
                    Life::Rotated(life.clone(), Rotation::TakesBack)
                }
                _ => return,
            };
            assert!(said.outcome.is_ok());
            model.tenants.insert(slug, next);
        }
        Act::Retry { nth } => {
            let Some(operation) = pick(nth) else { return };
            let slug = model.operations[&operation].clone();
            let said = world.say(Command::RetryOperation(Retry {
                operation,
                reason: String::new(),
            }));
            let next = match model.tenants.get(&slug) {
                Some(Life::Stuck(was)) if **was == Life::Going(1) => Some(Life::Going(4)),
                Some(Life::Stuck(was)) => Some(Life::clone(was)),
                _ => None,
            };
            assert_eq!(said.outcome.is_ok(), next.is_some(), "{:?}", said.outcome);
            model.tenants.extend(next.map(|life| (slug, life)));
        }
        Act::Scan { slug } => {
            let slug = SLUGS[*slug];
            let tenant = world
                .state
                .find_tenant(slug)
                .map_or(TenantId::from_random(0), |t| t.id.clone());
            let operation = OperationId::from_random(serial);
            let said = world.say(Command::ScanTenant(Scan {
                tenant,
                operation: operation.clone(),
                turn: Turn::default(),
            }));
            let life = model.tenants.get(slug).cloned();
            let free = life.filter(|life| matches!(life, Life::Active | Life::Suspended));
            assert_eq!(said.outcome.is_ok(), free.is_some(), "{:?}", said.outcome);
            if let Some(life) = free {
                let scanned = Life::Scanned(Box::new(life), 0);
                model.tenants.insert(slug.to_owned(), scanned);
                model.operations.insert(operation, slug.to_owned());
            }
        }
        Act::Allow { slug } => {
            let slug = SLUGS[*slug];
            let known = world.state.find_tenant(slug).map(|t| t.id.clone());
            let operation = OperationId::from_random(serial);
            let said = world.say(Command::SetAllowlist(Allow {
                tenant: known.unwrap_or_else(|_| TenantId::from_random(0)),
                operation: operation.clone(),
                etag: String::new(),
                allowlist: vec![],
                turn: Turn::default(),
            }));
            let life = model.tenants.get(slug).cloned();
            let free = life.filter(|life| matches!(life, Life::Active | Life::Suspended));
            assert_eq!(said.outcome.is_ok(), free.is_some(), "{:?}", said.outcome);
            if let Some(life) = free {
                let allowed = Life::Allowed(Box::new(life), false);
                model.tenants.insert(slug.to_owned(), allowed);
                model.operations.insert(operation, slug.to_owned());
            }
        }
        Act::Rotate { slug } => {
            let slug = SLUGS[*slug];
            let known = world.state.find_tenant(slug).cloned();
            let operation = OperationId::from_random(serial);
            let credential = known.as_ref().map(|t| &t.credential);
            let said = world.say(Command::RotateCredential(Rotate {
                tenant: known
                    .as_ref()
                    .map_or_else(|_| TenantId::from_random(0), |t| t.id.clone()),
                operation: operation.clone(),
                etag: String::new(),
                next: Next {
                    version: credential.map_or(2, |c| c.version + 1),
                    slot: credential.map_or(Slot::B, |c| c.active.other()),
                    sealed: sealed("next"),
                },
                leaked: true,
                grace_ms: 1_000,
                turn: Turn::default(),
            }));
            let life = model.tenants.get(slug).cloned();
            let free = life.filter(|life| matches!(life, Life::Active | Life::Suspended));
            assert_eq!(said.outcome.is_ok(), free.is_some(), "{:?}", said.outcome);
            if let Some(life) = free {
                let rotated = Life::Rotated(Box::new(life), Rotation::Prepares);
                model.tenants.insert(slug.to_owned(), rotated);
                model.operations.insert(operation, slug.to_owned());
            }
        }
        Act::Audit { found } => {
            let open = Found {
                rule: Rule::Hba,
                tenant: None,
                subject: "an open door".into(),
                detail: String::new(),
            };
            let told = world.find("vn-1", found.then_some(open).into_iter().collect());
            assert_eq!(told.is_some(), model.barred != *found);
            model.barred = *found;
        }
        Act::Delete { slug } => {
            let slug = SLUGS[*slug];
            let said = world.delete(serial, slug, slug);
            let expected = matches!(model.tenants.get(slug), Some(Life::Active | Life::Suspended));
            assert_eq!(said.outcome.is_ok(), expected, "{:?}", said.outcome);
            if expected {
                model.tenants.insert(slug.to_owned(), Life::Leaving(0));
                model
                    .operations
                    .insert(OperationId::from_random(serial), slug.to_owned());
            }
        }
        Act::Suspend { slug } => set(world, model, SLUGS[*slug], Life::Active, Life::Suspended),
        Act::Resume { slug } => set(world, model, SLUGS[*slug], Life::Suspended, Life::Active),
        Act::Fence { region, on } => {
            let group = name(["vn-1", "eu-1"][*region]);
            world.say(match on {
                true => Command::FenceGroup { group },
                false => Command::UnfenceGroup { group },
            });
            model.fenced[*region] = *on;
        }
        Act::Timeout { nth } => {
            let Some(operation) = pick(nth) else { return };
            // The last try is left alone: the model does not count tries.
            let tries = world.state.operations[&operation]
                .open_step()
                .map_or(0, |(step, _)| step.attempt);
            if tries < 5 {
                world.timeout(&operation);
            }
        }
        Act::Wait { millis } => world.now += u64::from(*millis),
    }
}

fn set(world: &mut World, model: &mut Model, slug: &str, from: Life, to: Life) {
    let Ok(tenant) = world.state.find_tenant(slug).map(|t| t.id.clone()) else {
        return;
    };
    let etag = String::new();
    let said = world.say(match to {
        Life::Suspended => Command::SuspendTenant { tenant, etag },
        _ => Command::ResumeTenant { tenant, etag },
    });
    let placed = &world.state.find_tenant(slug).unwrap().placement.group;
    let barred = to == Life::Active && model.barred && placed == &name("vn-1");
    let expected = model.tenants.get(slug) == Some(&from) && !barred;
    assert_eq!(said.outcome.is_ok(), expected, "{:?}", said.outcome);
    if expected {
        model.tenants.insert(slug.to_owned(), to);
    }
}

fn is_active(life: &Life) -> bool {
    match life {
        Life::Scanned(life, _) | Life::Allowed(life, _) | Life::Rotated(life, _) => **life == Life::Active,
        Life::Stuck(was) if matches!(**was, Life::Allowed(..) | Life::Rotated(..)) => is_active(was),
        life => *life == Life::Active,
    }
}

fn compare(world: &World, model: &Model) {
    let state = &world.state;
    let live: Vec<&str> = state
        .claims
        .keys()
        .map(|c| match c {
            Claim::Slug(slug) => slug.as_str(),
            other => panic!("nobody claimed {other}"),
        })
        .collect();
    let expected: Vec<&str> = model.tenants.keys().map(String::as_str).collect();
    assert_eq!(live, expected, "claims and tenants differ");
    assert_eq!(state.tenants.len(), model.tenants.len());
    for (slug, life) in &model.tenants {
        let answer = resolve::by_claim(state, &Claim::Slug(Slug::parse(slug).unwrap())).unwrap();
        let region = usize::from(answer.group == name("eu-1"));
        assert_eq!(
            answer.serves(),
            is_active(life) && !model.fenced[region],
            "{slug} {life:?}"
        );
        let tenant = state.tenant(&answer.tenant).unwrap();
        let held = !matches!(life, Life::Active | Life::Suspended);
        assert_eq!(tenant.operation.is_some(), held, "{slug} {life:?}");
        let password = model.passwords.get(slug).copied().unwrap_or(1);
        assert_eq!(tenant.credential.version, password, "{slug} {life:?}");
        let slot = if password % 2 == 1 { Slot::A } else { Slot::B };
        assert_eq!(tenant.credential.active, slot, "the logins do not alternate");
    }
    let placed: usize = state.placed.values().map(|p| p.len()).sum();
    assert_eq!(placed, state.tenants.len(), "a placement is left over or missing");
}

/// One record for each change, in a chain that verifies.
fn check_audit(world: &World) {
    let mut verifiers: BTreeMap<String, Verifier> = BTreeMap::new();
    let mut revision = 0;
    for applied in &world.applied {
        let changed = applied.revision.0 > revision;
        assert_eq!(
            changed,
            applied.record.is_some(),
            "a change and its record come together"
        );
        revision = revision.max(applied.revision.0);
        let Some(record) = &applied.record else { continue };
        let verifier = verifiers
            .entry(record.shard.clone())
            .or_insert_with(|| Verifier::new(&record.shard));
        let shown = verifier.check(record).unwrap();
        assert_eq!(shown.revision, applied.revision);
    }
    for (shard, verifier) in verifiers {
        verifier.finish(&world.state.heads[shard.as_str()]).unwrap();
    }
}

fn replay(mut state: State, log: &[Entry]) -> State {
    for entry in log {
        apply(&mut state, entry);
    }
    state
}

/// What a snapshot does to a state, and what the log does to an entry.
fn through_bytes<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
    rmp_serde::from_slice(&rmp_serde::to_vec_named(value).unwrap()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_state_is_what_the_model_says(acts in prop::collection::vec(act(), 1..120), cut in any::<prop::sample::Index>()) {
        let world = play(&acts);
        check_audit(&world);

        let again = replay(State::default(), &world.log);
        prop_assert_eq!(again.hash(), world.state.hash());

        let cut = cut.index(world.log.len());
        let half = replay(State::default(), &world.log[..cut]);
        let restored: State = through_bytes(&half);
        prop_assert_eq!(restored.hash(), half.hash());
        let log: Vec<Entry> = world.log[cut..].iter().map(through_bytes).collect();
        prop_assert_eq!(replay(restored, &log).hash(), world.state.hash());
    }
}

#[test]
fn a_state_that_differs_in_one_field_has_another_hash() {
    let mut world = World::with_regions(&["vn"]);
    world.create(1, "cho-ray", "vn", None);
    let mut other = world.state.clone();
    let mut tenant = other.tenants[&TenantId::from_random(1)].clone();
    std::sync::Arc::make_mut(&mut tenant).legal_hold = true;
    other.tenants.insert(tenant.id.clone(), tenant);
    assert_ne!(other.hash(), world.state.hash());
}

#[test]
fn an_unknown_field_or_command_is_an_error() {
    let mut world = World::with_regions(&["vn"]);
    world.create(1, "cho-ray", "vn", None);
    let entry = world.log.last().unwrap();
    let bytes = rmp_serde::to_vec_named(entry).unwrap();
    assert_eq!(&rmp_serde::from_slice::<Entry>(&bytes).unwrap(), entry);
    let text = |from: &str, to: &str| {
        let at = bytes
            .windows(from.len())
            .position(|w| w == from.as_bytes())
            .unwrap();
        let mut odd = bytes.clone();
        odd[at..at + to.len()].copy_from_slice(to.as_bytes());
        rmp_serde::from_slice::<Entry>(&odd)
    };
    assert!(
        text("CreateTenant", "CreateTenent").is_err(),
        "an unknown command was read"
    );
    assert!(
        text("policy_rev", "polity_rev").is_err(),
        "an unknown field was read"
    );
}
