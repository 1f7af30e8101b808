//! Admission: what is known of an agent, its holder and its host, held against a hello before anything of it is believed.

use rekindle::report::Hello;

use super::step::Step;
use crate::claim::{self, Admission, Silence};
use crate::effect::Refusal;
use crate::host::HostKey;
use crate::record::Holder;

impl Step<'_> {
    /// Whether a shim gets to hold its agent, and as what.
    ///
    /// # Errors
    /// Why it does not. A shim that must end its child hears that another one has the agent, whatever boot it is in.
    pub(super) fn admit(&self, hello: &Hello) -> Result<Admission, Refusal> {
        let admission = self.judge_claim(hello)?;
        let boot = hello.host.boot_id;
        let holder = self.find(&hello.agent).and_then(|agent| agent.record.holder.as_ref());
        // With a machine id or without, the host may have been known otherwise before.
        let hosts = [
            Some(HostKey::of(&hello.host, hello.marker)),
            holder.map(Holder::host_key),
        ];
        if hosts.iter().flatten().any(|host| self.machine.is_boot_over(host, boot)) {
            let host = hello.host.name.clone();
            return Err(Refusal::BootOver { host });
        }
        Ok(admission)
    }

    fn judge_claim(&self, hello: &Hello) -> Result<Admission, Refusal> {
        let Some(agent) = self.find(&hello.agent) else {
            let limit = self.machine.policy.agents_max;
            let full = self.machine.agents.len() >= limit;
            return if full {
                Err(Refusal::TooManyAgents { limit })
            } else {
                Ok(Admission::First)
            };
        };
        let now = self.now.mono;
        let silence = Silence {
            holder: self.machine.silence(agent, now),
            other_boots: self.machine.other_boots_silent_for(hello, now),
        };
        claim::judge(&agent.record, hello, silence, self.machine.policy.lease)
    }
}
