//! Retention of executions that are over, by age and by count.
//!
//! It fails closed. How many are kept goes by the order of their ends, and no clock. Their ages are those of the server's own
//! clock, from when it learned of their ends, and count only once that clock has been steady; what is not over, and what a
//! shim may have a word on, the machine keeps whatever it is told.

use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use rekindle::execution::ExecutionState;
use rekindle::time::Timestamp;
use rekindle_server_core::execution::ExecutionRecord;
use rekindle_server_core::input::Input;

use super::steadiness::Steadiness;
use crate::driver::Message;
use crate::handle::{Handle, Unavailable};
use crate::snapshot::{Place, Snapshot};

/// How often it is looked at what is to go. The look itself costs nothing where nothing is; what a busy fleet makes
/// meanwhile is some thousands.
const PERIOD: Duration = Duration::from_secs(60);

/// Most executions that are forgotten in one step, so that its batch, with up to nine keys for each, stays small.
const STEP: usize = 256;

/// Longest time for which the clock must have been steady: by then somebody has noticed that it is wrong. Where executions
/// are kept for less, that long.
const STEADY_MAX: Duration = Duration::from_secs(24 * 3600);

/// An end that is told to be from before this program was written (2026-01-01) comes from a misread clock, and has no age.
const PLAUSIBLE_FROM: Timestamp = Timestamp::from_unix_nanos(1_767_225_600_000_000_000);

/// How many executions that are over are kept, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most of them.
    pub max: usize,
    /// Longest time since the server learned of the end.
    pub max_age: Duration,
}

/// Has forgotten what is past the limits, for ever.
pub async fn run(handle: Handle, limits: Limits) {
    let mut clocks = Steadiness::new(handle.clock().now());
    let mut period = tokio::time::interval(PERIOD);
    loop {
        period.tick().await;
        let now = handle.clock().now();
        let steady_for = clocks.look(now);
        if forget_past(&handle, limits, now.wall, steady_for).await.is_err() {
            return;
        }
    }
}

async fn forget_past(handle: &Handle, limits: Limits, now: Timestamp, steady_for: Duration) -> Result<(), Unavailable> {
    forget_surplus(handle, limits.max).await?;
    match aged_before(limits, now, steady_for) {
        Some(limit) => forget_older(handle, limit).await,
        None => Ok(()),
    }
}

/// What was over before this is too old; `None` where the clock cannot be believed.
fn aged_before(limits: Limits, now: Timestamp, steady_for: Duration) -> Option<Timestamp> {
    let believed = steady_for >= limits.max_age.min(STEADY_MAX);
    believed.then(|| now.saturating_sub(limits.max_age))
}

/// Has those go that were the first to end, by the order of their events: no clock has a word in how many are kept.
async fn forget_surplus(handle: &Handle, max: usize) -> Result<(), Unavailable> {
    let mut after = None;
    loop {
        let snapshot = handle.snapshot();
        let surplus = snapshot.executions.over_count().saturating_sub(max);
        let batch: Vec<_> = snapshot.executions.ended(after).take(STEP).collect();
        let Some((last, _)) = batch.last().filter(|_| surplus > 0) else {
            return Ok(());
        };
        after = Some(*last);
        forget(handle, batch.into_iter().map(|(_, record)| record).collect(), surplus).await?;
    }
}

/// Has those go that are over since before `limit`, the oldest first.
async fn forget_older(handle: &Handle, limit: Timestamp) -> Result<(), Unavailable> {
    let mut from = Bound::Included(Place::first_of(PLAUSIBLE_FROM));
    loop {
        let oldest = handle.snapshot().executions.over(from).take(STEP).collect::<Vec<_>>();
        let batch: Vec<_> = oldest
            .into_iter()
            .take_while(|(place, _)| place.closed < limit)
            .collect();
        let Some((last, _)) = batch.last() else {
            return Ok(());
        };
        from = Bound::Excluded(*last);
        forget(handle, batch.into_iter().map(|(_, record)| record).collect(), STEP).await?;
    }
}

/// Has the machine forget the first `most` of these, and waits until it has. It may have its reasons to keep one that is
/// LOST: a batch of nothing else is not waited for.
async fn forget(handle: &Handle, batch: Vec<Arc<ExecutionRecord>>, most: usize) -> Result<(), Unavailable> {
    let key = |record: &ExecutionRecord| (record.agent.clone(), record.id.clone());
    let executions = batch.iter().map(|record| key(record)).collect();
    let input = Input::ExecutionsAged { executions, most };
    handle.send(Message::Input(input)).await?;
    let sure = batch.iter().filter(|record| record.state != ExecutionState::Lost);
    let sure = sure.count().min(most);
    // Another one may have come by the same name.
    let is_gone = |snapshot: &Snapshot, record: &ExecutionRecord| {
        let found = snapshot.executions.get(&key(record));
        found.is_none_or(|found| found.uid != record.uid)
    };
    let mut changes = handle.changes();
    changes
        .wait_for(|snapshot| batch.iter().filter(|record| is_gone(snapshot, record)).count() >= sure)
        .await
        .map_err(|_| Unavailable)?;
    Ok(())
}

#[cfg(test)]
mod tests;
