//! Who holds an agent: one shim at a time (invariant I1).

use std::time::Duration;

use rekindle::report::{Hello, HelloOrder};
use rekindle::session::LINK_LOSS_MAX;
use rekindle::state::AgentState;
use serde::{Deserialize, Serialize};

use crate::effect::Refusal;
use crate::record::{AgentRecord, Claim, Holder};

/// Time past lease, `fence_after` and stop grace in which a fencing shim surely proved its child dead: what it takes a
/// shim to find its link dead, the 2 s of the kill proof, and as much again for a host under load.
const FENCE_MARGIN: Duration = LINK_LOSS_MAX.saturating_add(Duration::from_secs(4));

/// How a shim comes to hold an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Admission {
    /// Nobody ever did.
    First,
    /// The last one let go.
    Free,
    /// It is the holder, by another stream.
    Same,
    /// It is a later life of the holder, in the same boot; it has swept what the earlier one left.
    Successor,
    /// The holder's host has rebooted: everything of the earlier boot is dead.
    Rebooted,
    /// The holder ends its child when it is alone for long, and it has been alone for longer.
    FencedOff,
}

impl Admission {
    /// What an inventory is held against, where an earlier shim was admitted `before`, and never said what it holds: what
    /// became of the lives until then is still to be concluded.
    #[must_use]
    pub const fn after(self, before: Option<Self>) -> Self {
        match (before, self) {
            (Some(before), Self::Same | Self::Successor) => before,
            (None, Self::Same | Self::Successor) | (_, Self::First | Self::Free | Self::Rebooted | Self::FencedOff) => {
                self
            }
        }
    }
}

/// For how long who could speak against a hello was not heard; `None` while a stream is open.
#[derive(Debug, Clone, Copy)]
pub struct Silence {
    /// The agent's holder.
    pub holder: Option<Duration>,
    /// Every shim on the holder's host, in boots that the hello does not come from, and that are not known to be over.
    pub other_boots: Option<Duration>,
}

/// Judges a shim that says hello.
///
/// # Errors
/// The agent is held by another shim, or a later hello of the same shim was welcomed before.
pub fn judge(record: &AgentRecord, hello: &Hello, silence: Silence, lease: Duration) -> Result<Admission, Refusal> {
    let Some(holder) = &record.holder else {
        return Ok(Admission::First);
    };
    // A power loss may set a journal back, and its numbering with it; then the boot is another one.
    let numbered = hello.order != HelloOrder::default() && hello.host.boot_id == holder.host.boot_id;
    if numbered && holder.marker == hello.marker && hello.order <= holder.order {
        return Err(Refusal::Stale);
    }
    if holder.instance == hello.instance && holder.claim == Claim::Held {
        return Ok(Admission::Same);
    }
    // Of two boots nobody can say which is the later. But a host that is heard in one of them is in that: then it is this
    // hello that was long under way, or comes from another host of the same name and machine id.
    let silent = silence.other_boots.is_some_and(|silent| silent >= lease);
    if silent && (hello.host.rebooted_since(&holder.host) || reboot_by_marker(holder, hello)) {
        return Ok(Admission::Rebooted);
    }
    // The marker's directory is locked by its shim, so the earlier life of this one is over.
    if holder.marker == hello.marker && hello.host.same_boot(&holder.host) {
        return Ok(Admission::Successor);
    }
    if matches!(holder.claim, Claim::Released | Claim::Left) {
        return Ok(Admission::Free);
    }
    // No fence ends what is known to outlive SIGKILL.
    if record.state != AgentState::Quarantined
        && let (Some(fence), Some(silent)) = (holder.fence_after, silence.holder)
        && silent >= lease + fence + holder.stop_grace_max + FENCE_MARGIN
    {
        return Ok(Admission::FencedOff);
    }
    Err(Refusal::Held {
        agent: record.id.clone(),
        holder: holder.host.clone(),
        silent_for: silence.holder,
    })
}

/// Where a host has no machine id, the marker vouches for it: a state directory outlives a reboot.
fn reboot_by_marker(holder: &Holder, hello: &Hello) -> bool {
    let unknown = holder.host.machine_id.is_none() || hello.host.machine_id.is_none();
    unknown
        && holder.marker == hello.marker
        && holder.host.name == hello.host.name
        && holder.host.boot_id != hello.host.boot_id
}

#[cfg(test)]
mod tests {
    use rekindle::id::Marker;

    use super::*;
    use crate::machine::tests::{held_by, hello};

    const LEASE: Duration = Duration::from_secs(15);

    fn judged(change: impl FnOnce(&mut Hello), silent: Option<u64>, fence: Option<u64>) -> Result<Admission, Refusal> {
        let mut record = held_by(&hello("a", 1));
        if let Some(holder) = &mut record.holder {
            holder.fence_after = fence.map(Duration::from_secs);
            holder.stop_grace_max = Duration::from_secs(10);
        }
        let mut newcomer = hello("a", 2);
        change(&mut newcomer);
        let silent = silent.map(Duration::from_secs);
        let silence = Silence {
            holder: silent,
            other_boots: silent,
        };
        judge(&record, &newcomer, silence, LEASE)
    }

    fn elsewhere(hello: &mut Hello) {
        hello.host.name = "host-b".into();
        hello.host.boot_id = rekindle::id::BootId::from_u128(77);
        hello.host.machine_id = Some("machine-b".into());
        hello.marker = Marker::from_u128(77);
    }

    #[test]
    fn one_shim_at_a_time() {
        assert_eq!(
            judged(|_| (), None, None),
            Ok(Admission::Successor),
            "same directory, same boot"
        );
        let later_boot = |h: &mut Hello| h.host.boot_id = rekindle::id::BootId::from_u128(9);
        assert_eq!(judged(later_boot, Some(15), None), Ok(Admission::Rebooted));
        assert!(
            judged(later_boot, Some(14), None).is_err(),
            "a holder that is heard has not rebooted"
        );
        assert!(
            judged(|h| h.marker = Marker::from_u128(5), Some(1000), None).is_err(),
            "another directory on the host"
        );
        assert!(
            judged(elsewhere, Some(100_000), None).is_err(),
            "silence alone proves nothing"
        );
        assert_eq!(
            judged(elsewhere, Some(15 + 30 + 10 + 14), Some(30)),
            Ok(Admission::FencedOff)
        );
        assert!(judged(elsewhere, Some(15 + 30 + 10 + 13), Some(30)).is_err());
        assert!(
            judged(elsewhere, None, Some(30)).is_err(),
            "a connected holder is not silent"
        );
    }

    #[test]
    fn a_clone_of_a_host_is_another_host() {
        let clone = |h: &mut Hello| {
            h.host.name = "host-b".into();
            h.host.boot_id = rekindle::id::BootId::from_u128(9);
        };
        assert!(
            judged(clone, Some(1000), None).is_err(),
            "same marker and machine id, another name and boot"
        );
    }
}
