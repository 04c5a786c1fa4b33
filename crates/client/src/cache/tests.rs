//! The rules of remembering, with time and revisions passed in.

use std::time::Duration;

use reeve_proto::v1::tenant::State;

use super::{rules::UNKNOWN_LEASE, *};

fn wire(tenant: u8, state: State, changed: u64, more: &[&Selector]) -> v1::Resolution {
    let own = slug(tenant);
    v1::Resolution {
        tenant_id: format!("t_{tenant:012x}"),
        slug: format!("s{tenant}"),
        state: state.into(),
        group: "g1".into(),
        placement_number: 1,
        epoch: 1,
        database: format!("t_{tenant:012x}"),
        role: format!("t_{tenant:012x}_a"),
        credential_version: 1,
        write: Some(v1::Endpoint {
            host: "db".into(),
            port: 5432,
            ..Default::default()
        }),
        mod_revision: changed,
        claims: std::iter::once(&own)
            .chain(more.iter().copied())
            .map(Selector::to_wire)
            .collect(),
        ..Default::default()
    }
}

fn resolution(tenant: u8, state: State, changed: u64) -> Arc<Resolution> {
    Arc::new(Resolution::try_from(wire(tenant, state, changed, &[])).unwrap())
}

fn slug(tenant: u8) -> Selector {
    Selector::slug(&format!("s{tenant}")).unwrap()
}

fn is_fresh(cache: &Cache, tenant: u8, at: Instant) -> bool {
    matches!(cache.look_up(&slug(tenant), at), Lookup::Fresh(_))
}

const ASK: Lookup = Lookup::Ask { fallback: None };

#[test]
fn an_answer_holds_for_its_lease_and_an_active_tenant_for_the_grace() {
    let (cache, now) = (Cache::default(), Instant::now());
    let active = resolution(1, State::Active, 5);
    cache.learn(&slug(1), active.clone(), 5, now);
    assert!(is_fresh(&cache, 1, now + LEASE));
    let tick = Duration::from_millis(1);
    assert_eq!(
        cache.look_up(&slug(1), now + LEASE + tick),
        Lookup::Ask {
            fallback: Some(active.clone())
        }
    );
    assert_eq!(
        cache.look_up(&slug(1), now + GRACE),
        Lookup::Ask {
            fallback: Some(active)
        }
    );
    assert_eq!(cache.look_up(&slug(1), now + GRACE + tick), ASK);
}

#[test]
fn what_does_not_serve_fails_closed_after_its_lease() {
    let (cache, now) = (Cache::default(), Instant::now());
    cache.learn(&slug(1), resolution(1, State::Suspended, 5), 5, now);
    let mut fenced = wire(2, State::Active, 5, &[]);
    fenced.write = None;
    cache.learn(&slug(2), cache.read(fenced).unwrap(), 5, now);
    let later = now + LEASE + Duration::from_millis(1);
    assert_eq!(cache.look_up(&slug(1), later), ASK);
    assert_eq!(cache.look_up(&slug(2), later), ASK);
}

#[test]
fn a_living_watch_keeps_what_it_guards() {
    let (cache, now) = (Cache::default(), Instant::now());
    cache.listing_begins();
    cache.listed(resolution(1, State::Active, 3), now);
    cache.listing_ends(10, now);
    cache.learn(&slug(2), resolution(2, State::Active, 4), 9, now); // from a node behind the watch
    cache.learn(&slug(3), resolution(3, State::Active, 4), 12, now); // from a node ahead of it
    let later = now + 10 * LEASE;
    cache.heard(20, later);
    assert!(is_fresh(&cache, 1, later));
    assert!(
        !is_fresh(&cache, 2, later),
        "its change may have passed before it was learnt"
    );
    assert!(is_fresh(&cache, 3, later));
    assert!(
        !is_fresh(&cache, 1, later + LEASE + Duration::from_millis(1)),
        "the watch fell silent"
    );
}

#[test]
fn a_change_is_seen_at_once_and_an_older_answer_does_not_undo_it() {
    let (cache, now) = (Cache::default(), Instant::now());
    cache.listing_begins();
    cache.listed(resolution(1, State::Active, 3), now);
    cache.listing_ends(10, now);
    cache.changed(11, &[resolution(1, State::Suspended, 11)], &[], now);
    cache.learn(&slug(1), resolution(1, State::Active, 3), 10, now);
    let Lookup::Fresh(held) = cache.look_up(&slug(1), now) else {
        panic!("nothing held")
    };
    assert_eq!(held.state, State::Suspended);
}

#[test]
fn a_removed_tenant_is_gone_and_a_late_answer_does_not_bring_it_back_for_long() {
    let (cache, now) = (Cache::default(), Instant::now());
    cache.listing_begins();
    cache.listed(resolution(1, State::Active, 3), now);
    cache.listing_ends(10, now);
    cache.changed(11, &[], &[resolution(1, State::Active, 3).tenant.clone()], now);
    assert_eq!(cache.look_up(&slug(1), now), ASK);
    cache.learn(&slug(1), resolution(1, State::Active, 3), 10, now);
    cache.heard(12, now + 2 * LEASE);
    assert!(
        !is_fresh(&cache, 1, now + 2 * LEASE),
        "the watch must not vouch for it"
    );
}

#[test]
fn who_is_missing_from_a_new_listing_is_gone() {
    let (cache, now) = (Cache::default(), Instant::now());
    cache.listing_begins();
    cache.listed(resolution(1, State::Active, 3), now);
    cache.listed(resolution(2, State::Active, 3), now);
    cache.listing_ends(10, now);
    cache.listing_begins();
    assert_eq!(cache.watched(), 0);
    cache.listed(resolution(2, State::Active, 3), now);
    cache.learn(&slug(3), resolution(3, State::Active, 30), 30, now);
    cache.listing_ends(20, now);
    assert_eq!(cache.look_up(&slug(1), now), ASK);
    assert!(is_fresh(&cache, 2, now));
    assert!(is_fresh(&cache, 3, now), "learnt later than the listing");
}

#[test]
fn nobody_is_remembered_shortly_and_knows_its_revision() {
    let (cache, now) = (Cache::default(), Instant::now());
    cache.learn_nobody(&slug(1), 5, now);
    assert_eq!(cache.look_up(&slug(1), now + UNKNOWN_LEASE), Lookup::Nobody);
    assert_eq!(
        cache.look_up(&slug(1), now + UNKNOWN_LEASE + Duration::from_millis(1)),
        ASK
    );
    cache.learn(&slug(1), resolution(1, State::Active, 4), 4, now);
    assert_eq!(cache.look_up(&slug(1), now), Lookup::Nobody, "an older answer");
    cache.learn(&slug(1), resolution(1, State::Active, 6), 6, now);
    assert!(is_fresh(&cache, 1, now));
    cache.learn_nobody(&slug(1), 5, now);
    assert!(is_fresh(&cache, 1, now), "an older nobody");
    cache.learn_nobody(&slug(1), 7, now);
    assert_eq!(cache.look_up(&slug(1), now), Lookup::Nobody);
}

#[test]
fn claims_that_a_tenant_gave_up_lead_nowhere() {
    let (cache, now) = (Cache::default(), Instant::now());
    let domain = Selector::domain("a.example").unwrap();
    let with_domain = cache.read(wire(1, State::Active, 3, &[&domain])).unwrap();
    cache.learn(&slug(1), with_domain, 3, now);
    assert!(matches!(cache.look_up(&domain, now), Lookup::Fresh(_)));
    cache.changed(4, &[resolution(1, State::Active, 4)], &[], now);
    assert_eq!(cache.look_up(&domain, now), ASK);
    assert!(is_fresh(&cache, 1, now));
}

#[test]
fn what_the_registry_refused_is_no_fallback() {
    let (cache, now) = (Cache::default(), Instant::now());
    cache.learn(&slug(1), resolution(1, State::Active, 3), 3, now);
    assert!(cache.forget(&slug(1), 3));
    assert_eq!(cache.look_up(&slug(1), now), ASK);
}

#[test]
fn a_refusal_drops_nothing_that_is_known_from_later_on() {
    let (cache, now) = (Cache::default(), Instant::now());
    cache.learn(&slug(1), resolution(1, State::Active, 3), 9, now);
    assert!(!cache.forget(&slug(1), 8));
    assert!(is_fresh(&cache, 1, now));
    // The watch has brought everything up to its revision, whenever this last changed.
    cache.listing_begins();
    cache.listed(resolution(2, State::Active, 3), now);
    cache.listing_ends(10, now);
    assert!(!cache.forget(&slug(2), 9));
    assert!(is_fresh(&cache, 2, now));
    assert!(cache.forget(&slug(2), 10));
    assert_eq!(cache.look_up(&slug(2), now), ASK);
}

#[test]
fn strangers_cannot_fill_the_memory() {
    let (cache, now) = (Cache::default(), Instant::now());
    cache.learn(&slug(1), resolution(1, State::Active, 3), 3, now);
    for n in 0..NOBODIES_MAX + 10 {
        cache.learn_nobody(&Selector::domain(&format!("h{n}.example")).unwrap(), 5, now);
    }
    let held = cache.nobodies.read().len();
    assert!(held <= NOBODIES_MAX, "{held}");
    assert!(is_fresh(&cache, 1, now));
}

#[test]
fn an_answer_that_was_overtaken_says_by_what() {
    let (cache, now) = (Cache::default(), Instant::now());
    let (new, old) = (resolution(1, State::Active, 9), resolution(1, State::Active, 5));
    assert_eq!(cache.learn(&slug(1), new.clone(), 9, now), Learnt::Taken);
    assert_eq!(
        cache.learn(&slug(1), old.clone(), 7, now),
        Learnt::Overtaken(Some(Some(new)))
    );
    cache.learn_nobody(&slug(1), 11, now);
    assert_eq!(
        cache.learn(&slug(1), old.clone(), 7, now),
        Learnt::Overtaken(Some(None))
    );
    // Under another name of the same tenant nothing is known at all.
    assert_eq!(cache.learn(&slug(2), old, 7, now), Learnt::Overtaken(None));
}

#[test]
fn a_claim_that_a_node_does_not_tell_of_leads_there_until_the_next_word_of_the_tenant() {
    let (cache, now) = (Cache::default(), Instant::now());
    let alias = Selector::header("x-tenant", "one").unwrap();
    cache.learn(&alias, resolution(1, State::Active, 3), 3, now);
    assert!(matches!(cache.look_up(&alias, now), Lookup::Fresh(_)));
    assert!(is_fresh(&cache, 1, now));
    cache.changed(4, &[resolution(1, State::Active, 4)], &[], now);
    assert_eq!(cache.look_up(&alias, now), ASK);
}

#[test]
fn a_claim_leads_to_whoever_has_it_now_and_who_has_none_is_forgotten() {
    let (cache, now) = (Cache::default(), Instant::now());
    let domain = Selector::domain("a.example").unwrap();
    let both = |tenant, changed| {
        cache
            .read(wire(tenant, State::Active, changed, &[&domain]))
            .unwrap()
    };
    cache.listing_begins();
    cache.listed(both(1, 3), now);
    cache.listing_ends(10, now);
    cache.changed(11, &[both(2, 11)], &[], now);
    // What is late of the former owner takes nothing back, and its end takes nothing along.
    cache.changed(12, &[resolution(1, State::Active, 12)], &[], now);
    cache.changed(13, &[], &[resolution(1, State::Active, 12).tenant.clone()], now);
    let Lookup::Fresh(held) = cache.look_up(&domain, now) else {
        panic!("nothing held")
    };
    assert_eq!(held.slug(), "s2");
    assert_eq!(cache.look_up(&slug(1), now), ASK);
    // Nor does the end of one who was never heard to have lost it.
    cache.changed(14, &[both(3, 14)], &[], now);
    cache.changed(15, &[], &[resolution(2, State::Active, 1).tenant.clone()], now);
    let Lookup::Fresh(held) = cache.look_up(&domain, now) else {
        panic!("nothing held")
    };
    assert_eq!(held.slug(), "s3");
    cache.learn_nobody(&domain, 16, now);
    cache.learn_nobody(&slug(3), 16, now);
    assert!(
        cache.writing.lock().tenants.is_empty(),
        "who has no name is remembered"
    );
}
