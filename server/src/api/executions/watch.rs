//! WatchExecution: an execution and what it writes, until it is over.

use std::sync::Arc;

use rekindle::execution::{ExecutionState, OutputPart};
use rekindle::wire::v1::{self, watch_execution_response};
use rekindle_server_core::effect::ExecutionError;
use rekindle_server_core::execution::ExecutionRecord;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::super::view;
use super::with_texts;
use crate::handle::Handle;
use crate::output::Watcher;
use crate::snapshot::Subscription;
use crate::status::execution_refused;

/// Updates that wait for a slow watcher. It is told the newest state, not every one that it missed, and what it misses of
/// the output it can tell by the next offset.
const WAITING_MAX: usize = 4;

type Update = Result<v1::WatchExecutionResponse, Status>;

/// The watcher has hung up.
struct Gone;

/// Every change of an execution that the watcher is in time for, its output as it comes, and always the last change.
pub(super) fn watch(handle: Handle, record: Arc<ExecutionRecord>) -> impl Stream<Item = Update> {
    let (updates, stream) = mpsc::channel(WAITING_MAX);
    let changes = handle.subscribe(&record.agent, &record.id);
    let watch = Watch {
        handle,
        changes,
        updates,
        output: None,
    };
    tokio::spawn(watch.run(record));
    ReceiverStream::new(stream)
}

struct Watch {
    handle: Handle,
    changes: Subscription,
    updates: mpsc::Sender<Update>,
    /// Of the attempt that runs.
    output: Option<Watcher>,
}

impl Watch {
    async fn run(mut self, mut record: Arc<ExecutionRecord>) {
        loop {
            match self.step(record).await {
                Ok(Some(next)) => record = next,
                Ok(None) | Err(Gone) => return,
            }
        }
    }

    /// Shows an execution as it is, and its output until it has changed; `None` when there is no more to come.
    async fn step(&mut self, record: Arc<ExecutionRecord>) -> Result<Option<Arc<ExecutionRecord>>, Gone> {
        let newest = record.newest();
        let runs = record.state == ExecutionState::Running;
        if self
            .output
            .as_ref()
            .is_some_and(|output| !runs || *output.attempt() != newest)
        {
            self.end_output().await?;
        }
        let over = record.state.is_over();
        let shown = if over {
            with_texts(&self.handle, &record).await
        } else {
            Ok(view::execution(&record))
        };
        let execution = shown.map(|execution| watch_execution_response::Update::Execution(Box::new(execution)));
        self.send(execution).await?;
        if over {
            return Ok(None);
        }
        if runs && self.output.is_none() {
            self.output = Some(self.handle.outputs().watch(&record.agent, &newest));
        }
        match self.until_changed(&record).await? {
            Ok(next) => Ok(Some(next)),
            Err(status) => {
                self.send(Err(status)).await?;
                Ok(None)
            }
        }
    }

    /// Shows what has come of an attempt that runs no more: its shim has told it before the end.
    async fn end_output(&mut self) -> Result<(), Gone> {
        let Some(mut output) = self.output.take() else {
            return Ok(());
        };
        while let Some(part) = output.waiting() {
            self.send(Ok(chunk(part))).await?;
        }
        Ok(())
    }

    async fn until_changed(&mut self, record: &ExecutionRecord) -> Result<Result<Arc<ExecutionRecord>, Status>, Gone> {
        let key = (record.agent.clone(), record.id.clone());
        loop {
            let snapshot = self.handle.snapshot();
            match snapshot.executions.get(&key) {
                None => {
                    let (agent, id) = key;
                    return Ok(Err(execution_refused(&ExecutionError::NotFound { agent, id })));
                }
                Some(found) if found.revision != record.revision => return Ok(Ok(found.clone())),
                Some(_) => {}
            }
            // A watch keeps no old picture of the fleet in memory.
            drop(snapshot);
            tokio::select! {
                changed = self.changes.changed() => if let Err(unavailable) = changed {
                    return Ok(Err(unavailable.into()));
                },
                part = next_of(&mut self.output) => self.send(Ok(chunk(part))).await?,
                () = self.updates.closed() => return Err(Gone),
            }
        }
    }

    async fn send(&self, update: Result<watch_execution_response::Update, Status>) -> Result<(), Gone> {
        let update = update.map(|update| v1::WatchExecutionResponse { update: Some(update) });
        self.updates.send(update).await.map_err(|_| Gone)
    }
}

async fn next_of(output: &mut Option<Watcher>) -> OutputPart {
    match output {
        Some(output) => output.next().await,
        None => std::future::pending().await,
    }
}

fn chunk(part: OutputPart) -> watch_execution_response::Update {
    watch_execution_response::Update::Output(v1::OutputChunk {
        attempt: part.attempt.number,
        offset: part.offset,
        data: part.data,
        kind: v1::OutputKind::from(part.kind).into(),
    })
}
