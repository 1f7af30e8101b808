//! Reports: numbered facts, each applied once however often it comes (I11).

use rekindle::execution::Delivery;
use rekindle::id::{AgentId, Incarnation, ReportSequence};
use rekindle::report::{Report, ReportFact};

use super::step::Step;
use crate::effect::{Disconnect, Effect};
use crate::input::SessionId;
use crate::record::ReportCursor;

impl Step<'_> {
    /// Takes in what an inventory tells of; `left` is the life of which something lives by its word.
    pub(super) fn catch_up(&mut self, id: &AgentId, reports: Vec<Report>, left: Option<Incarnation>) {
        if let (Some(first), Some(cursor)) = (reports.first(), self.record(id).reports) {
            let before_first = ReportSequence::new(first.sequence.get().saturating_sub(1));
            if before_first > cursor.sequence {
                self.edit(id).reports = Some(ReportCursor {
                    sequence: before_first,
                    ..cursor
                });
            }
        }
        self.order_anew(id, &reports);
        for report in reports {
            // A quarantine that was over before anybody heard of it fails no order, and holds no later life up.
            let over = matches!(report.fact, ReportFact::Survived(_)) && left != Some(report.incarnation);
            let record = self.record(id);
            let superseded = record.operation.is_some() || report.incarnation < record.incarnation;
            let fresh = self.advance_cursor(id, &report).is_ok_and(|fresh| fresh == Fresh::Yes);
            if fresh && !(over && superseded) {
                self.apply(id, report);
            }
        }
    }

    pub(super) fn shim_reported(&mut self, session: SessionId, report: Report) {
        let Some(id) = self.speaker(session) else { return };
        let sound = self.check_identity(&id, &report);
        match sound.and_then(|()| self.advance_cursor(&id, &report)) {
            Ok(fresh) => {
                let through = report.sequence;
                if fresh == Fresh::Yes {
                    self.apply(&id, report);
                }
                self.then(Effect::Acknowledge { session, through });
            }
            Err(problem) => {
                self.close(&id, session, self.now.mono);
                self.then(Effect::Disconnect {
                    session,
                    cause: Disconnect::Protocol(problem),
                });
            }
        }
    }

    /// Only where each message has a process of its own a life may have none.
    fn check_identity(&self, id: &AgentId, report: &Report) -> Result<(), String> {
        let delivery = self.record(id).holder.as_ref().map(|holder| holder.delivery);
        if report.fact == ReportFact::Spawned(None) && delivery != Some(Delivery::PerMessage) {
            return Err(format!(
                "report {} tells of a life without its process",
                report.sequence
            ));
        }
        Ok(())
    }

    /// Whether a report was not applied yet; an error where one before it is missing.
    fn advance_cursor(&mut self, id: &AgentId, report: &Report) -> Result<Fresh, String> {
        let Some(cursor) = self.record(id).reports else {
            return Ok(Fresh::No);
        };
        if report.sequence <= cursor.sequence {
            return Ok(Fresh::No);
        }
        if report.sequence != cursor.sequence.next() {
            return Err(format!("report {} came after {}", report.sequence, cursor.sequence));
        }
        self.edit(id).reports = Some(ReportCursor {
            sequence: report.sequence,
            ..cursor
        });
        Ok(Fresh::Yes)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fresh {
    Yes,
    No,
}
