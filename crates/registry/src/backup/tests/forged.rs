//! Files whose sums are all right, and which are not true.

use std::sync::Arc;

use super::world::{World, key};
use crate::backup::frame::{Frame, FrameReader, FrameWriter, Kind};
use crate::backup::{BackupError, check};

fn refused(file: &[u8]) -> String {
    let outside = check(file, None, &mut |_| Ok(()));
    assert!(outside.is_ok(), "its sums are not right: {outside:?}");
    check(file, Some(&key()), &mut |_| Ok(()))
        .unwrap_err()
        .to_string()
}

/// The same file with other frames, and sums that fit them.
fn rewritten(file: &[u8], change: impl FnOnce(&mut Vec<Frame>)) -> Vec<u8> {
    let mut reader = FrameReader::begin(file).unwrap();
    let mut frames = Vec::new();
    while let Some(frame) = reader.next().unwrap() {
        frames.push(frame);
    }
    change(&mut frames);
    let mut out = Vec::new();
    let mut writer = FrameWriter::begin(&mut out).unwrap();
    for frame in &frames {
        writer.put(frame.kind, &frame.body).unwrap();
    }
    writer.end().unwrap();
    out
}

#[test]
fn blocks_that_were_changed_moved_doubled_or_left_out_do_not_open() {
    let file = World::busy().save();
    assert_eq!(rewritten(&file, |_| {}), file);
    type Tamper = fn(&mut Vec<Frame>);
    let tampered: [(&str, Tamper); 5] = [
        ("changed", |frames| frames[2].body[40] ^= 1),
        ("moved", |frames| frames.swap(2, 3)),
        ("left out", |frames| drop(frames.remove(2))),
        ("of another kind", |frames| frames[2].kind = Kind::Changes),
        ("without a foot", |frames| drop(frames.pop())),
    ];
    for (how, tamper) in tampered {
        let told = refused(&rewritten(&file, tamper));
        assert!(told.contains("use another copy"), "{how}: {told}");
    }
    let header_of_another = World::busy().save();
    let mut reader = FrameReader::begin(header_of_another.as_slice()).unwrap();
    let _ = reader.next().unwrap();
    let header = reader.next().unwrap().unwrap();
    let told = refused(&rewritten(&file, |frames| frames[1] = header));
    assert!(told.contains("does not open"), "{told}");
}

#[test]
fn a_state_that_is_not_the_headers_is_refused() {
    let world = World::busy();
    let mut header = world.header();
    header.state_hash[0] ^= 1;
    let told = refused(&world.save_as(&header, &world.changes));
    assert!(told.contains("another hash"), "{told}");
    let mut header = world.header();
    header.revision += 1;
    let told = refused(&world.save_as(&header, &world.changes));
    assert!(told.contains("not the one"), "{told}");
}

#[test]
fn an_archive_with_a_hole_or_a_changed_record_is_refused() {
    let world = World::busy();
    let hole: Vec<_> = world
        .changes
        .iter()
        .filter(|c| c.revision.0 != 4)
        .cloned()
        .collect();
    let told = refused(&world.save_as(&world.header(), &hole));
    assert!(told.contains("revision 5 stands where 4 belongs"), "{told}");

    let mut changed = world.changes.clone();
    let record = changed[3].record.as_mut().unwrap();
    Arc::make_mut(record).canonical[30] ^= 1;
    let told = refused(&world.save_as(&world.header(), &changed));
    assert!(
        told.contains("audit chain in it is broken") && told.contains("record 4"),
        "{told}"
    );

    let mut short = world.changes.clone();
    short.last_mut().unwrap().record = None;
    let told = refused(&world.save_as(&world.header(), &short));
    assert!(told.contains("ends at"), "{told}");
    let missing = refused(&world.save_as(&world.header(), &short[..5]));
    assert!(missing.contains("archive ends before"), "{missing}");
}

#[test]
fn a_format_of_tomorrow_is_named() {
    let file = World::busy().save();
    let newer = rewritten(&file, |frames| {
        #[derive(serde::Serialize)]
        struct Newer {
            format: u32,
            more: &'static str,
        }
        frames[0].body = rmp_serde::to_vec_named(&Newer {
            format: 2,
            more: "than we know",
        })
        .unwrap();
    });
    let told = check(newer.as_slice(), None, &mut |_| Ok(())).unwrap_err();
    assert!(matches!(told, BackupError::Format { found: 2 }), "{told}");
}
