//! What a person sees of a running `rekindle dev`, until its shim has ended.

use std::time::Duration;

use rekindle::id::AgentId;
use rekindle::wire::v1;
use tokio::time::{Instant, sleep, sleep_until};

use super::child::Child;
use super::data::{Data, died};
use super::output::AgentOutput;
use super::story::Story;
use super::{Interrupts, SHIM_END_LIMIT};
use crate::connection::Connection;
use crate::failure::Failure;
use crate::follow::{Follow, News};
use crate::output::{Cell, Output, Style};
use crate::{agents, events};

/// Silence after which nothing more comes from an ended shim. The server is beside us: what it has, it sends at once.
const REST: Duration = Duration::from_millis(200);

/// What is shown, and where it comes from.
pub(super) struct Session {
    pub(super) name: AgentId,
    pub(super) connection: Connection,
    pub(super) follow: Follow,
    pub(super) story: Story,
    pub(super) agent_output: AgentOutput,
    pub(super) output: Output,
}

impl Session {
    /// Shows what happens until the shim has ended.
    pub(super) async fn show(
        &mut self,
        shim: &mut Child,
        server: &mut Child,
        interrupts: &mut Interrupts,
        data: &Data,
    ) -> Result<(), Failure> {
        let mut ending: Option<Instant> = None;
        loop {
            let limit = ending.unwrap_or_else(Instant::now);
            tokio::select! {
                () = interrupts.next() => {
                    if ending.is_some() {
                        shim.kill();
                    } else {
                        shim.terminate();
                        ending = Some(Instant::now() + SHIM_END_LIMIT);
                    }
                }
                () = sleep_until(limit), if ending.is_some() => shim.kill(),
                Some(line) = self.agent_output.next() => self.agent_wrote(&line)?,
                news = self.follow.next() => self.tell(news?).await?,
                status = shim.wait() => return match ending {
                    Some(_) => self.finish().await,
                    None => Err(died("shim", &status, &data.shim_log())),
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
