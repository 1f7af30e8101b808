//! `rekindle self save`, `load`, `confirm` and `close`: what an agent has its next life know.
//!
//! Each of them may be said twice without harm, so that a shim which starts anew meanwhile is waited for, and told again.

mod args;
mod body;
mod export;

use rekindle::checkpoint::CheckpointDraft;
use rekindle::state_file::{Handed, StateFile};
use rekindle::wire::agent_v1 as wire;
use tokio::time::{Instant, sleep};
use tonic::{Response, Status};

use super::shim::{self, Client, Shim};
use super::{LOST_PAUSE, SHIM_AWAY_MAX};
use crate::failure::{self, Failure};
use crate::json;
use crate::output::Output;

pub(super) use args::{Life, Load, Save};

/// Saves a whole new state. Prints its id for programs alone: a loop saves often, and its output is its agent's.
pub(super) async fn save(save: Save, output: Output) -> Result<(), Failure> {
    let body = match save.body {
        Some(from) => body::read(&from)?,
        None => Vec::new(),
    };
    let request = wire::SaveRequest {
        incarnation: save.life.incarnation,
        state: Some(wire::ActiveState {
            task_id: save.task_id,
            issue: save.issue,
            workspace: save.workspace,
            branch: save.branch,
            stage: save.stage,
            memory_refs: save.memory_refs,
            values: save.values.into_iter().collect(),
            body,
        }),
    };
    let saved = tell(request, async |client, request| client.save(request).await).await?;
    if output.is_json() {
        output.json(&json::of_shim("SaveResponse", &saved))?;
    }
    Ok(())
}

/// Prints what is open.
pub(super) async fn load(load: Load, output: Output) -> Result<(), Failure> {
    let request = wire::LoadRequest {
        incarnation: load.life.incarnation,
    };
    let loaded = tell(request, async |client, request| client.load(request).await).await?;
    let Some(loaded) = loaded.checkpoint else {
        if load.export {
            output.text(export::nothing(export::environment()).trim_end())?;
        }
        return Err(Failure::NoCheckpoint);
    };
    let mut state = state(loaded);
    match &load.body {
        Some(to) if to == body::STANDARD => return body::print(&state.body),
        Some(to) => {
            body::write(to, &state.body)?;
            state.body.clear();
        }
        None => {}
    }
    let text = match load.export {
        true => export::lines(&state, export::environment()),
        false => state.print(),
    };
    output.text(text.trim_end())
}

/// Says that this life goes on from what it was handed.
pub(super) async fn confirm(life: Life) -> Result<(), Failure> {
    let request = wire::ConfirmRequest {
        incarnation: life.incarnation,
    };
    tell(request, async |client, request| client.confirm(request).await).await?;
    Ok(())
}

/// Says that what was saved is of no more use.
pub(super) async fn close(life: Life) -> Result<(), Failure> {
    let request = wire::CloseRequest {
        incarnation: life.incarnation,
    };
    tell(request, async |client, request| client.close(request).await).await?;
    Ok(())
}

/// Tells the shim, again where the connection was lost.
async fn tell<Request: Clone, Answer>(
    request: Request,
    call: impl AsyncFn(&mut Client, tonic::Request<Request>) -> Result<Response<Answer>, Status>,
) -> Result<Answer, Failure> {
    let end = Instant::now() + SHIM_AWAY_MAX;
    loop {
        let mut shim = Shim::connect(end.saturating_duration_since(Instant::now())).await?;
        match call(&mut shim.checkpoints, shim::word(request.clone())).await {
            Ok(answer) => return Ok(answer.into_inner()),
            Err(status) if failure::is_lost(&status) && Instant::now() < end => sleep(LOST_PAUSE).await,
            Err(status) => return Err(Failure::Shim(Box::new(status))),
        }
    }
}

fn state(loaded: wire::LoadedCheckpoint) -> StateFile {
    let state = loaded.state.unwrap_or_default();
    let saved = loaded.save_time.as_ref();
    StateFile {
        draft: CheckpointDraft {
            task_id: state.task_id,
            issue: state.issue,
            workspace: state.workspace,
            branch: state.branch,
            stage: state.stage,
            memory_refs: state.memory_refs,
            values: state.values,
        },
        body: state.body,
        closed: false,
        handed: Some(Handed {
            checkpoint: loaded.checkpoint,
            saved: saved.map(ToString::to_string).unwrap_or_default(),
            unclean: loaded.unclean,
            in_flight: loaded.in_flight,
        }),
    }
}
