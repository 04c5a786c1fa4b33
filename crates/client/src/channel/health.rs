//! What we remember of one node, and how long a failing one is left alone.

use std::time::{Duration, Instant};

const REST_MIN: Duration = Duration::from_millis(200);
const REST_MAX: Duration = Duration::from_secs(10);

/// A node that failed rests, longer each time; success forgives everything.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Health {
    failures: u32,
    rests_until: Option<Instant>,
}

impl Health {
    pub(crate) fn succeeded(&mut self) {
        *self = Health::default();
    }

    /// `chance` is between 0 and 1 and keeps many clients from returning at the same moment.
    pub(crate) fn failed(&mut self, now: Instant, chance: f64) {
        let doubled = REST_MIN * 2u32.saturating_pow(self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        self.rests_until = Some(now + doubled.min(REST_MAX).mul_f64(0.5 + chance / 2.0));
    }

    /// None when the node may be asked now.
    pub(crate) fn rest_left(&self, now: Instant) -> Option<Duration> {
        self.rests_until
            .and_then(|until| until.checked_duration_since(now))
            .filter(|left| !left.is_zero())
    }
}

/// The order in which to ask: from the preferred node on, those at rest last, soonest back first.
pub(crate) fn order(nodes: &[Health], preferred: usize, now: Instant) -> Vec<usize> {
    let mut order: Vec<usize> = (0..nodes.len()).map(|i| (preferred + i) % nodes.len()).collect();
    // Stable, so nodes that are ready keep their turn.
    order.sort_by_key(|&node| nodes[node].rest_left(now).unwrap_or_default());
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_node_rests_longer_each_time_up_to_a_bound() {
        let now = Instant::now();
        let mut health = Health::default();
        let mut last = Duration::ZERO;
        for _ in 0..5 {
            health.failed(now, 1.0);
            let left = health.rest_left(now).unwrap();
            assert!(left > last, "{left:?}");
            last = left;
        }
        for _ in 0..100 {
            health.failed(now, 1.0);
        }
        assert_eq!(health.rest_left(now), Some(REST_MAX));
        assert_eq!(health.rest_left(now + REST_MAX), None);
        health.succeeded();
        assert_eq!(health.rest_left(now), None);
    }

    #[test]
    fn resting_nodes_are_asked_last_and_never_left_out() {
        let now = Instant::now();
        let mut nodes = [Health::default(); 4];
        nodes[1].failed(now, 1.0);
        nodes[1].failed(now, 1.0);
        nodes[2].failed(now, 1.0);
        assert_eq!(order(&nodes, 1, now), [3, 0, 2, 1]);
        assert_eq!(order(&nodes, 1, now + REST_MAX), [1, 2, 3, 0]);
    }
}
