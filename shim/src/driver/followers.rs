//! Tells the server what the processes of messages write, where somebody watches.
//!
//! ```text
//! Follow ──> Wish: from where, how much, on which stream
//!              │
//! pump's ring ─┴─> Reader ──> Teller, a task for each ──pieces──> the stream's queue, where little waits there
//! ```
//!
//! Nobody waits for a teller, but the report of the end of its process, for a moment: what it told comes before. When there
//! is no credit, no stream, or no room in its queue, it waits, and what the ring loses meanwhile is a gap. For one attempt
//! it takes 640 KiB of memory at most, for as long as the attempt goes on or until nobody watches; on the way to the
//! server, all of them together, 64 KiB.
//!
//! An agent that takes messages by its socket or its stdin has no output for one of them before it is done: what it says
//! of how far it is, is told by `remarks.rs`.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rekindle::execution::{AttemptId, Follow, OUTPUT_PART_MAX_BYTES, OutputKind, OutputPart};
use rekindle_shim_core::TreeId;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use crate::link::{Aside, NotSaid};
use crate::process::{Progress, Reader, UnderWay};

/// Time in which what is written is gathered before it is told, unless it fills a piece: people see no delay in it, and ten
/// messages a second cost the connection nothing.
const GATHER: Duration = Duration::from_millis(100);

/// Wait before the next look at a queue that has no room: in it, a link of 10 MB/s takes what waits there.
const ROOM_AGAIN: Duration = Duration::from_millis(5);

/// Longest time that the report of an end waits for what is told before. What does not get out in it comes with the report.
const END_MAX: Duration = Duration::from_millis(250);

/// Those who tell, by what they tell of.
#[derive(Debug, Default)]
pub(super) struct Followers(BTreeMap<AttemptId, Follower>);

/// One who tells, until this is dropped.
#[derive(Debug)]
pub(super) struct Follower {
    wish: Arc<Wish>,
    /// Nothing comes by it but its end.
    goes_on: oneshot::Sender<Infallible>,
    teller: JoinHandle<Teller>,
}

/// What a teller is to tell.
#[derive(Debug)]
struct Wish {
    terms: Mutex<Terms>,
    changed: Notify,
}

#[derive(Debug)]
struct Terms {
    next: Next,
    /// In bytes.
    credit: u32,
    aside: Aside,
}

/// Where a teller goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Where it was.
    Further,
    At(u64),
    /// With what comes.
    Newest,
}

impl Followers {
    /// Goes by what the server wants. `read` gives one who reads along, where there is something to be read.
    pub(super) fn follow(&mut self, follow: Follow, aside: Aside, read: impl FnOnce() -> Option<Reader>) {
        let Follow { attempt, from, credit } = follow;
        if credit == 0 {
            self.0.remove(&attempt);
            return;
        }
        if let Some(follower) = self.0.get(&attempt) {
            follower.wish.change(from, credit, aside);
        } else if let Some(reader) = read() {
            let next = from.map_or(Next::Newest, Next::At);
            let terms = Terms { next, credit, aside };
            let follower = Follower::start(attempt.clone(), terms, reader);
            self.0.insert(attempt, follower);
        }
    }

    /// Who tells of what a tree's process writes.
    pub(super) fn remove(&mut self, tree: &TreeId) -> Option<Follower> {
        match tree {
            TreeId::Attempt(attempt) => self.0.remove(attempt),
            TreeId::Life(_) => None,
        }
    }

    /// Nothing more is told of anybody.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

impl Follower {
    fn start(attempt: AttemptId, terms: Terms, reader: Reader) -> Self {
        let wish = Arc::new(Wish {
            terms: Mutex::new(terms),
            changed: Notify::new(),
        });
        let teller = Teller {
            attempt,
            wish: Arc::clone(&wish),
            reader,
            told: 0,
        };
        // The place is found before anything else is written, where that can be.
        wish.changed.notify_one();
        let (goes_on, over) = oneshot::channel();
        Self {
            wish,
            goes_on,
            teller: tokio::spawn(teller.run(over)),
        }
    }

    /// The process is dead, and this is what is left: tells the rest, as far as the credit goes, and the time.
    pub(super) async fn end(self, rest: &UnderWay) {
        drop(self.goes_on);
        let told = async {
            if let Ok(teller) = self.teller.await {
                teller.tell_rest(rest).await;
            }
        };
        // The report has all that counts.
        let _ = tokio::time::timeout(END_MAX, told).await;
    }
}

impl Wish {
    fn terms(&self) -> MutexGuard<'_, Terms> {
        // Terms are changed in one go.
        self.terms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, from: Option<u64>, credit: u32, aside: Aside) {
        let mut terms = self.terms();
        let next = match from {
            Some(from) => Next::At(from),
            None if terms.aside.is_open() => terms.next,
            None => Next::Newest,
        };
        *terms = Terms { next, credit, aside };
        drop(terms);
        self.changed.notify_one();
    }
}

/// The task.
#[derive(Debug)]
struct Teller {
    attempt: AttemptId,
    wish: Arc<Wish>,
    reader: Reader,
    /// Where the last piece ended.
    told: u64,
}

/// What came of the try to tell the next piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Piece,
    /// There is none.
    Nothing,
    /// Something else must go out before.
    NoRoom,
    /// Not before there is another wish.
    NotWanted,
}

impl Teller {
    async fn run(mut self, mut over: oneshot::Receiver<Infallible>) -> Self {
        loop {
            tokio::select! {
                biased;
                _ = &mut over => return self,
                () = self.has_something() => {}
            }
            self.find_place().await;
            if self.untold_bytes() < OUTPUT_PART_MAX_BYTES as u64 {
                self.reader.read().await;
            }
            match self.tell() {
                Told::Piece | Told::Nothing | Told::NotWanted => {}
                Told::NoRoom => tokio::time::sleep(ROOM_AGAIN).await,
            }
        }
    }

    async fn tell_rest(mut self, rest: &UnderWay) {
        self.find_place().await;
        let mut progress = Progress::More;
        loop {
            let told = self.tell();
            match (told, progress) {
                (Told::Piece, _) => {}
                (Told::NotWanted, _) | (Told::Nothing, Progress::End) => return,
                (Told::Nothing, Progress::More) => progress = rest.read_by(&mut self.reader).await,
                (Told::NoRoom, _) => tokio::time::sleep(ROOM_AGAIN).await,
            }
        }
    }

    /// Waits until there is something to do. Can be dropped at any point, and called again.
    async fn has_something(&self) {
        let is_wanted = {
            let terms = self.wish.terms();
            terms.credit > 0 && terms.aside.is_open()
        };
        let gathered = async {
            if !is_wanted {
                return std::future::pending().await;
            }
            while self.waiting_bytes() == 0 {
                self.reader.written().await;
            }
            let full = async {
                while self.waiting_bytes() < OUTPUT_PART_MAX_BYTES as u64 {
                    self.reader.written().await;
                }
            };
            // When the time is over, what there is goes out.
            let _ = tokio::time::timeout(GATHER, full).await;
        };
        tokio::select! {
            () = self.wish.changed.notified() => {}
            () = gathered => {}
        }
    }

    fn untold_bytes(&self) -> u64 {
        self.reader.end().saturating_sub(self.told)
    }

    fn waiting_bytes(&self) -> u64 {
        self.reader.unread_bytes() + self.untold_bytes()
    }

    /// Goes to where the server wants to go on.
    async fn find_place(&mut self) {
        let next = std::mem::replace(&mut self.wish.terms().next, Next::Further);
        match next {
            Next::Further => {}
            Next::At(place) => self.told = place,
            Next::Newest => {
                // Where that is in the text is only known to who has read it.
                self.reader.catch_up().await;
                self.told = self.reader.end();
            }
        }
    }

    fn tell(&mut self) -> Told {
        let mut terms = self.wish.terms();
        let credit = usize::try_from(terms.credit).unwrap_or(usize::MAX);
        if credit == 0 {
            return Told::NotWanted;
        }
        let Some(piece) = self.reader.piece(self.told, credit.min(OUTPUT_PART_MAX_BYTES)) else {
            return Told::Nothing;
        };
        let bytes = u32::try_from(piece.data.len()).expect("it is no longer than the credit");
        let part = OutputPart {
            attempt: self.attempt.clone(),
            kind: OutputKind::Output,
            offset: piece.offset,
            data: piece.data,
        };
        let end = part.end();
        match terms.aside.say(part) {
            Ok(()) => {
                terms.credit -= bytes;
                self.told = end;
                Told::Piece
            }
            Err(NotSaid::Full) => Told::NoRoom,
            Err(NotSaid::Gone) => {
                terms.credit = 0;
                Told::NotWanted
            }
        }
    }
}
