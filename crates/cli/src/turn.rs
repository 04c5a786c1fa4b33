//! How a new operation takes its turn, as options of the verbs that begin one.

use clap::{Args, ValueEnum};
use reeve_client::v1::{self, operation, turn};

/// Which of those that wait goes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Priority {
    Urgent,
    #[default]
    Normal,
    Background,
}

/// Before or behind others; for what nobody else can hold.
#[derive(Clone, Copy, Debug, Args)]
pub struct Order {
    /// Which goes first when its server or region has as many operations at work as it may
    #[arg(long, value_enum, default_value_t, value_name = "PRIORITY")]
    priority: Priority,
}

/// The same, and what happens when another operation holds the tenant.
#[derive(Clone, Copy, Debug, Args)]
pub struct Turn {
    /// Wait when another operation holds the tenant, and begin when that has ended
    #[arg(long)]
    queue: bool,
    #[command(flatten)]
    order: Order,
}

impl Order {
    pub fn wire(self) -> Option<v1::Turn> {
        Turn {
            queue: false,
            order: self,
        }
        .wire()
    }
}

impl Turn {
    /// Waits for the tenant, at a person's priority.
    pub fn queued() -> Turn {
        Turn {
            queue: true,
            order: Order {
                priority: Priority::Normal,
            },
        }
    }

    /// Nothing when nothing was said: a registry that knows no turns is asked as ever.
    pub fn wire(self) -> Option<v1::Turn> {
        let priority = match self.order.priority {
            Priority::Urgent => operation::Priority::Urgent,
            Priority::Normal => operation::Priority::Unspecified,
            Priority::Background => operation::Priority::Background,
        };
        let on_conflict = match self.queue {
            true => turn::OnConflict::Queue,
            false => turn::OnConflict::Unspecified,
        };
        let wire = v1::Turn {
            on_conflict: on_conflict.into(),
            priority: priority.into(),
        };
        (wire != v1::Turn::default()).then_some(wire)
    }
}
