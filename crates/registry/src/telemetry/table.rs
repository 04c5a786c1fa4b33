//! A gauge with labels whose rows come and go: a tenant's state, a peer, an agent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::{MetricType, TypedMetric};

/// A row's labels, name and value.
pub type Labels<const N: usize> = [(&'static str, String); N];

/// All rows of one gauge. What is not shown any more is gone from the page, too.
#[derive(Clone, Debug, Default)]
pub struct Table<const N: usize> {
    family: Family<Labels<N>, Gauge>,
    shown: Arc<Mutex<BTreeSet<Labels<N>>>>,
}

impl<const N: usize> Table<N> {
    /// Shows these rows and no others.
    pub fn show(&self, rows: BTreeMap<Labels<N>, i64>) {
        let mut shown = self.shown.lock();
        for gone in shown.iter().filter(|labels| !rows.contains_key(*labels)) {
            self.family.remove(gone);
        }
        for (labels, value) in &rows {
            self.family.get_or_create(labels).set(*value);
        }
        *shown = rows.into_keys().collect();
    }

    /// What is shown now.
    pub fn rows(&self) -> BTreeMap<Labels<N>, i64> {
        let shown = self.shown.lock();
        let row = |labels: &Labels<N>| (labels.clone(), self.family.get_or_create(labels).get());
        shown.iter().map(row).collect()
    }

    /// One row's.
    pub fn value(&self, labels: &Labels<N>) -> Option<i64> {
        let shown = self.shown.lock();
        shown
            .contains(labels)
            .then(|| self.family.get_or_create(labels).get())
    }
}

impl<const N: usize> EncodeMetric for Table<N> {
    fn encode(&self, encoder: MetricEncoder) -> Result<(), std::fmt::Error> {
        self.family.encode(encoder)
    }

    fn metric_type(&self) -> MetricType {
        Gauge::<i64>::TYPE
    }

    fn is_empty(&self) -> bool {
        self.shown.lock().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::encoding::text;
    use prometheus_client::registry::Registry;

    #[test]
    fn a_row_that_is_not_shown_any_more_is_gone() {
        let (table, mut registry) = (Table::<1>::default(), Registry::default());
        registry.register("agents", "of whom", table.clone());
        let row = |name: &str, value| ([("agent", name.to_owned())], value);
        table.show([row("a", 1), row("b", 2)].into());
        table.show([row("b", 3)].into());
        assert_eq!(table.rows(), [row("b", 3)].into());
        assert_eq!(
            (table.value(&row("b", 0).0), table.value(&row("a", 0).0)),
            (Some(3), None)
        );

        let mut page = String::new();
        text::encode(&mut page, &registry).unwrap();
        assert!(
            page.contains("agents{agent=\"b\"} 3\n") && !page.contains("\"a\""),
            "{page}"
        );
    }
}
