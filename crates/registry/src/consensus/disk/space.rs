//! Whether there is room, with some distance between full and not.

/// Of a small disk no more than this part is kept back.
const RESERVE_PART: u64 = 8;

#[derive(Debug)]
pub(super) struct Space {
    reserve: u64,
    full: bool,
}

impl Space {
    pub(super) fn new(reserve: u64) -> Space {
        Space { reserve, full: false }
    }

    /// What was seen. It is full below the reserve, until a quarter more than that is free.
    pub(super) fn looked(&mut self, free: u64, total: u64) {
        let reserve = self.reserve.min(total / RESERVE_PART);
        self.full = match self.full {
            true => free < reserve + reserve / 4,
            false => free < reserve,
        };
    }

    pub(super) fn is_full(&self) -> bool {
        self.full
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_full_below_the_reserve_until_clearly_above_it() {
        let mut space = Space::new(100);
        let mut seen = |free| {
            space.looked(free, 10_000);
            space.is_full()
        };
        assert_eq!(
            [101, 99, 101, 124, 125, 101].map(&mut seen),
            [false, true, true, true, false, false]
        );
    }

    #[test]
    fn a_small_disk_keeps_an_eighth_back() {
        let mut space = Space::new(1_000);
        space.looked(30, 160);
        assert!(!space.is_full());
        space.looked(19, 160);
        assert!(space.is_full());
    }
}
