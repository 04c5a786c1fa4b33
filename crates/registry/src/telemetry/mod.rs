//! What operators see of a node: log lines and metrics.

mod gauges;
mod logs;
mod metrics;

pub use gauges::run as keep_gauges;
pub use logs::init;
pub use metrics::{Metrics, RpcCall};
