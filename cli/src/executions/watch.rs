//! Waits for the end of an execution: shows its output as it comes, and how it stands meanwhile.
//!
//! The execution does not need anybody who waits for it. A connection that is lost is opened again; who leaves finds it
//! under its name.

use std::time::{Duration, SystemTime};

use rekindle::wire::v1::watch_execution_response::Update;
use rekindle::wire::v1::{self, ExecutionState};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tonic::Streaming;

use super::queue::{self, Ahead, Place};
use super::remarks::Remarks;
use super::screen::Screen;
use super::transcript::{Piece, Rest, Transcript};
use super::{ExecutionName, operate, outcome, progress};
use crate::connection::Connection;
use crate::failure::Failure;
use crate::interrupts::Interrupts;
use crate::json;
use crate::output::Output;
use crate::stream::{News, Stream};

/// How often the line of progress is drawn: it tells seconds.
const DRAW_INTERVAL: Duration = Duration::from_secs(1);
/// How often the queue is looked at. It costs the server a look at the agent's executions.
const QUEUE_INTERVAL: Duration = Duration::from_secs(3);

/// What of an execution is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Show {
    /// Its output, for people and for pipes.
    Text,
    /// The execution once it is over, as JSON.
    End,
    /// Every update, as a line of JSON.
    Updates,
}

/// What an interrupt means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnInterrupt {
    /// Nobody waits any more; the execution goes on.
    Leave,
    /// The execution is cancelled. A second one leaves.
    Cancel,
}

/// Waits for the end of an execution, and gives its result.
pub(crate) async fn wait(
    name: ExecutionName,
    show: Show,
    on_interrupt: OnInterrupt,
    server: (String, Connection),
    interrupts: &mut Interrupts,
    output: Output,
) -> Result<(), Failure> {
    let (address, connection) = server;
    let open = async |server: &Connection| open(server, &name).await;
    let mut stream = Stream::open(address, &connection, open).await?;
    let mut waiter = Waiter::new(name.clone(), show, on_interrupt, connection, output);
    let mut ticks = interval(DRAW_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let learned = loop {
        let step = tokio::select! {
            news = stream.next(open) => news.and_then(|news| waiter.learn(news)),
            () = interrupts.next() => waiter.interrupted(),
            Some(done) = waiter.asides.join_next() => { waiter.told(done.ok()); Ok(()) }
            _ = ticks.tick(), if waiter.screen.is_watched() => { waiter.tick(); Ok(()) }
        };
        if let Err(failure) = step {
            break Err(failure);
        }
        if let Some(result) = waiter.result() {
            break Ok(result);
        }
    };
    waiter.end(learned)
}

async fn open(server: &Connection, name: &ExecutionName) -> Result<Streaming<v1::WatchExecutionResponse>, Failure> {
    let request = v1::WatchExecutionRequest { name: name.resource() };
    Ok(server.executions().watch_execution(request).await?.into_inner())
}

/// Whether what was last told is still true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Up,
    Lost,
}

/// One that waits.
struct Waiter {
    name: ExecutionName,
    show: Show,
    on_interrupt: OnInterrupt,
    server: Connection,
    output: Output,
    screen: Screen,
    transcript: Transcript,
    remarks: Remarks,
    /// As it was last told.
    execution: Option<v1::Execution>,
    ahead: Option<Ahead>,
    link: Link,
    /// When the queue was last looked at, if ever.
    looked: Option<Instant>,
    /// What is asked of the server meanwhile; ended with the wait.
    asides: JoinSet<Aside>,
}

/// What came of a question to the server.
enum Aside {
    Ahead(Option<Ahead>),
    Cancelled(Result<(), Failure>),
}

impl Waiter {
    fn new(name: ExecutionName, show: Show, on_interrupt: OnInterrupt, server: Connection, output: Output) -> Self {
        Self {
            name,
            show,
            on_interrupt,
            server,
            output,
            screen: Screen::standard(),
            transcript: Transcript::default(),
            remarks: Remarks::default(),
            execution: None,
            ahead: None,
            link: Link::Up,
            looked: None,
            asides: JoinSet::new(),
        }
    }

    fn learn(&mut self, news: News<v1::WatchExecutionResponse>) -> Result<(), Failure> {
        match news {
            News::Message(message) => self.take(message),
            News::Lost(reason) => self.lost(&reason),
            News::Back => {
                self.link = Link::Up;
                self.screen.note("connected again");
                Ok(())
            }
        }
    }

    fn take(&mut self, message: v1::WatchExecutionResponse) -> Result<(), Failure> {
        match message.update {
            // What only a later version tells.
            None => Ok(()),
            Some(Update::Output(chunk)) => match chunk.kind() {
                v1::OutputKind::Unspecified | v1::OutputKind::Stdout => self.show_output(&chunk),
                v1::OutputKind::Progress => self.show_remarks(&chunk),
            },
            Some(Update::Execution(execution)) => {
                if self.show == Show::Updates {
                    let shown = json::of("Execution", execution.as_ref());
                    self.output.json_line(&json!({ "execution": shown }))?;
                }
                self.execution = Some(*execution);
                self.draw();
                Ok(())
            }
        }
    }

    /// What came of the execution; `None` while it goes on.
    fn result(&self) -> Option<Result<(), Failure>> {
        outcome::result(self.execution.as_ref()?, &self.name)
    }

    fn show_output(&mut self, chunk: &v1::OutputChunk) -> Result<(), Failure> {
        for piece in self.transcript.read(chunk) {
            match (self.show, piece) {
                (Show::End, Piece::Attempt(_) | Piece::Gap(_) | Piece::Text { .. })
                | (Show::Updates, Piece::Attempt(_) | Piece::Gap(_)) => {}
                (Show::Updates, Piece::Text { offset, text }) => {
                    let output = json!({ "attempt": chunk.attempt, "offset": offset, "data": text });
                    self.output.json_line(&json!({ "output": output }))?;
                }
                (Show::Text, Piece::Text { text, .. }) => self.screen.output(&text),
                (Show::Text, Piece::Attempt(attempt)) => self.attempt(attempt),
                (Show::Text, Piece::Gap(bytes)) => self.screen.note(&format!(
                    "{bytes} bytes of output are missing here; `rekindle executions output {}` has what is kept, once it is over",
                    self.name
                )),
            }
        }
        Ok(())
    }

    fn show_remarks(&mut self, chunk: &v1::OutputChunk) -> Result<(), Failure> {
        for text in self.remarks.read(chunk) {
            match self.show {
                Show::End => {}
                Show::Updates => {
                    let progress = json!({ "attempt": chunk.attempt, "text": text });
                    self.output.json_line(&json!({ "progress": progress }))?;
                }
                Show::Text => self.screen.note(&text),
            }
        }
        self.draw();
        Ok(())
    }

    fn attempt(&mut self, attempt: u32) {
        self.screen
            .note(&format!("{}: what follows is of attempt {attempt}", self.name));
    }

    /// Ends the wait: with the result of the execution, of which it tells what is still to tell, or with the reason why that
    /// is not known.
    fn end(mut self, learned: Result<Result<(), Failure>, Failure>) -> Result<(), Failure> {
        let execution = self.execution.take().unwrap_or_default();
        let shown = match (self.show, &learned) {
            (Show::Text, Ok(_)) => {
                self.show_rest(&execution);
                Ok(())
            }
            (Show::End, Ok(_)) => self.output.json(&json::of("Execution", &execution)),
            (Show::Updates, Ok(_)) | (Show::Text | Show::End | Show::Updates, Err(_)) => Ok(()),
        };
        let written = self.screen.end();
        // What came of it outweighs whether anybody reads it.
        learned.flatten().and(written).and(shown)
    }

    fn show_rest(&mut self, execution: &v1::Execution) {
        match self.transcript.rest(execution) {
            Rest::Text(text) => self.screen.output(text),
            Rest::AfterGap(text) => {
                self.screen
                    .note("output is missing here: only the last part of it is kept");
                self.screen.output(text);
            }
            Rest::OtherAttempt(text) => {
                self.attempt(execution.attempt);
                self.screen.output(text);
            }
            Rest::Differs => self.screen.note(&format!(
                "the output that is kept differs from what was shown; `rekindle executions output {}` prints it",
                self.name
            )),
        }
    }

    fn lost(&mut self, reason: &str) -> Result<(), Failure> {
        let unknown = |execution: &v1::Execution| execution.state() == ExecutionState::Unspecified;
        if self.execution.as_ref().is_some_and(unknown) {
            return Err(Failure::Answer("ends in a state that this program does not know"));
        }
        self.link = Link::Lost;
        self.screen.note(&format!("{reason}; trying again"));
        Ok(())
    }

    fn interrupted(&mut self) -> Result<(), Failure> {
        let name = &self.name;
        if std::mem::replace(&mut self.on_interrupt, OnInterrupt::Leave) == OnInterrupt::Cancel {
            self.screen.note(&format!(
                "cancelling {name}; interrupt again to leave that to the server"
            ));
            let (server, name) = (self.server.clone(), self.name.clone());
            self.asides
                .spawn(async move { Aside::Cancelled(operate::ask_for_end(name, server).await) });
            return Ok(());
        }
        Err(Failure::Unfinished {
            message: format!("nobody waits any more for {name}, which goes on at the server"),
            hint: format!(
                "`rekindle executions watch {name}` waits for it, and `rekindle executions cancel {name}` ends it."
            ),
        })
    }

    fn told(&mut self, aside: Option<Aside>) {
        match aside {
            Some(Aside::Ahead(ahead)) => {
                self.ahead = ahead;
                self.draw();
            }
            // The stream tells the end.
            Some(Aside::Cancelled(Ok(()))) => {}
            Some(Aside::Cancelled(Err(failure))) => {
                for line in failure.lines() {
                    self.screen.note(&line);
                }
            }
            // It panicked, and said so.
            None => {}
        }
    }

    fn tick(&mut self) {
        self.draw();
        let queued = |execution: &&v1::Execution| execution.state() == ExecutionState::Queued;
        let Some(execution) = self.execution.as_ref().filter(queued) else {
            self.ahead = None;
            return;
        };
        let due = self.looked.is_none_or(|looked| looked.elapsed() >= QUEUE_INTERVAL);
        if self.asides.is_empty() && due {
            self.looked = Some(Instant::now());
            let (server, name, place) = (self.server.clone(), self.name.clone(), Place::of(execution));
            self.asides
                .spawn(async move { Aside::Ahead(queue::ahead(server, name, place).await) });
        }
    }

    fn draw(&mut self) {
        let line = match (self.link, &self.execution) {
            (Link::Lost, _) => "no connection to the server".to_owned(),
            (Link::Up, None) => String::new(),
            (Link::Up, Some(execution)) => progress::line(execution, self.ahead, SystemTime::now()),
        };
        let named = if line.is_empty() {
            line
        } else {
            format!("{}: {line}", self.name)
        };
        self.screen.draw(&named);
    }
}
