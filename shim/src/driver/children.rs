//! The children of a shim, of which there is one for a life, or one for each message that is worked on.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Poll;

use rekindle::execution::AttemptId;
use rekindle::id::Incarnation;
use rekindle::report::Survivor;
use rekindle_shim_core::{KILL_PROOF, Notice, TreeId};
use rustix::process::Signal;

use crate::process::{Answered, Child, Force, NotFed, Stillborn, Tree};

/// All of them, by whose tree grows from each.
#[derive(Default)]
pub(super) struct Children {
    born: BTreeMap<TreeId, Watched>,
    /// Those that are ended, as they cannot be watched; and whether their death is waited for.
    stillborn: BTreeMap<TreeId, (Stillborn, Watch)>,
}

/// A child, and what is watched of it.
struct Watched {
    child: Child,
    leader: Leader,
    tree: Watch,
    survivors: Survivors,
}

/// Who was named that outlives SIGKILL, and how often.
#[derive(Debug, Default)]
struct Survivors {
    named: Vec<Survivor>,
    times: u32,
}

/// Whether the log is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Log {
    Yes,
    No,
}

/// Whether the child's own death was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leader {
    Lives,
    Dead,
}

/// Whether somebody waits for the tree's death.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Watch {
    No,
    Yes(Force),
}

/// What a child did.
pub(super) enum News {
    /// It, or another process of its tree, has said something.
    Noticed(Incarnation, Vec<Notice>),
    /// It is dead itself.
    Exited(TreeId),
    /// Nothing of its tree lives, and somebody waits for that.
    Gone(TreeId),
    /// Whether anything of its tree lives cannot be seen.
    Unseen(TreeId, io::Error),
}

impl Children {
    pub(super) fn add(&mut self, child: Child) {
        let watched = Watched {
            leader: Leader::Lives,
            tree: Watch::No,
            survivors: Survivors::default(),
            child,
        };
        self.born.insert(watched.child.tree().clone(), watched);
    }

    /// Ends one that cannot be watched, and waits for its death.
    pub(super) fn end(&mut self, stillborn: Stillborn) {
        let tree = stillborn.tree().clone();
        self.stillborn.insert(tree, (stillborn, Watch::Yes(Force::Kill)));
    }

    /// One of which nothing lives.
    pub(super) fn remove_stillborn(&mut self, tree: &TreeId) -> Option<Stillborn> {
        self.stillborn.remove(tree).map(|(stillborn, _)| stillborn)
    }

    pub(super) fn get(&self, tree: &TreeId) -> Option<&Child> {
        self.born.get(tree).map(|watched| &watched.child)
    }

    pub(super) fn of_life(&self, incarnation: Incarnation) -> Option<&Child> {
        self.get(&TreeId::Life(incarnation))
    }

    pub(super) fn remove(&mut self, tree: &TreeId) -> Option<Child> {
        self.born.remove(tree).map(|watched| watched.child)
    }

    /// All of them, and none is left.
    pub(super) fn take(&mut self) -> Vec<Child> {
        let watched = std::mem::take(&mut self.born);
        watched.into_values().map(|watched| watched.child).collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Child> {
        self.born.values().map(|watched| &watched.child)
    }

    /// From here on a tree's death is waited for. One that is being killed is not only watched again.
    pub(super) fn watch(&mut self, tree: &TreeId, force: Force) {
        if let Some(watch) = self.watch_of(tree)
            && *watch != Watch::Yes(Force::Kill)
        {
            *watch = Watch::Yes(force);
        }
    }

    /// Its death is not waited for, until it is watched again; how it was, if it was.
    pub(super) fn rest(&mut self, tree: &TreeId) -> Option<Force> {
        match std::mem::replace(self.watch_of(tree)?, Watch::No) {
            Watch::Yes(force) => Some(force),
            Watch::No => None,
        }
    }

    /// Whether there is one to be watched.
    pub(super) fn has(&self, tree: &TreeId) -> bool {
        self.born.contains_key(tree) || self.stillborn.contains_key(tree)
    }

    fn watch_of(&mut self, tree: &TreeId) -> Option<&mut Watch> {
        match self.born.get_mut(tree) {
            Some(watched) => Some(&mut watched.tree),
            None => self.stillborn.get_mut(tree).map(|(_, watch)| watch),
        }
    }

    /// These outlive SIGKILL: the log is told of them when they are others than before, and else less and less often.
    pub(super) fn survive(&mut self, tree: &TreeId, survivors: &[Survivor]) -> Log {
        let Some(watched) = self.born.get_mut(tree).filter(|_| !survivors.is_empty()) else {
            return Log::No;
        };
        let known = &mut watched.survivors;
        let mut named = survivors.to_vec();
        named.sort_by_key(|survivor| survivor.pid);
        if known.named != named {
            *known = Survivors { named, times: 0 };
        }
        known.times = known.times.saturating_add(1);
        if known.times.is_power_of_two() {
            Log::Yes
        } else {
            Log::No
        }
    }

    /// Has the death of a child told once.
    pub(super) fn exited(&mut self, tree: &TreeId) {
        if let Some(watched) = self.born.get_mut(tree) {
            watched.leader = Leader::Dead;
        }
    }

    /// Waits until one of them does something. They are asked in their order, which is fair to all: each ends once, and
    /// only a life speaks. Can be dropped at any point, and called again.
    pub(super) async fn news(&self, tree: &Tree) -> io::Result<News> {
        tokio::select! {
            biased;
            news = first(self.born.values().map(|watched| watched.news(tree))) => news,
            ended = first(self.stillborn.values().map(|(stillborn, watch)| ended(stillborn, *watch, tree))) => Ok(ended),
        }
    }

    /// Waits until one of them answers a message that it has read. Can be dropped at any point, and called again.
    pub(super) async fn answer(&self) -> Answered {
        first(self.iter().map(Child::answer)).await
    }

    /// Waits until one of them turns out not to read a message that it was given. Can be dropped at any point, and called
    /// again.
    pub(super) async fn unfed(&self) -> (AttemptId, NotFed) {
        first(self.iter().map(Child::unfed)).await
    }

    /// Kills them all, and waits for as long as the kill proof. What is left is the next shim's to sweep.
    pub(super) async fn kill(mut self, tree: &Tree) {
        for (stillborn, _) in self.stillborn.values() {
            // The next shim sweeps it otherwise.
            let _ = stillborn.kill();
        }
        let children = self.take();
        for child in &children {
            // Who cannot be signalled is waited for below.
            let _ = child.signal_tree(tree, Signal::KILL);
        }
        let all_gone = async {
            for child in children {
                if let Err(error) = child.tree_gone(tree, Force::Kill).await {
                    tracing::error!(tree = %child.tree(), %error, "cannot end the agent's processes");
                }
            }
        };
        let _ = tokio::time::timeout(KILL_PROOF, all_gone).await;
    }
}

impl Watched {
    /// What a child said before its end is told before it.
    async fn news(&self, tree: &Tree) -> io::Result<News> {
        let Self {
            child,
            leader,
            tree: watch,
            survivors: _,
        } = self;
        let noticed = async {
            match child.tree() {
                TreeId::Life(incarnation) => {
                    let notices = child.notices(tree).await?;
                    Ok(News::Noticed(*incarnation, notices))
                }
                TreeId::Attempt(_) => std::future::pending().await,
            }
        };
        let exited = async {
            match leader {
                Leader::Lives => child.exited().await,
                Leader::Dead => std::future::pending().await,
            }
        };
        let gone = async {
            match watch {
                Watch::Yes(force) => child.tree_gone(tree, *force).await,
                Watch::No => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            noticed = noticed => noticed,
            exited = exited => exited.map(|()| News::Exited(child.tree().clone())),
            gone = gone => Ok(told_of(child.tree(), gone)),
        }
    }
}

/// Waits for the end of one that cannot be watched.
async fn ended(stillborn: &Stillborn, watch: Watch, tree: &Tree) -> News {
    match watch {
        Watch::Yes(_) => told_of(stillborn.tree(), stillborn.gone(tree).await),
        Watch::No => std::future::pending().await,
    }
}

fn told_of(tree: &TreeId, gone: io::Result<()>) -> News {
    match gone {
        Ok(()) => News::Gone(tree.clone()),
        Err(error) => News::Unseen(tree.clone(), error),
    }
}

/// Waits for the first of these that is ready, in their order. Never returns where there is none.
async fn first<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> T {
    let mut open: Vec<Pin<Box<_>>> = futures.map(Box::pin).collect();
    poll_fn(|context| {
        for future in &mut open {
            if let Poll::Ready(result) = future.as_mut().poll(context) {
                return Poll::Ready(result);
            }
        }
        Poll::Pending
    })
    .await
}
