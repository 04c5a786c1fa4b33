//! A lane beside a session's uplink: what waits for the log there keeps no heartbeat waiting.
//!
//! A lane that is full takes nothing more. It is for what is said again anyway.

use tokio::sync::mpsc;

/// Messages that wait in a lane: how the databases fare whose records one agent keeps at the most, and some more.
const QUEUE_MAX: usize = 24;

/// Where messages are put.
pub(super) struct Lane<T>(mpsc::Sender<T>);

/// An empty lane, and where its messages come out.
pub(super) fn lane<T>() -> (Lane<T>, mpsc::Receiver<T>) {
    let (put, waiting) = mpsc::channel(QUEUE_MAX);
    (Lane(put), waiting)
}

impl<T> Lane<T> {
    /// Puts a message in, and never waits; one that finds no room is left out.
    pub(super) fn put(&self, message: T) {
        // Said again in the next round, when there may be room.
        let _ = self.0.try_send(message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_puts_never_waits_and_what_finds_no_room_is_left_out() {
        let (lane, mut waiting) = lane();
        for number in 0..QUEUE_MAX + 10 {
            lane.put(number);
        }
        drop(lane);
        let mut came = Vec::new();
        while let Some(number) = waiting.recv().await {
            came.push(number);
        }
        assert_eq!(came, (0..QUEUE_MAX).collect::<Vec<_>>(), "in order");
    }
}
