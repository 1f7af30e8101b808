//! What becomes of each fire, once and by the rules.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rekindle::id::FireNumber;
use rekindle::state::AgentState;
use rekindle::time::Now;
use rekindle::workflow::{CHAIN_MAX, Misfire, Overlap, PENDING_MAX};
use rekindle_server_core::event::{Event, EventKind};
use rekindle_server_core::execution::ExecutionRecord;
use rekindle_server_core::workflow::{Fire, WorkflowRecord};

use super::super::{Invariant, Oracle};
use super::{Fate, Flow, News};
use crate::fault::Fault;

/// What clocks that are read one after another differ by.
const SLACK: Duration = Duration::from_millis(2);

/// How long a fire may be there past its time, in a server that nothing is in the way of.
const LATE: Duration = Duration::from_millis(500);

impl Oracle {
    /// A step has written a workflow: each of its fires waits, or went one way, and says which.
    pub(super) fn judge_fates(
        &mut self,
        before: Option<&Flow>,
        record: &WorkflowRecord,
        news: &News<'_>,
        now: Now,
        world: Duration,
    ) -> BTreeMap<FireNumber, Fate> {
        let id = &record.id;
        let mut fires = before.map(|before| before.fires.clone()).unwrap_or_default();
        let fired = before.map_or(FireNumber::ZERO, |before| before.record.fired);
        let told = news.count(EventKind::WorkflowTriggered) as u64;
        if record.fired.get() != fired.get() + told {
            let what = format!(
                "{id} went from fire {fired} to {}, and {told} events say so",
                record.fired
            );
            self.fail(Invariant::I10, what);
        }
        let mut number = fired;
        while number < record.fired {
            number = number.next();
            fires.insert(number, Fate::Waits);
            self.flows.waits.insert((record.uid, number), world);
            self.note_fire(record);
        }
        let pending: BTreeSet<FireNumber> = record.pending.iter().map(|fire| fire.number).collect();
        for made in &news.made {
            let Some(by) = made.workflow.as_ref().filter(|by| by.uid == record.uid) else {
                self.fail(Invariant::I10, format!("{} is by another workflow than {id}", made.id));
                continue;
            };
            let known = fires.insert(by.fire, Fate::Went(made.uid));
            if known != Some(Fate::Waits) || pending.contains(&by.fire) {
                let what = format!("fire {} of {id} makes {}, and was {known:?}", by.fire, made.id);
                self.fail(Invariant::I10, what);
            }
            if let Some(older) = pending.iter().find(|waits| **waits < by.fire) {
                self.fail(Invariant::I10, format!("fire {} of {id} goes before {older}", by.fire));
            }
            self.judge_going(record, by.fire);
        }
        let (skipped, expired) = (
            news.named(EventKind::WorkflowSkipped),
            news.named(EventKind::WorkflowExpired),
        );
        let gone: Vec<FireNumber> = fires
            .iter()
            .filter(|(number, fate)| **fate == Fate::Waits && !pending.contains(*number))
            .map(|(number, _)| *number)
            .collect();
        for number in gone {
            fires.insert(number, Fate::Gone);
            if skipped.contains(&number) {
                self.note(Fault::FireSkipped);
                self.judge_skip(before, record, news, number);
            } else if expired.contains(&number) {
                self.note(Fault::FireExpired);
                self.judge_expiry(before, record, number, now, world);
            } else {
                let what = format!(
                    "fire {number} of {id} waits no longer, and nothing came of it: {:?}",
                    news.events
                );
                self.fail(Invariant::I10, what);
            }
        }
        let back = pending.iter().find(|number| fires.get(number) != Some(&Fate::Waits));
        if let Some(number) = back {
            self.fail(
                Invariant::I10,
                format!("fire {number} of {id} waits, and was {:?}", fires.get(number)),
            );
        }
        self.judge_keys(record, &fires, fired);
        fires
    }

    fn note_fire(&mut self, record: &WorkflowRecord) {
        let away = self
            .ahead
            .get(&record.spec.agent)
            .is_none_or(|agent| agent.state != AgentState::Running);
        if away {
            self.note(Fault::FiredAway);
        }
        if self.live_executions(record) > 0 {
            self.note(Fault::Overlapped);
        }
    }

    /// Executions of a workflow that go on, as the machine has them.
    fn live_executions(&self, record: &WorkflowRecord) -> usize {
        let lives = self
            .of_agent(&record.spec.agent)
            .filter(|execution| execution.goes_on_of(record));
        lives.count()
    }

    /// A fire goes to an agent that is ready, and beside nothing else of its workflow.
    fn judge_going(&mut self, record: &WorkflowRecord, number: FireNumber) {
        let running = self
            .ahead
            .get(&record.spec.agent)
            .is_some_and(|agent| agent.state == AgentState::Running);
        if !running || !record.spec.enabled {
            self.fail(
                Invariant::I10,
                format!("fire {number} of {} goes, and its runner is not armed", record.id),
            );
        }
        let lives = self.live_executions(record);
        if lives > 1 {
            self.fail(
                Invariant::I10,
                format!("fire {number} of {} goes beside another", record.id),
            );
        }
    }

    /// What is skipped is so by the workflow's policy.
    fn judge_skip(&mut self, before: Option<&Flow>, record: &WorkflowRecord, news: &News<'_>, number: FireNumber) {
        let specs = before
            .map(|before| &before.record.spec)
            .into_iter()
            .chain([&record.spec]);
        let (mut by_misfire, mut by_overlap, mut by_newer) = (false, false, false);
        for spec in specs {
            by_misfire |= spec.trigger.is_schedule() && spec.misfire != Misfire::All;
            by_overlap |= spec.overlap == Overlap::Skip;
            by_newer |= spec.overlap == Overlap::CancelRunning;
        }
        by_overlap &= self.live_executions(record) > 0 || !news.made.is_empty();
        let goes_first = |made: &&ExecutionRecord| made.workflow.as_ref().is_some_and(|by| by.fire > number);
        let waits = record.pending.iter().any(|fire| fire.number > number);
        by_newer &= waits || news.made.iter().copied().any(|made| goes_first(&made));
        let by_chain = self.is_cut(news, number);
        if by_chain {
            self.note(Fault::ChainEnded);
        }
        // Those that came before it in the same step count, too, whatever has become of them since.
        let waited = before.map_or(0, |before| before.record.pending.len());
        let is_full = waited + news.count(EventKind::WorkflowTriggered) > PENDING_MAX;
        if !by_misfire && !by_overlap && !by_newer && !by_chain && !is_full {
            let what = format!(
                "fire {number} of {} is skipped, and no policy says so: {:?}",
                record.id, news.events
            );
            self.fail(Invariant::I10, what);
        }
    }

    /// Whether a fire comes through so many ends of others that its chain is cut.
    fn is_cut(&self, news: &News<'_>, number: FireNumber) -> bool {
        let told = news
            .of(EventKind::WorkflowTriggered)
            .find(|event| numbers(event).contains(&number));
        let key = told.and_then(|event| event.attributes.get("key"));
        let is_last = |execution: &ExecutionRecord| {
            let hops = execution.workflow.as_ref().map_or(0, |by| by.hops);
            hops >= CHAIN_MAX && key.is_some_and(|key| key.starts_with(execution.id.as_str()))
        };
        self.work.all().any(is_last)
    }

    /// Whether no more of its fires may wait.
    pub(super) fn was_full(before: &Flow) -> bool {
        before.record.pending.len() >= PENDING_MAX
    }

    /// What expires has waited for its time.
    fn judge_expiry(
        &mut self,
        before: Option<&Flow>,
        record: &WorkflowRecord,
        number: FireNumber,
        now: Now,
        world: Duration,
    ) {
        let may = record.spec.expires_after.or_else(|| before?.record.spec.expires_after);
        let is = |fire: &&Fire| fire.number == number;
        let at = before
            .and_then(|before| before.record.pending.iter().find(is))
            .map(|fire| fire.at);
        let by_wall = at.map_or(Duration::MAX, |at| now.wall.saturating_since(at));
        let since = self.flows.waits.get(&(record.uid, number)).copied().unwrap_or_default();
        let counted = self.flows.counted.get(&(record.uid, number)).copied();
        let by_count = counted.map_or(Duration::ZERO, |since| now.mono.saturating_since(since));
        let waited = world
            .saturating_sub(since)
            .max(by_wall)
            .max(by_count)
            .saturating_add(SLACK);
        if may.is_none_or(|may| waited < may) {
            let what = format!(
                "fire {number} of {} expires after {waited:?}, and has {may:?}",
                record.id
            );
            self.fail(Invariant::I10, what);
        }
    }

    /// Of one key, what waits, goes on or has succeeded is there once.
    fn judge_keys(&mut self, record: &WorkflowRecord, fires: &BTreeMap<FireNumber, Fate>, fired: FireNumber) {
        for fire in &record.pending {
            self.flows.keys.insert((record.uid, fire.number), fire.key.clone());
        }
        let made = self
            .of_agent(&record.spec.agent)
            .filter_map(|execution| execution.workflow.as_ref());
        let made: Vec<_> = made.filter(|by| by.uid == record.uid).cloned().collect();
        for by in made {
            self.flows.keys.insert((by.uid, by.fire), by.key);
        }
        let mut number = fired;
        while number < record.fired {
            number = number.next();
            let Some(key) = self.flows.keys.get(&(record.uid, number)).cloned() else {
                continue;
            };
            let twin = fires.range(..number).find(|(earlier, fate)| {
                let same = self.flows.keys.get(&(record.uid, **earlier)) == Some(&key);
                same && self.holds_its_key(record, **fate)
            });
            if let Some((earlier, fate)) = twin {
                let what = format!(
                    "fire {number} of {} has the key of {earlier}, which is {fate:?}",
                    record.id
                );
                self.fail(Invariant::I10, what);
            }
            let has_it = |earlier: &FireNumber| self.flows.keys.get(&(record.uid, *earlier)) == Some(&key);
            if fires.range(..number).any(|(earlier, _)| has_it(earlier)) {
                self.note(Fault::KeyRepeated);
            }
        }
    }

    fn holds_its_key(&self, record: &WorkflowRecord, fate: Fate) -> bool {
        match fate {
            Fate::Waits => true,
            Fate::Gone => false,
            Fate::Went(uid) => {
                let mut all = self.of_agent(&record.spec.agent);
                let made = all.find(|execution| execution.uid == uid);
                made.is_some_and(|made| {
                    !made.state.is_over() || made.state == rekindle::execution::ExecutionState::Succeeded
                })
            }
        }
    }

    /// When some fires began to wait, by the clock that does not jump: told by the wall clock where nobody has counted.
    pub(super) fn count_waits(&mut self, record: &WorkflowRecord, which: impl Fn(FireNumber) -> bool, now: Now) {
        let Some(may) = record.spec.expires_after else { return };
        for fire in record.pending.iter().filter(|fire| which(fire.number)) {
            let waited = now.wall.saturating_since(fire.at).min(may);
            self.flows
                .counted
                .insert((record.uid, fire.number), now.mono.saturating_sub(waited));
        }
    }

    /// After a turn of a server that nothing is in the way of: what has waited for too long waits no longer.
    pub(crate) fn judge_waiting(&mut self, now: Now, world: Duration) {
        let late = self.flows.ahead.values().find_map(|flow| {
            let may = flow.record.spec.expires_after?;
            let (number, since) = flow.fires.iter().find_map(|(number, fate)| {
                let since = self.flows.counted.get(&(flow.record.uid, *number)).copied();
                (*fate == Fate::Waits).then_some((*number, since?))
            })?;
            let is_late = now.mono > since.saturating_add(may + LATE) && world > flow.changed + LATE;
            is_late.then(|| {
                format!(
                    "fire {number} of {} waits since {since:?}, and has {may:?}",
                    flow.record.id
                )
            })
        });
        if let Some(what) = late {
            self.fail(Invariant::I10, what);
        }
    }
}

impl News<'_> {
    /// The fires that events of a kind name.
    fn named(&self, kind: EventKind) -> BTreeSet<FireNumber> {
        self.of(kind).flat_map(|event| numbers(event)).collect()
    }

    /// Times of a schedule that never were fires.
    pub(super) fn missed(&self) -> u64 {
        let missed = self
            .of(EventKind::WorkflowSkipped)
            .filter_map(|event| event.attributes.get("missed"));
        missed.filter_map(|missed| missed.parse::<u64>().ok()).sum()
    }

    /// What set the workflow off, and never was a fire, as it was one too many.
    pub(super) fn turned_away(&self) -> usize {
        let unnamed = |event: &&&Event| numbers(event).is_empty() && !event.attributes.contains_key("missed");
        self.of(EventKind::WorkflowSkipped).filter(unnamed).count()
    }
}

fn numbers(event: &Event) -> Vec<FireNumber> {
    let named = ["fire", "fires"]
        .into_iter()
        .filter_map(|name| event.attributes.get(name));
    let numbers = named.flat_map(|numbers| numbers.split(','));
    numbers
        .filter_map(|number| number.trim().parse().ok().map(FireNumber::new))
        .collect()
}
