//! The agent's state files: each of its processes is told of one by `REKINDLE_STATE_FILE`. What is handed over stands there
//! when the process begins, and what it writes there is saved.
//!
//! Called by the driver, which hands what is read here to the supervisor as it does with what comes by the socket, and says
//! how that was answered. Nothing is decided here but whether a file's content is news.
//!
//! # Invariants
//!
//! - What stood there when the last process of a tree was dead is handed in, if it was not before: the file is looked at
//!   once more then ([`StateFiles::end`]). What the shim has died over is found by the next one
//!   ([`StateFiles::found`]): beside each file is a note of what of it is no news.
//! - What the shim puts there itself is no save, not even where somebody else has had it open to write it and wrote nothing;
//!   and that it reads there is no reading.
//! - What the disk has no room for is tried again while its tree lives, and stays for the next shim where it does not.
//! - One save of a file is under way at a time; what is written meanwhile is read after the answer. At the end of its tree
//!   none is waited for.

mod dir;
mod entry;
mod eyes;
mod owner;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rekindle::id::Incarnation;
use rekindle::state_file::{StateFile, StateFileError};
use rekindle_shim_core::{RequestNumber, TreeId};
use rustix::process::Uid;
use tokio::time::{Instant, sleep_until};

use dir::{Digest, Dir, Unreadable};
use entry::{Content, Entry, Tree, WasRead, Written};
use eyes::{Eyes, Reads, Rest, Seen};
pub(crate) use owner::Owner;

/// Time until what the disk had no room for is saved anew: whoever makes room waits no longer, and a disk that is full is not
/// written to the more for it.
const AGAIN: Duration = Duration::from_secs(5);

/// All of them, of one agent.
#[derive(Debug)]
pub(crate) struct StateFiles {
    dir: Dir,
    eyes: Eyes,
    /// Whether there is more to be seen than was looked at.
    rest: Rest,
    files: Vec<Entry>,
    news: VecDeque<News>,
    /// The file of a dead tree that the disk had no room for. The newest is enough.
    unsaved: Option<String>,
}

/// Something that has happened to a state file.
#[derive(Debug)]
pub(crate) enum News {
    /// What was handed over in it was read.
    Read(Owner),
    /// It was written.
    Written(Box<Save>),
}

/// What was written into a state file.
#[derive(Debug)]
pub(crate) struct Save {
    owner: Owner,
    state: StateFile,
    digest: Digest,
}

/// Why a save is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused<'a> {
    /// It cannot be saved, ever.
    AsItIs(&'a str),
    /// It could not be saved at this moment.
    ThisTime(&'a str),
}

/// Why what was written is not taken.
#[derive(Debug, thiserror::Error)]
enum NotTaken {
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    #[error(transparent)]
    Parse(#[from] StateFileError),
}

impl StateFiles {
    /// Those beside the socket of an agent whose children run as `other`, where that is not the shim's own user. To be
    /// called in the runtime that waits.
    pub(crate) fn open(socket: &Path, other: Option<Uid>) -> Self {
        let home = socket.parent().unwrap_or(Path::new("/"));
        Self {
            dir: Dir::new(home, other),
            eyes: Eyes::open(),
            rest: Rest::None,
            files: Vec::new(),
            news: VecDeque::new(),
            unsaved: None,
        }
    }

    /// Gets the file of a process ready that is about to be run, with what is handed over to it; its path, which is the
    /// process's `REKINDLE_STATE_FILE`.
    ///
    /// # Errors
    /// There is no place for it: the path is right all the same, and nothing stands there.
    pub(crate) fn begin(&mut self, owner: Owner, handed: Option<&StateFile>) -> (PathBuf, io::Result<()>) {
        self.forget_before(owner.incarnation);
        let name = owner.name();
        let path = self.dir.path().join(&name);
        self.files.retain(|entry| entry.name != name);
        // What has happened under this name is none of this one's.
        self.look();
        let (digest, ready) = match self.prepare(&name, handed) {
            Ok(digest) => (digest, Ok(())),
            Err(error) => (None, Err(error)),
        };
        self.files.push(Entry {
            stamp: self.dir.stamp(&name),
            content: digest.map_or(Content::Other, |_| Content::Handed),
            handed: digest,
            variables: handed.map(StateFile::variables).unwrap_or_default(),
            ..Entry::new(owner, name, Tree::Lives)
        });
        let ready = ready.and_then(|()| self.watch());
        (path, ready)
    }

    fn prepare(&self, name: &str, handed: Option<&StateFile>) -> io::Result<Option<Digest>> {
        self.dir.make()?;
        self.dir.forget(name);
        let Some(handed) = handed else { return Ok(None) };
        let content = handed.print();
        let digest = Digest::of(content.as_bytes());
        // First: what is there without a note counts as the agent's.
        self.dir.know(name, digest);
        self.dir.hand(name, content.as_bytes())?;
        Ok(Some(digest))
    }

    /// Takes up the files of a life of an earlier shim, whose child may live; gives what of them is news.
    pub(crate) fn found(&mut self, last: Incarnation) -> Vec<Save> {
        let owners = self.dir.names().into_iter().filter_map(|name| Owner::of(&name));
        let mut owners: Vec<Owner> = owners.filter(|owner| owner.incarnation == last).collect();
        let of_life = Owner::of_tree(&TreeId::Life(last), last);
        // However much is there.
        if !owners.contains(&of_life) && self.dir.stamp(&of_life.name()).is_some() {
            owners.push(of_life);
        }
        owners.sort_by_key(Owner::name);
        let first = self.files.len();
        for owner in owners {
            let name = owner.name();
            self.files.push(Entry {
                stamp: self.dir.stamp(&name),
                ..Entry::new(owner, name, Tree::Unknown)
            });
        }
        if self.files.len() == first {
            return Vec::new();
        }
        // Before they are read: what is written from here on is seen.
        if let Err(error) = self.watch() {
            tracing::error!(%error, "cannot watch the agent's state file");
        }
        let mut saves = Vec::new();
        for place in first..self.files.len() {
            let known = self.dir.known(&self.files[place].name);
            match self.take(place) {
                Some(save) if known == Some(save.digest) => {
                    let entry = &mut self.files[place];
                    (entry.content, entry.handed) = (Content::Handed, known);
                }
                save => saves.extend(save),
            }
        }
        // Who reads what this shim has only looked at is seen from here on.
        let _ = self.watch();
        saves
    }

    /// The child of an earlier shim lives on, under this one.
    ///
    /// # Errors
    /// What it writes is seen at its end alone.
    pub(crate) fn adopt(&mut self, incarnation: Incarnation) -> io::Result<()> {
        let owner = Owner::of_tree(&TreeId::Life(incarnation), incarnation);
        match self.files.iter_mut().find(|entry| entry.owner == owner) {
            Some(entry) => entry.tree = Tree::Lives,
            None => {
                let name = owner.name();
                self.files.push(Entry::new(owner, name, Tree::Lives));
            }
        }
        self.dir.make()?;
        self.watch()
    }

    /// Where the file of a life is, and the variables that tell what was handed over to it; none of an earlier shim's.
    pub(crate) fn of_life(&self, incarnation: Incarnation) -> (PathBuf, Vec<(String, String)>) {
        let owner = Owner::of_tree(&TreeId::Life(incarnation), incarnation);
        let entry = self.files.iter().find(|entry| entry.owner == owner);
        let variables = entry.map(|entry| entry.variables.clone());
        (self.dir.path().join(owner.name()), variables.unwrap_or_default())
    }

    /// Waits until something happens to a file. Can be dropped at any point, and called again.
    pub(crate) async fn news(&mut self) -> News {
        loop {
            if let Some(news) = self.news.pop_front() {
                return news;
            }
            if self.files.is_empty() {
                std::future::pending().await
            }
            let again = self.files.iter().filter(|entry| entry.saving.is_none());
            let again = again.filter_map(|entry| entry.again).min();
            let again = async {
                match again {
                    Some(again) => sleep_until(again).await,
                    None => std::future::pending().await,
                }
            };
            match self.rest {
                Rest::Some => tokio::task::yield_now().await,
                Rest::None => tokio::select! {
                    () = self.eyes.wait() => {}
                    () = again => {}
                },
            }
            self.look();
            let now = Instant::now();
            for place in 0..self.files.len() {
                let entry = &self.files[place];
                if entry.is_due(now) && entry.tree != Tree::Dead {
                    let save = self.take(place);
                    self.news.extend(save.map(|save| News::Written(Box::new(save))));
                }
            }
        }
    }

    /// A save of a file is under way from here on, by this request.
    pub(crate) fn saving(&mut self, save: Save, request: RequestNumber) -> (Owner, StateFile) {
        let Save { owner, state, digest } = save;
        if let Some(entry) = self.files.iter_mut().find(|entry| entry.owner == owner) {
            entry.saving = Some((request, digest));
        }
        (owner, state)
    }

    /// The save that this request was is answered, and what was written meanwhile is news; `None` where it was none.
    pub(crate) fn answered(&mut self, request: RequestNumber, saved: Result<(), Refused<'_>>) -> Option<()> {
        let is_its = |entry: &Entry| entry.saving.is_some_and(|(saving, _)| saving == request);
        let place = self.files.iter().position(is_its)?;
        let entry = &mut self.files[place];
        let digest = entry.saving.take().map(|(_, digest)| digest);
        match saved {
            Ok(()) => {
                if let Some(digest) = digest {
                    self.dir.know(&entry.name, digest);
                }
                // There is a newer one.
                if let Some(older) = self.unsaved.take() {
                    self.dir.forget(&older);
                }
            }
            Err(Refused::AsItIs(why)) => entry.refuse(self.dir.path(), &why),
            Err(Refused::ThisTime(why)) => {
                entry.refuse(self.dir.path(), &why);
                entry.again = Some(Instant::now() + AGAIN);
            }
        }
        match (entry.tree, entry.written) {
            (Tree::Dead, _) => self.drop_dead(place),
            (Tree::Lives | Tree::Unknown, Written::Yes) => {
                let save = self.take(place);
                self.news.extend(save.map(|save| News::Written(Box::new(save))));
            }
            (Tree::Lives | Tree::Unknown, Written::No) => {}
        }
        Some(())
    }

    /// Nobody writes there any more. What the disk had no room for stays, for the next shim.
    fn drop_dead(&mut self, place: usize) {
        let entry = self.files.remove(place);
        match entry.again {
            None => self.dir.forget(&entry.name),
            Some(_) => {
                if let Some(older) = self.unsaved.replace(entry.name) {
                    self.dir.forget(&older);
                }
            }
        }
    }

    /// The last process of a tree is dead: gives what was read there and was not told, and what was written.
    pub(crate) fn end(&mut self, tree: &TreeId) -> Vec<News> {
        let owner = self
            .files
            .iter()
            .find(|entry| entry.owner.is_of(tree))
            .map(|entry| entry.owner.clone());
        owner.map(|owner| self.end_of(&owner)).unwrap_or_default()
    }

    /// Nothing lives that an earlier shim has left, but for what was taken up: as [`StateFiles::end`], of all that.
    pub(crate) fn end_of_found(&mut self) -> Vec<News> {
        let found = self.files.iter().filter(|entry| entry.tree == Tree::Unknown);
        let owners: Vec<Owner> = found.map(|entry| entry.owner.clone()).collect();
        owners.iter().flat_map(|owner| self.end_of(owner)).collect()
    }

    fn end_of(&mut self, owner: &Owner) -> Vec<News> {
        loop {
            self.look();
            if self.rest == Rest::None {
                break;
            }
        }
        let place = self.files.iter().position(|entry| entry.owner == *owner);
        let save = place
            .filter(|place| self.files[*place].written == Written::Yes || self.files[*place].again.is_some())
            .and_then(|place| self.take(place));
        let is_its = |news: &News| match news {
            News::Read(of) => of == owner,
            News::Written(save) => save.owner == *owner,
        };
        let (mut told, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.news).into_iter().partition(is_its);
        self.news = rest.into();
        // The newest is enough, and there is one at most.
        told.retain(|news| matches!(news, News::Read(_)) || save.is_none());
        told.extend(save.map(|save| News::Written(Box::new(save))));
        let Some(place) = place else { return told };
        let entry = &mut self.files[place];
        entry.tree = Tree::Dead;
        let is_written = told.iter().any(|news| matches!(news, News::Written(_)));
        if !is_written && entry.saving.is_none() {
            self.drop_dead(place);
        }
        told
    }

    /// Takes the directory away, unless a file is still of use.
    pub(crate) fn close(self) {
        self.dir.remove_if_empty();
    }

    /// Looks what has happened.
    fn look(&mut self) {
        let (files, dir, news) = (&mut self.files, &self.dir, &mut self.news);
        let mut any_read = false;
        self.rest = self.eyes.look(&mut |seen| match seen {
            Seen::Written(name) => {
                if let Some(entry) = files.iter_mut().find(|entry| entry.name == name) {
                    entry.touched();
                }
            }
            Seen::Read(name) => {
                let Some(entry) = files.iter_mut().find(|entry| entry.name == name) else {
                    return;
                };
                match entry.content {
                    Content::Handed => {
                        entry.content = Content::Other;
                        any_read = true;
                        news.push_back(News::Read(entry.owner.clone()));
                    }
                    Content::Doubtful(_) => entry.content = Content::Doubtful(WasRead::Yes),
                    Content::Other => {}
                }
            }
            Seen::Anything => {
                for entry in &mut *files {
                    let stamp = dir.stamp(&entry.name);
                    if stamp.is_some() && stamp != entry.stamp {
                        entry.touched();
                    }
                }
            }
        });
        if any_read {
            // Nobody wants to hear of it again. What cannot be set is only heard.
            let _ = self.watch();
        }
    }

    /// Reads what was written into a file.
    fn take(&mut self, place: usize) -> Option<Save> {
        let entry = &mut self.files[place];
        (entry.written, entry.again) = (Written::No, None);
        entry.stamp = self.dir.stamp(&entry.name);
        let read = self.dir.read(&entry.name).map_err(NotTaken::from);
        let parsed = read.and_then(|bytes| {
            let Some(bytes) = bytes else { return Ok(None) };
            Ok(Some((StateFile::parse(&bytes)?, Digest::of(&bytes))))
        });
        let content = std::mem::replace(&mut entry.content, Content::Other);
        match parsed {
            Ok(Some((_, digest))) if entry.handed == Some(digest) => {
                self.still_handed(place, content);
                None
            }
            Ok(taken) => {
                entry.handed = None;
                taken.map(|(state, digest)| Save {
                    owner: entry.owner.clone(),
                    state,
                    digest,
                })
            }
            Err(why) => {
                entry.handed = None;
                entry.refuse(self.dir.path(), &why);
                None
            }
        }
    }

    /// Nothing was written: what was handed over stands there as before, whoever had it open.
    fn still_handed(&mut self, place: usize, content: Content) {
        match content {
            Content::Handed | Content::Doubtful(WasRead::No) => {
                // That the shim has looked is no reading.
                self.look();
                self.files[place].content = Content::Handed;
            }
            Content::Doubtful(WasRead::Yes) => {
                let owner = self.files[place].owner.clone();
                self.news.push_back(News::Read(owner));
            }
            Content::Other => {}
        }
    }

    fn watch(&self) -> io::Result<()> {
        let unread = self.files.iter().any(|entry| entry.content != Content::Other);
        let reads = if unread { Reads::Seen } else { Reads::Unseen };
        self.eyes.watch(self.dir.path(), reads)
    }

    /// Lives before this one are over, and so is what they had.
    fn forget_before(&mut self, incarnation: Incarnation) {
        self.files.retain(|entry| entry.owner.incarnation >= incarnation);
        for name in self.dir.names() {
            if Owner::life_of(&name).is_some_and(|life| life < incarnation) {
                self.dir.forget(&name);
            }
        }
    }
}
