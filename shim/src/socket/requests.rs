//! What the agent asks and says, as facts for the supervisor, and the way back to who asked.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use rekindle::checkpoint::{CheckpointBody, CheckpointFields};
use rekindle::execution::AttemptId;
use rekindle::id::Incarnation;
use rekindle_shim_core::{About, CheckpointAnswer, CheckpointRefused, Input, Refused, RequestNumber, TaskIs, Word};
use tokio::sync::{mpsc, oneshot};

/// Calls that the driver has not taken. Who calls meanwhile waits.
const CALLS_MAX: usize = 16;

/// What an agent that asks for work gets; `None`: nothing.
pub(super) type Asked = Result<Option<Given>, Refused>;

/// How a word is answered; `Ok`: it is durable.
pub(super) type Said = Result<(), Refused>;

/// A call, on its way to the driver.
#[derive(Debug)]
pub(super) enum Call {
    Ask {
        /// Dropped by a caller that does not wait any longer.
        reply: oneshot::Sender<Asked>,
    },
    Say {
        about: About,
        word: Word,
        reply: oneshot::Sender<Said>,
    },
    Checkpoint {
        incarnation: Option<Incarnation>,
        word: CheckpointWord,
        reply: oneshot::Sender<Told>,
    },
}

/// How a word on a checkpoint is answered.
pub(super) type Told = Result<CheckpointAnswer, CheckpointRefused>;

/// What an agent says of its checkpoints.
#[derive(Debug)]
pub(crate) enum CheckpointWord {
    Save {
        fields: CheckpointFields,
        body: CheckpointBody,
        task: TaskIs,
    },
    Load,
    Confirm,
    Close,
}

/// An attempt on its way to the agent.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) attempt: AttemptId,
    pub(super) message: Arc<str>,
    pub(super) timeout: Duration,
    pub(super) receipt: Receipt,
}

/// Travels with an attempt, and tells the driver when it is dropped unsigned: that attempt was not given.
#[derive(Debug)]
pub(super) struct Receipt {
    attempt: AttemptId,
    signed: AtomicBool,
    unsigned: mpsc::UnboundedSender<AttemptId>,
}

impl Receipt {
    /// The attempt is in the hands of its caller's connection.
    pub(super) fn sign(&self) {
        self.signed.store(true, Ordering::Relaxed);
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if !mem::take(self.signed.get_mut()) {
            // A driver that is gone gives nothing to anybody.
            let _ = self.unsigned.send(self.attempt.clone());
        }
    }
}

/// The requests under way: numbered, and with who waits for their answers. Their number is bounded by the connections
/// and their streams.
#[derive(Debug)]
pub(crate) struct Requests {
    calls: mpsc::Receiver<Call>,
    /// Without a bound of its own: there is at most one receipt for each attempt that the supervisor holds, as it gives
    /// none a second time that it was not told of.
    unsigned: (mpsc::UnboundedSender<AttemptId>, mpsc::UnboundedReceiver<AttemptId>),
    last: u64,
    asking: BTreeMap<RequestNumber, oneshot::Sender<Asked>>,
    saying: BTreeMap<RequestNumber, oneshot::Sender<Said>>,
    telling: BTreeMap<RequestNumber, oneshot::Sender<Told>>,
}

impl Requests {
    /// None yet, and the way for calls to come in.
    pub(super) fn new() -> (Self, mpsc::Sender<Call>) {
        let (call, calls) = mpsc::channel(CALLS_MAX);
        let requests = Self {
            calls,
            unsigned: mpsc::unbounded_channel(),
            last: 0,
            asking: BTreeMap::new(),
            saying: BTreeMap::new(),
            telling: BTreeMap::new(),
        };
        (requests, call)
    }

    /// Waits for the next fact. Can be dropped at any point, and called again: nothing is lost.
    pub(crate) async fn next(&mut self) -> Input {
        tokio::select! {
            biased;
            // What comes back can be given to who asks next.
            Some(attempt) = self.unsigned.1.recv() => Input::GiveFailed { attempt },
            request = withdrawn(&mut self.asking) => {
                self.asking.remove(&request);
                Input::AskWithdrawn { request }
            }
            Some(call) = self.calls.recv() => self.number(call),
        }
    }

    /// Gives an attempt to who asked by this request. Where nobody waits there any more, the attempt's next fact is
    /// `GiveFailed`.
    pub(crate) fn give(&mut self, request: RequestNumber, attempt: AttemptId, message: Arc<str>, timeout: Duration) {
        let receipt = Receipt {
            attempt: attempt.clone(),
            signed: AtomicBool::new(false),
            unsigned: self.unsigned.0.clone(),
        };
        let given = Given {
            attempt,
            message,
            timeout,
            receipt,
        };
        if let Some(reply) = self.asking.remove(&request) {
            // One that nobody takes comes back by its receipt.
            let _ = reply.send(Ok(Some(given)));
        }
    }

    /// Answers nobody who waits for work, nor who comes, for as long as this is awaited: they are told that the shim ends.
    /// Of none of them it is told that it withdrew: whoever has them turned away says so of all.
    pub(super) async fn turn_away(&mut self) {
        self.asking.clear();
        while let Some(call) = self.calls.recv().await {
            drop(call);
        }
    }

    /// How many attempts are on their way to who asked for them: not in the hands of a connection, and not back.
    pub(crate) fn on_their_way(&self) -> usize {
        self.unsigned.0.strong_count().saturating_sub(1)
    }

    /// What came back, and [`Requests::next`] has not told.
    pub(crate) fn came_back(&mut self) -> Vec<Input> {
        let back = std::iter::from_fn(|| self.unsigned.1.try_recv().ok());
        back.map(|attempt| Input::GiveFailed { attempt }).collect()
    }

    /// Answers a request. Where nobody waits there any more, does nothing.
    pub(crate) fn answer(&mut self, request: RequestNumber, answer: Result<(), Refused>) {
        // A caller that is gone needs no answer.
        if let Some(reply) = self.saying.remove(&request) {
            let _ = reply.send(answer);
        } else if let Some(reply) = self.asking.remove(&request) {
            let _ = reply.send(answer.map(|()| None));
        }
    }

    /// Answers a word on a checkpoint. Where nobody waits there any more, does nothing.
    pub(crate) fn answer_checkpoint(&mut self, request: RequestNumber, answer: Told) {
        if let Some(reply) = self.telling.remove(&request) {
            // A caller that is gone needs no answer.
            let _ = reply.send(answer);
        }
    }

    /// For a request that came another way.
    pub(crate) fn next_number(&mut self) -> RequestNumber {
        self.last += 1;
        RequestNumber(self.last)
    }

    fn number(&mut self, call: Call) -> Input {
        let request = self.next_number();
        match call {
            Call::Ask { reply } => {
                self.asking.insert(request, reply);
                Input::WorkAsked { request }
            }
            Call::Say { about, word, reply } => {
                self.saying.insert(request, reply);
                Input::WorkSaid {
                    request: Some(request),
                    about,
                    word,
                }
            }
            Call::Checkpoint {
                incarnation,
                word,
                reply,
            } => {
                self.telling.insert(request, reply);
                word.input(request, incarnation)
            }
        }
    }
}

impl CheckpointWord {
    /// As the supervisor hears it.
    pub(crate) fn input(self, request: RequestNumber, incarnation: Option<Incarnation>) -> Input {
        match self {
            Self::Save { fields, body, task } => Input::SaveAsked {
                request,
                incarnation,
                fields,
                body,
                task,
            },
            Self::Load => Input::LoadAsked { request, incarnation },
            Self::Confirm => Input::ConfirmAsked { request, incarnation },
            Self::Close => Input::CloseAsked { request, incarnation },
        }
    }
}

/// Waits until somebody does not wait for work any longer.
async fn withdrawn(asking: &mut BTreeMap<RequestNumber, oneshot::Sender<Asked>>) -> RequestNumber {
    poll_fn(|context| {
        let gone = asking
            .iter_mut()
            .find_map(|(request, reply)| reply.poll_closed(context).is_ready().then_some(*request));
        match gone {
            Some(request) => Poll::Ready(request),
            None => Poll::Pending,
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use rekindle::activity::BlockedOn;
    use rekindle::execution::ExecutionId;
    use rekindle::id::ExecutionUid;

    use super::*;

    fn attempt() -> AttemptId {
        AttemptId {
            execution: ExecutionId::new("e").expect("valid"),
            uid: ExecutionUid::from_u128(1),
            number: 1,
        }
    }

    fn give(requests: &mut Requests, request: RequestNumber) {
        requests.give(request, attempt(), "m".into(), Duration::from_secs(1));
    }

    async fn ask(requests: &mut Requests, calls: &mpsc::Sender<Call>) -> (RequestNumber, oneshot::Receiver<Asked>) {
        let (reply, answer) = oneshot::channel();
        calls.send(Call::Ask { reply }).await.expect("taken");
        let heard = requests.next().await;
        let Input::WorkAsked { request } = heard else {
            panic!("{heard:?}");
        };
        (request, answer)
    }

    #[tokio::test]
    async fn an_ask_is_withdrawn_or_given_and_never_both() {
        let (mut requests, calls) = Requests::new();
        let (first, answer) = ask(&mut requests, &calls).await;
        drop(answer);
        assert_eq!(requests.next().await, Input::AskWithdrawn { request: first });
        give(&mut requests, first);
        assert_eq!(requests.next().await, Input::GiveFailed { attempt: attempt() });

        // Gone, which was not told when the supervisor gave.
        let (second, answer) = ask(&mut requests, &calls).await;
        drop(answer);
        give(&mut requests, second);
        assert_eq!(requests.next().await, Input::GiveFailed { attempt: attempt() });

        // Gone with the attempt in its hands.
        let (third, answer) = ask(&mut requests, &calls).await;
        give(&mut requests, third);
        drop(answer);
        assert_eq!(requests.next().await, Input::GiveFailed { attempt: attempt() });

        let (fourth, answer) = ask(&mut requests, &calls).await;
        give(&mut requests, fourth);
        let given = answer
            .await
            .expect("answered")
            .expect("not refused")
            .expect("an attempt");
        given.receipt.sign();
        drop(given);
        // Nothing of the four is left to be told.
        let (fifth, _answer) = ask(&mut requests, &calls).await;
        assert_eq!((first, fifth), (RequestNumber(1), RequestNumber(5)));
    }

    #[tokio::test]
    async fn what_is_on_its_way_is_known_until_it_has_come_or_is_back() {
        let (mut requests, calls) = Requests::new();
        let (first, answer) = ask(&mut requests, &calls).await;
        let (second, gone) = ask(&mut requests, &calls).await;
        assert_eq!(requests.on_their_way(), 0);
        give(&mut requests, first);
        give(&mut requests, second);
        assert_eq!((requests.on_their_way(), requests.came_back()), (2, vec![]));
        drop(gone);
        assert_eq!(requests.on_their_way(), 1);
        assert_eq!(requests.came_back(), [Input::GiveFailed { attempt: attempt() }]);
        let given = answer
            .await
            .expect("answered")
            .expect("not refused")
            .expect("an attempt");
        given.receipt.sign();
        drop(given);
        assert_eq!((requests.on_their_way(), requests.came_back()), (0, vec![]));
    }

    #[tokio::test]
    async fn who_is_answered_hears_it_once() {
        let (mut requests, calls) = Requests::new();
        let (reply, answer) = oneshot::channel();
        let (about, word) = (About::Only, Word::Blocked(BlockedOn::User));
        calls.send(Call::Say { about, word, reply }).await.expect("taken");
        let Input::WorkSaid {
            request: Some(request),
            about: About::Only,
            word: Word::Blocked(BlockedOn::User),
        } = requests.next().await
        else {
            panic!("something was said");
        };
        requests.answer(request, Err(Refused::Which));
        requests.answer(request, Ok(()));
        assert_eq!(answer.await.expect("answered"), Err(Refused::Which));

        let (request, answer) = ask(&mut requests, &calls).await;
        requests.answer(request, Err(Refused::NotPulled));
        assert!(matches!(answer.await.expect("answered"), Err(Refused::NotPulled)));
    }
}
