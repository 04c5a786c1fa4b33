//! What a process pays to remember every tenant of a fleet, counted by its allocator.

#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]
#![allow(
    unsafe_code,
    reason = "an allocator that counts is one line around the system's"
)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering},
};

use futures::FutureExt;
use reeve_client::{Selector, stand};

/// Bytes that are allocated now.
static HELD: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// What it does is what the system's does.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const TENANTS: u64 = 100_000;
const BYTES_MAX: usize = 300;

/// The only test of its process, so that nobody else's memory is counted.
#[test]
fn a_tenant_with_a_slug_and_a_domain_is_remembered_in_300_bytes_also_after_all_have_changed() {
    let (fleet, feed) = stand::fleet();
    let before = HELD.load(Ordering::Relaxed);
    feed.list((0..TENANTS).map(|number| stand::hospital(number, 5)), 9);
    let each = |when: &str| {
        let bytes = (HELD.load(Ordering::Relaxed) - before) / TENANTS as usize;
        println!("{bytes} bytes a tenant {when}");
        assert!(bytes <= BYTES_MAX, "{bytes} bytes a tenant {when}");
        assert!(bytes > 50, "nothing is held: {bytes}");
    };
    each("when they are listed");
    for number in 0..TENANTS {
        feed.change(stand::hospital(number, 10 + number), 10 + number);
    }
    feed.bookmark(10 + TENANTS);
    each("after each has changed");
    for number in [0, TENANTS / 2, TENANTS - 1] {
        for name in [
            Selector::domain(&stand::domain(number)).unwrap(),
            Selector::slug(&stand::slug(number)).unwrap(),
        ] {
            let found = fleet.resolve(&name).now_or_never().expect("from memory").unwrap();
            assert_eq!(found.slug(), stand::slug(number));
            assert_eq!(found.changed.0, 10 + number);
        }
    }
}
