//! One stream of a child that writes into a pipe: read at once, kept in a ring, and passed on.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::net::unix::pipe;
use tokio::sync::{Mutex as Turns, Notify, OwnedMutexGuard, watch};
use tokio::task::JoinSet;

use super::DRAIN_LIMIT;
use super::answers::{Answer, Answers, Room};
use super::ring::{Record, Ring};
use super::transcript::Passage;
use super::way::{Patience, Unread, Way};
use crate::redaction::Redaction;

/// Most bytes that are taken out of a dead child's pipe at once: the largest pipe that an ordinary user can have
/// (pipe(7), /proc/sys/fs/pipe-max-size).
const DRAIN_MAX_BYTES: usize = 1 << 20;

/// Bytes per read: one page over the size of most bursts would only cost memory.
const CHUNK_BYTES: usize = 8 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Lives,
    Ended,
}

/// One stream.
#[derive(Debug)]
pub(super) struct Stream {
    pipe: Arc<pipe::Receiver>,
    kept: Arc<Mutex<Kept>>,
    news: Arc<News>,
    ended: watch::Sender<Life>,
    /// Had by who reads and passes on.
    turns: Arc<Turns<()>>,
}

/// As long as this is held, nothing is read of a stream.
pub(in crate::process) type Pause = OwnedMutexGuard<()>;

/// What was read of a stream so far.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in crate::process) struct Read {
    ring: Ring,
    /// All bytes so far.
    written: u64,
    #[serde(default)]
    meaning: Meaning,
}

/// What a stream is besides lines for people.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) enum Meaning {
    #[default]
    None,
    /// The output for a message.
    Output(Record),
    /// Lines that may be answers.
    Answers(Answers),
}

/// Who waits for whom.
#[derive(Debug, Default)]
struct News {
    /// Of a stream with answers.
    answered: Notify,
    taken: Notify,
    /// Of one that is read along.
    written: Notify,
}

/// Reads along what is written for a message. It holds nobody up.
#[derive(Debug)]
pub(super) struct Tap {
    kept: Arc<Mutex<Kept>>,
    news: Arc<News>,
}

/// What is left of a stream when its child is dead.
#[derive(Debug, Default)]
pub(super) struct Rest {
    pub(super) ring: Ring,
    pub(super) written: u64,
    pub(super) record: Option<Record>,
    /// Those that nobody has heard, as they were written.
    pub(super) answers: Vec<Answer>,
}

impl Read {
    /// Of a stream that begins.
    pub(super) fn of(meaning: Meaning) -> Self {
        Self {
            meaning,
            ..Self::default()
        }
    }

    /// What becomes of a child's streams that nobody reads, where this is its stdout.
    pub(super) const fn unread(&self) -> Unread {
        match self.meaning {
            Meaning::None => Unread::Waits,
            Meaning::Output(_) | Meaning::Answers(_) => Unread::GoesOn(Patience::FULL),
        }
    }
}

impl Stream {
    /// Starts a task that reads the pipe, and passes what it reads on `to` there. Answers are redacted.
    pub(super) fn start(
        pipe: OwnedFd,
        read: Read,
        to: Option<Way>,
        redaction: &Arc<Redaction>,
        pumps: &mut JoinSet<()>,
    ) -> io::Result<Self> {
        let pipe = Arc::new(pipe::Receiver::from_owned_fd(pipe)?);
        let kept = Arc::new(Mutex::new(Kept { read, late: Vec::new() }));
        let (ended, end) = watch::channel(Life::Lives);
        let turns = Arc::new(Turns::new(()));
        let news = Arc::new(News::default());
        let source = Source {
            pipe: Arc::clone(&pipe),
            kept: Arc::clone(&kept),
            news: Arc::clone(&news),
            redaction: Arc::clone(redaction),
        };
        pumps.spawn(pump(source, Arc::clone(&turns), to, end));
        Ok(Self {
            pipe,
            kept,
            news,
            ended,
            turns,
        })
    }

    /// Waits until an answer was read, and gives it. Can be dropped at any point, and called again: nothing is lost.
    pub(super) async fn answer(&self) -> Answer {
        loop {
            let answered = self.news.answered.notified();
            if let Some(answer) = self.next_answer() {
                return answer;
            }
            answered.await;
        }
    }

    fn next_answer(&self) -> Option<Answer> {
        let answer = match &mut lock(&self.kept).read.meaning {
            Meaning::Answers(answers) => answers.next(),
            Meaning::None | Meaning::Output(_) => None,
        };
        self.news.taken.notify_one();
        answer
    }

    /// How many bytes were read so far.
    pub(super) fn written_bytes(&self) -> u64 {
        lock(&self.kept).read.written
    }

    /// The way to read along, where it is written for a message. Only one at a time hears of what is written.
    pub(super) fn tap(&self) -> Option<Tap> {
        match lock(&self.kept).read.meaning {
            Meaning::Output(_) => Some(Tap {
                kept: Arc::clone(&self.kept),
                news: Arc::clone(&self.news),
            }),
            Meaning::None | Meaning::Answers(_) => None,
        }
    }

    /// Waits until all that was read is passed on. Nothing more is read as long as the pause is held.
    pub(super) async fn pause(&self) -> Pause {
        Arc::clone(&self.turns).lock_owned().await
    }

    /// The pipe, and what was read of it.
    pub(super) fn so_far(&self) -> (BorrowedFd<'_>, Read) {
        (self.pipe.as_fd(), lock(&self.kept).read.clone())
    }

    /// Takes what the dead child left in its pipe, without waiting for anybody, and gives what is kept. What was not
    /// passed on yet is, for as long as the drain limit.
    pub(super) fn finish(self) -> Rest {
        let mut kept = lock(&self.kept);
        self.drain(&mut kept);
        self.ended.send_replace(Life::Ended);
        self.news.taken.notify_one();
        let read = &mut kept.read;
        let (record, answers) = match std::mem::take(&mut read.meaning) {
            Meaning::Output(record) => (Some(record), Vec::new()),
            Meaning::Answers(answers) => (None, answers.rest()),
            Meaning::None => (None, Vec::new()),
        };
        Rest {
            ring: std::mem::take(&mut read.ring),
            written: read.written,
            record,
            answers,
        }
    }

    fn drain(&self, kept: &mut Kept) {
        let mut chunk = vec![0; CHUNK_BYTES];
        while kept.late.len() < DRAIN_MAX_BYTES {
            match rustix::io::read(self.pipe.as_fd(), &mut chunk) {
                Ok(read @ 1..) => {
                    let bytes = chunk.get(..read).unwrap_or_default();
                    kept.keep(bytes);
                    kept.late.extend_from_slice(bytes);
                }
                // The end, nothing more for the moment, or a broken pipe: in no case is there anything to wait for.
                Ok(0) | Err(_) => break,
            }
        }
    }
}

impl Tap {
    /// Waits until something was written since this has returned before. Can be dropped at any point, and called again.
    pub(super) async fn written(&self) {
        self.news.written.notified().await;
    }

    /// How many bytes were read so far.
    pub(super) fn written_bytes(&self) -> u64 {
        lock(&self.kept).read.written
    }

    /// As [`Record::passage`]; empty once the child is dead.
    pub(super) fn passage(&self, from: u64, max_bytes: usize) -> Passage {
        let kept = lock(&self.kept);
        match &kept.read.meaning {
            Meaning::Output(record) => record.passage(kept.read.written, from, max_bytes),
            Meaning::None | Meaning::Answers(_) => Passage::default(),
        }
    }
}

/// What is held of a stream.
#[derive(Debug, Default)]
struct Kept {
    read: Read,
    /// Read after the child's death, and not passed on yet.
    late: Vec<u8>,
}

impl Kept {
    fn keep(&mut self, bytes: &[u8]) {
        self.read.written += bytes.len() as u64;
        self.read.ring.push(bytes);
        match &mut self.read.meaning {
            Meaning::None => {}
            Meaning::Output(record) => record.push(bytes),
            Meaning::Answers(answers) => answers.push(bytes),
        }
    }

    /// Whether more may be read, as answers are heard one after the other.
    fn room(&self) -> Room {
        match &self.read.meaning {
            Meaning::None | Meaning::Output(_) => Room::Some,
            Meaning::Answers(answers) => answers.room(),
        }
    }

    fn answers(&mut self) -> Option<&mut Answers> {
        match &mut self.read.meaning {
            Meaning::None | Meaning::Output(_) => None,
            Meaning::Answers(answers) => Some(answers),
        }
    }

    /// The stream has ended.
    fn end(&mut self) {
        if let Some(answers) = self.answers() {
            answers.end();
        }
    }
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    // Bytes cannot be left half-changed in a way that matters.
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a pump reads.
struct Source {
    pipe: Arc<pipe::Receiver>,
    kept: Arc<Mutex<Kept>>,
    news: Arc<News>,
    redaction: Arc<Redaction>,
}

/// Passes one stream on, to its end, or to the drain limit after its child's end.
async fn pump(source: Source, turns: Arc<Turns<()>>, mut to: Option<Way>, mut ended: watch::Receiver<Life>) {
    let mut end = ended.clone();
    let pass_on = async {
        loop {
            let turn = turns.lock().await;
            source.redact_answers().await;
            match (source.next_chunk(), &mut to) {
                (Next::Chunk(chunk), Some(to)) => {
                    if to.pass(chunk).await.is_err() {
                        return;
                    }
                }
                // Nothing else here waits in a flood, and heartbeats have their turn too.
                (Next::Chunk(_), None) => tokio::task::coop::consume_budget().await,
                (Next::Nothing, _) => {
                    drop(turn);
                    if source.wait(&mut end).await.is_err() {
                        return;
                    }
                }
                (Next::NoRoom, _) => {
                    drop(turn);
                    source.wait_for_room(&mut end).await;
                }
                (Next::End, _) => return source.redact_answers().await,
            }
        }
    };
    let limit = async {
        let _ = ended.wait_for(|life| *life == Life::Ended).await;
        tokio::time::sleep(DRAIN_LIMIT).await;
    };
    tokio::select! {
        () = pass_on => {}
        () = limit => {}
    }
}

enum Next {
    Chunk(Vec<u8>),
    /// For the moment.
    Nothing,
    /// Answers wait to be heard.
    NoRoom,
    End,
}

impl Source {
    /// Has what was answered heard, without what must not leave the host. Only who reads waits for that.
    async fn redact_answers(&self) {
        loop {
            let answer = lock(&self.kept)
                .answers()
                .and_then(|answers| answers.unredacted().cloned());
            let Some(answer) = answer else { return };
            let answer = answer.redacted(&self.redaction).await;
            if let Some(answers) = lock(&self.kept).answers() {
                answers.put_back(answer);
            }
            self.news.answered.notify_one();
        }
    }

    /// The next bytes of a stream, if there are any.
    fn next_chunk(&self) -> Next {
        let mut kept = lock(&self.kept);
        let late = std::mem::take(&mut kept.late);
        if !late.is_empty() {
            return Next::Chunk(late);
        }
        if kept.room() == Room::None {
            return Next::NoRoom;
        }
        // Read and kept with no other task in between, so that what the end of the child takes out stays in order.
        let mut chunk = vec![0; CHUNK_BYTES];
        match self.pipe.try_read(&mut chunk) {
            Ok(0) => {
                kept.end();
                Next::End
            }
            Ok(read) => {
                chunk.truncate(read);
                kept.keep(&chunk);
                self.news.written.notify_one();
                Next::Chunk(chunk)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Next::Nothing,
            Err(_broken) => {
                kept.end();
                Next::End
            }
        }
    }

    /// Waits until answers were heard.
    async fn wait_for_room(&self, end: &mut watch::Receiver<Life>) {
        tokio::select! {
            () = self.news.taken.notified() => {}
            changed = end.changed() => if changed.is_err() {
                // The child was forgotten: nobody hears it, and its stream goes on.
                lock(&self.kept).read.meaning = Meaning::None;
            },
        }
    }

    /// Waits until there may be something to read, or to pass on of what the child's end has taken out.
    async fn wait(&self, end: &mut watch::Receiver<Life>) -> io::Result<()> {
        tokio::select! {
            ready = self.pipe.readable() => ready,
            changed = end.changed() => match changed {
                Ok(()) => Ok(()),
                // The child was forgotten; its stream goes on.
                Err(_) => self.pipe.readable().await,
            },
        }
    }
}
