//! What a person sees of a running `rekindle dev`, until its shim has ended.

use std::time::Duration;

use rekindle::id::AgentId;
use rekindle::wire::v1;
use tokio::time::sleep;

use super::child::Child;
use super::data::{Data, died};
use super::ending::Ending;
use super::introduce;
use super::output::AgentOutput;
use super::story::Story;
use crate::connection::Connection;
use crate::failure::Failure;
use crate::follow::{Follow, News};
use crate::interrupts::Interrupts;
use crate::output::{Cell, Output, Style};
use crate::{agents, events};

/// Silence after which nothing more comes from an ended shim. The server is beside us: what it has, it sends at once.
const REST: Duration = Duration::from_millis(200);

/// What is shown, and where it comes from.
pub(super) struct Session {
    pub(super) name: AgentId,
    pub(super) url: String,
    pub(super) connection: Connection,
    pub(super) follow: Follow,
    pub(super) story: Story,
    pub(super) agent_output: AgentOutput,
    pub(super) output: Output,
}

impl Session {
    /// Shows what runs, and what happens until the shim has ended. Nobody waits for the agent's output after that.
    pub(super) async fn show(
        mut self,
        shim: &mut Child,
        server: &mut Child,
        interrupts: &mut Interrupts,
        ending: &mut Ending,
        data: &Data,
    ) -> Result<(), Failure> {
        introduce(&self.name, &self.url, data, self.output)?;
        loop {
            tokio::select! {
                () = interrupts.next() => ending.press(shim),
                () = ending.overdue() => ending.escalate(shim),
                Some(line) = self.agent_output.next() => self.agent_wrote(&line)?,
                news = self.follow.next() => self.tell(news?).await?,
                status = shim.wait() => return match ending {
                    Ending::No => Err(died("shim", &status, &data.shim_log())),
                    Ending::Asked { .. } | Ending::Pressed { .. } | Ending::Killed => self.finish().await,
                },
                status = server.wait() => return Err(died("server", &status, &data.server_log())),
            }
        }
    }

    /// Shows what is still on its way when the shim has ended.
    async fn finish(&mut self) -> Result<(), Failure> {
        loop {
            tokio::select! {
                Some(line) = self.agent_output.next() => self.agent_wrote(&line)?,
                news = self.follow.next() => self.tell(news?).await?,
                () = sleep(REST) => return Ok(()),
            }
        }
    }

    async fn tell(&mut self, news: News) -> Result<(), Failure> {
        let event = match news {
            News::Event(event) => event,
            News::Gap(_) | News::Back => return Ok(()),
            News::Lost(reason) => {
                eprintln!("{reason}; trying again");
                return Ok(());
            }
        };
        if self.output.is_json() {
            return events::show(&event, self.output);
        }
        let crashed = event.r#type() == v1::EventType::AgentCrashed;
        let failure = if crashed {
            self.evidence(event.incarnation).await
        } else {
            None
        };
        for line in self.story.tell(&event, failure.as_ref()) {
            self.output.line(&line)?;
        }
        Ok(())
    }

    /// What is known of the end of this incarnation. Without it the event's own message has to do.
    async fn evidence(&self, incarnation: u64) -> Option<v1::Failure> {
        let agent = agents::fetch(&self.name, &self.connection).await.ok()?;
        agent.last_failure.filter(|failure| failure.incarnation == incarnation)
    }

    fn agent_wrote(&self, line: &str) -> Result<(), Failure> {
        if self.output.is_json() {
            return Ok(());
        }
        self.output
            .line(&[Cell::styled(&format!("{:14}| {line}", ""), Style::Dim)])
    }
}
