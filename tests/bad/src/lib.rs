//! What nobody should send: every field of every call with every value that it must not hold, asked of a real fleet.
//!
//! ```text
//! descriptors ─► paths of all fields ─► table: what each field is ─► hostile values ─► a real node ─► judge
//!                     └ one without a row fails                                          └ still: nothing changed
//! ```
//! Of each row: a reason, the field, what would be right; and the fleet is as it was.

pub mod call;
pub mod fields;
pub mod hostile;
pub mod judge;
pub mod still;
pub mod table;
pub mod world;
