//! The thread that writes checkpoints: the shim's loop waits for no disk while an agent saves.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use rekindle::checkpoint::{CheckpointId, HeldCheckpoint};
use rekindle_shim_core::NotWritten;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::ActiveState;
use crate::process::leave_signals_to_main;

/// Checkpoints that wait for the thread: the supervisor has one written at a time.
const QUEUE: usize = 1;

/// What it needs for a path and a few calls; what it writes is on the heap.
const STACK_BYTES: usize = 64 * 1024;

/// What became of a checkpoint.
type Written = (CheckpointId, Result<(), NotWritten>);

/// The thread, once there is something to write. It ends with this.
#[derive(Debug)]
pub(crate) struct Writer {
    files: ActiveState,
    held: Option<SyncSender<HeldCheckpoint>>,
    /// The thread has the other end.
    told: (UnboundedSender<Written>, UnboundedReceiver<Written>),
}

impl Writer {
    pub(crate) fn new(files: ActiveState) -> Self {
        Self {
            files,
            held: None,
            told: unbounded_channel(),
        }
    }

    /// Has it written; told by [`Writer::written`].
    pub(crate) fn write(&mut self, held: HeldCheckpoint) {
        let id = held.checkpoint.id;
        let passed = match self.thread() {
            Ok(thread) => thread.try_send(held).map_err(|error| error.to_string()),
            Err(error) => Err(format!("cannot begin a thread: {error}")),
        };
        if let Err(message) = passed {
            let result = Err(NotWritten {
                cause: rekindle_shim_core::WriteFault::Other,
                message,
            });
            // Both ends are here.
            let _ = self.told.0.send((id, result));
        }
    }

    /// What became of the one that is under way; waits for ever where none is.
    pub(crate) async fn written(&mut self) -> Written {
        match self.told.1.recv().await {
            Some(written) => written,
            None => std::future::pending().await,
        }
    }

    fn thread(&mut self) -> io::Result<&SyncSender<HeldCheckpoint>> {
        let held = match self.held.take() {
            Some(held) => held,
            None => {
                let (held, queue) = sync_channel(QUEUE);
                let (files, told) = (self.files.clone(), self.told.0.clone());
                std::thread::Builder::new()
                    .name("checkpoints".to_owned())
                    .stack_size(STACK_BYTES)
                    .spawn(move || {
                        leave_signals_to_main();
                        write_all(&files, &queue, &told);
                    })?;
                held
            }
        };
        Ok(self.held.insert(held))
    }
}

fn write_all(files: &ActiveState, queue: &Receiver<HeldCheckpoint>, told: &UnboundedSender<Written>) {
    while let Ok(held) = queue.recv() {
        let result = files.write(&held);
        if told.send((held.checkpoint.id, result)).is_err() {
            return;
        }
    }
}
