//! Operations in the order of a listing, the newest first, kept up with State: a page begins where it begins.
//!
//! ```text
//! last looked at ─► what differs from the State of now ─► order ─► a page of it
//! ```

use std::cmp::Reverse;
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use imbl::ordmap::DiffItem;
use imbl::{OrdMap, OrdSet};
use parking_lot::Mutex;
use reeve_domain::{Operation, OperationId, Stamp};

type Operations = OrdMap<OperationId, Arc<Operation>>;

/// Where an operation stands in a listing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(Reverse<Stamp>, OperationId);

impl Key {
    pub(super) fn of(operation: &Operation) -> Key {
        Key(Reverse(operation.created), operation.id.clone())
    }

    /// Reads what `Display` wrote.
    pub(super) fn parse(text: &str) -> Result<Key, &'static str> {
        let key = text.split_once('/').and_then(|(created, id)| {
            let created = u64::MAX - created.parse::<u64>().ok()?;
            Some(Key(Reverse(Stamp(created)), OperationId::parse(id).ok()?))
        });
        key.ok_or("is not of a listing of operations")
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Key(Reverse(created), id) = self;
        write!(f, "{:020}/{id}", u64::MAX - created.0)
    }
}

/// The order of what was looked at last. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Newest(Arc<Mutex<Ordered>>);

#[derive(Default)]
struct Ordered {
    of: Operations,
    order: OrdSet<Key>,
}

impl Newest {
    /// The order of these operations. It costs as much as what changed since the last look.
    pub(super) fn of(&self, operations: &Operations) -> OrdSet<Key> {
        let mut known = self.0.lock();
        let Ordered { of, order } = &mut *known;
        for change in of.diff(operations) {
            match change {
                DiffItem::Add(_, operation) => drop(order.insert(Key::of(operation))),
                DiffItem::Remove(_, operation) => drop(order.remove(&Key::of(operation))),
                DiffItem::Update {
                    old: (_, was),
                    new: (_, is),
                } => {
                    if was.created != is.created {
                        order.remove(&Key::of(was));
                        order.insert(Key::of(is));
                    }
                }
            }
        }
        *of = operations.clone();
        order.clone()
    }
}

/// The operations behind one, in order.
pub(super) fn behind<'a>(
    operations: &'a Operations,
    order: &'a OrdSet<Key>,
    after: Option<&Key>,
) -> impl Iterator<Item = &'a Arc<Operation>> {
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    let keys = order.range::<_, Key>((from, Bound::Unbounded));
    keys.filter_map(|Key(_, id)| operations.get(id))
}
