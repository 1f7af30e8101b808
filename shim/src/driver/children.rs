//! The children of a shim, of which there is one for a life, or one for each message that is worked on.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Poll;

use rekindle::execution::AttemptId;
use rekindle::id::Incarnation;
use rekindle_shim_core::{KILL_PROOF, Notice, TreeId};
use rustix::process::Signal;

use crate::process::{Answered, Child, Force, NotFed, Tree};

/// All of them, by whose tree grows from each.
#[derive(Default)]
pub(super) struct Children(BTreeMap<TreeId, Watched>);

/// A child, and what is watched of it.
struct Watched {
    child: Child,
    leader: Leader,
    tree: Watch,
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
}

impl Children {
    pub(super) fn add(&mut self, child: Child) {
        let watched = Watched {
            leader: Leader::Lives,
            tree: Watch::No,
            child,
        };
        self.0.insert(watched.child.tree().clone(), watched);
    }

    pub(super) fn get(&self, tree: &TreeId) -> Option<&Child> {
        self.0.get(tree).map(|watched| &watched.child)
    }

    pub(super) fn of_life(&self, incarnation: Incarnation) -> Option<&Child> {
        self.get(&TreeId::Life(incarnation))
    }

    pub(super) fn remove(&mut self, tree: &TreeId) -> Option<Child> {
        self.0.remove(tree).map(|watched| watched.child)
    }

    /// All of them, and none is left.
    pub(super) fn take(&mut self) -> Vec<Child> {
        let watched = std::mem::take(&mut self.0);
        watched.into_values().map(|watched| watched.child).collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Child> {
        self.0.values().map(|watched| &watched.child)
    }

    /// From here on a tree's death is waited for. One that is being killed is not only watched again.
    pub(super) fn watch(&mut self, tree: &TreeId, force: Force) {
        if let Some(watched) = self.0.get_mut(tree)
            && watched.tree != Watch::Yes(Force::Kill)
        {
            watched.tree = Watch::Yes(force);
        }
    }

    /// Has the death of a child told once.
    pub(super) fn exited(&mut self, tree: &TreeId) {
        if let Some(watched) = self.0.get_mut(tree) {
            watched.leader = Leader::Dead;
        }
    }

    /// Waits until one of them does something. They are asked in their order, which is fair to all: each ends once, and
    /// only a life speaks. Can be dropped at any point, and called again.
    pub(super) async fn news(&self, tree: &Tree) -> io::Result<News> {
        first(self.0.values().map(|watched| watched.news(tree))).await
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
            gone = gone => gone.map(|()| News::Gone(child.tree().clone())),
        }
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
