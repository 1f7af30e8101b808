//! `rekindle self`: what a program that a rekindle-shim runs says to it, from a shell.
//!
//! Made for a loop that nobody watches: a shim that starts anew is waited for, and what does not go away does not make
//! the loop spin.

mod args;
mod checkpoint;
mod result;
mod shim;

use std::time::Duration;

use rekindle::convert::duration_to_wire;
use rekindle::exit::{TAIL_MAX_BYTES, last_bytes};
use rekindle::wire::agent_v1 as wire;
use tokio::time::{Instant, sleep};

use crate::failure::{self, Failure};
use crate::json;
use crate::output::Output;

use args::{Done, Fail, Next, Reason};
use shim::Shim;

pub(crate) use args::Itself;

/// Longest wait for a shim that is not there, by who has something to say: service managers start one anew within
/// seconds.
const SHIM_AWAY_MAX: Duration = Duration::from_secs(10);

/// Wait before a failure of `next` is told, as a loop around it meets the same again at once.
const LOOP_PAUSE: Duration = Duration::from_secs(1);

/// Wait after a connection that was lost: a shim that ends has not closed its socket yet.
const LOST_PAUSE: Duration = Duration::from_millis(100);

/// Runs the command.
pub(crate) async fn run(command: Itself, output: Output) -> Result<(), Failure> {
    match command {
        Itself::Next(next) => take(next, output).await,
        Itself::Done(done) => complete(done).await,
        Itself::Fail(fail) => give_up(fail).await,
        Itself::Progress(progress) => {
            let said = wire::ReportProgressRequest {
                execution: progress.about.execution,
                attempt: progress.about.attempt,
                text: remark(&progress.text.to_string_lossy()),
            };
            let mut shim = Shim::connect(SHIM_AWAY_MAX).await?;
            shim::heard(shim.client.report_progress(shim::word(said)).await)
        }
        Itself::Blocked(blocked) => {
            let reason = match blocked.reason {
                Reason::Approval => wire::BlockReason::Approval,
                Reason::Quota => wire::BlockReason::Quota,
                Reason::User => wire::BlockReason::User,
            };
            let said = wire::BlockRequest {
                execution: blocked.about.execution,
                attempt: blocked.about.attempt,
                reason: reason.into(),
            };
            let mut shim = Shim::connect(SHIM_AWAY_MAX).await?;
            shim::heard(shim.client.block(shim::word(said)).await)
        }
        Itself::Unblocked(about) => {
            let said = wire::UnblockRequest {
                execution: about.execution,
                attempt: about.attempt,
            };
            let mut shim = Shim::connect(SHIM_AWAY_MAX).await?;
            shim::heard(shim.client.unblock(shim::word(said)).await)
        }
        Itself::Save(save) => checkpoint::save(save, output).await,
        Itself::Load(load) => checkpoint::load(load, output).await,
        Itself::Confirm(life) => checkpoint::confirm(life).await,
        Itself::Close(life) => checkpoint::close(life).await,
    }
}

async fn take(next: Next, output: Output) -> Result<(), Failure> {
    let taken = wait_for_work(next.wait).await;
    match &taken {
        Ok(_) | Err(Failure::NothingCame) => {}
        Err(_) => sleep(LOOP_PAUSE).await,
    }
    let assignment = taken?;
    if output.is_json() {
        output.json(&json::of_shim("Assignment", &assignment))
    } else {
        output.text(&assignment.message)
    }
}

/// Waits for work, over restarts of the shim.
async fn wait_for_work(wait: Duration) -> Result<wire::Assignment, Failure> {
    let end = Instant::now() + wait;
    let rest = || end.saturating_duration_since(Instant::now());
    loop {
        let mut shim = Shim::connect(rest()).await?;
        let wait = rest();
        let request = wire::NextRequest {
            wait: Some(duration_to_wire(wait)),
        };
        match shim.client.next(shim::waiting(request, wait)).await {
            Ok(answer) => return answer.into_inner().assignment.ok_or(Failure::NothingCame),
            // What was meant for this caller is given again, and may be to this very one.
            Err(status) if failure::is_lost(&status) && !rest().is_zero() => sleep(LOST_PAUSE).await,
            Err(status) => return Err(Failure::Shim(Box::new(status))),
        }
    }
}

async fn complete(done: Done) -> Result<(), Failure> {
    let result = result::read(done.result)?;
    let said = wire::CompleteRequest {
        execution: done.about.execution,
        attempt: done.about.attempt,
        output: result.text,
        output_dropped: result.dropped_bytes,
    };
    let mut shim = Shim::connect(SHIM_AWAY_MAX).await?;
    shim::heard(shim.client.complete(shim::word(said)).await)
}

async fn give_up(fail: Fail) -> Result<(), Failure> {
    let said = wire::FailRequest {
        execution: fail.about.execution,
        attempt: fail.about.attempt,
        message: remark(&fail.message.to_string_lossy()),
        ..wire::FailRequest::default()
    };
    let mut shim = Shim::connect(SHIM_AWAY_MAX).await?;
    shim::heard(shim.client.fail(shim::word(said)).await)
}

/// What the shim keeps of it anyway.
fn remark(text: &str) -> String {
    last_bytes(text, TAIL_MAX_BYTES).to_owned()
}
