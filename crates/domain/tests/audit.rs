//! Any tampering with the audit log shows.

mod world;

use reeve_domain::audit::{Record, Verifier, decode};
use world::World;

fn records() -> (World, Vec<Record>) {
    let mut world = World::with_regions(&["vn"]);
    world.create(1, "cho-ray", "vn", Some("cho-ray.ehr.vn"));
    let operation = world.operation(1);
    for _ in 0..6 {
        world.report(&operation, reeve_domain::operation::Outcome::Done);
    }
    let shard = "t_000000000001";
    let records = world
        .applied
        .iter()
        .filter_map(|a| a.record.as_deref().cloned())
        .filter(|r| r.shard == shard)
        .collect();
    (world, records)
}

fn verdict(world: &World, records: &[Record]) -> Result<(), String> {
    let mut verifier = Verifier::new("t_000000000001");
    for record in records {
        verifier.check(record).map_err(|e| e.to_string())?;
    }
    verifier
        .finish(&world.state.heads["t_000000000001"])
        .map_err(|e| e.to_string())
}

#[test]
fn an_untouched_chain_verifies_and_says_what_happened() {
    let (world, records) = records();
    assert_eq!(verdict(&world, &records), Ok(()));
    let first = decode(&records[0].canonical).unwrap();
    assert_eq!(
        (first.action.as_str(), first.actor.as_str()),
        ("tenant.create", world::ADMIN)
    );
    assert_ne!(first.before, first.after);
}

#[test]
fn every_flipped_byte_is_found() {
    let (world, records) = records();
    for at in 0..records.len() {
        for byte in 0..records[at].canonical.len() {
            let mut odd = records.clone();
            odd[at].canonical[byte] ^= 1;
            assert!(verdict(&world, &odd).is_err(), "record {at} byte {byte}");
        }
        for byte in 0..32 {
            for field in 0..3 {
                let mut odd = records.clone();
                let hash = match field {
                    0 => &mut odd[at].leaf,
                    1 => &mut odd[at].previous,
                    _ => &mut odd[at].chain,
                };
                hash[byte] ^= 0x80;
                assert!(
                    verdict(&world, &odd).is_err(),
                    "record {at} hash {field} byte {byte}"
                );
            }
        }
    }
}

#[test]
fn a_record_left_out_doubled_swapped_or_cut_off_is_found() {
    let (world, records) = records();
    let last = records.len() - 1;
    let mut missing = records.clone();
    missing.remove(2);
    let mut doubled = records.clone();
    doubled.insert(2, records[2].clone());
    let mut swapped = records.clone();
    swapped.swap(1, 2);
    for odd in [
        missing,
        doubled,
        swapped,
        records[..last].to_vec(),
        records[1..].to_vec(),
    ] {
        assert!(verdict(&world, &odd).is_err());
    }
}

#[test]
fn a_chain_made_anew_over_changed_bytes_misses_the_head() {
    let (world, records) = records();
    let mut head = reeve_domain::audit::Head::default();
    let forged: Vec<Record> = records
        .iter()
        .map(|r| {
            let mut shown = decode(&r.canonical).unwrap();
            shown.actor = "spiffe://hospital/person/eve".into();
            reeve_domain::audit::append(&mut head, shown)
        })
        .collect();
    assert!(verdict(&world, &forged).unwrap_err().contains("head"));
}

#[test]
fn canonical_bytes_are_read_back_whole_or_not_at_all() {
    let (_, records) = records();
    let bytes = &records[0].canonical;
    for cut in 0..bytes.len() {
        assert!(decode(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(decode(&longer).is_err());
    let mut later = bytes.clone();
    later[1] = 9;
    assert!(decode(&later).unwrap_err().to_string().contains("version 9"));
}
