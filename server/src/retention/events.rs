//! Retention of events by age. The count is the machine's own affair; ages are in the store.

use std::time::Duration;

use rekindle::id::Sequence;
use rekindle::time::Timestamp;
use rekindle_server_core::input::Input;

use crate::driver::Message;
use crate::handle::{Handle, Unavailable};

/// How often old events are looked for. An hour late is nothing to an age of days.
const PERIOD: Duration = Duration::from_secs(3600);

/// Events that are looked at, and trimmed, at a time.
const STEP: usize = 1000;

/// Trims what is older than `max_age`, for ever.
pub async fn run(handle: Handle, max_age: Duration) {
    let mut period = tokio::time::interval(PERIOD);
    loop {
        period.tick().await;
        if trim(&handle, max_age).await.is_err() {
            return;
        }
    }
}

async fn trim(handle: &Handle, max_age: Duration) -> Result<(), Unavailable> {
    loop {
        let snapshot = handle.snapshot();
        let oldest = Sequence::new(snapshot.first_event.get().saturating_sub(1));
        let events = match handle.events(oldest, STEP).await {
            Ok(events) => events,
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "old events could not be read; none is trimmed"
                );
                return Ok(());
            }
        };
        let now = handle.clock().now().wall;
        let is_old = |time: Timestamp| now.saturating_since(time) > max_age;
        let Some(through) = events
            .iter()
            .take_while(|event| is_old(event.time))
            .map(|event| event.sequence)
            .last()
        else {
            return Ok(());
        };
        // The newest line stays: the numbering goes on from it.
        let through = through.min(Sequence::new(snapshot.last_event.get().saturating_sub(1)));
        if through < snapshot.first_event {
            return Ok(());
        }
        handle.send(Message::Input(Input::EventsAged { through })).await?;
        let mut changes = handle.changes();
        changes
            .wait_for(|snapshot| snapshot.first_event > through)
            .await
            .map_err(|_| Unavailable)?;
    }
}
