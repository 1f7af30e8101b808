//! `rekindle.v1.FleetService`.

use std::collections::BTreeMap;

use rekindle::convert::timestamp_to_wire;
use rekindle::state::AgentState;
use rekindle::wire::v1;
use rekindle::wire::v1::fleet_service_server::FleetService;
use tonic::{Request, Response, Status};

use crate::handle::Handle;
use crate::status::unreadable;

/// The service.
pub(super) struct Fleet {
    handle: Handle,
}

impl Fleet {
    pub(super) fn new(handle: Handle) -> Self {
        Self { handle }
    }
}

#[tonic::async_trait]
impl FleetService for Fleet {
    async fn get_fleet(
        &self,
        _request: Request<v1::GetFleetRequest>,
    ) -> Result<Response<v1::GetFleetResponse>, Status> {
        let snapshot = self.handle.snapshot();
        let mut states: BTreeMap<AgentState, u64> = BTreeMap::new();
        for record in snapshot.agents.values() {
            *states.entry(record.state).or_default() += 1;
        }
        let store = self.handle.store().await.map_err(|error| unreadable(&error))?;
        let info = self.handle.info();
        let fleet = v1::Fleet {
            states: states
                .into_iter()
                .map(|(state, agents)| v1::StateCount {
                    state: v1::AgentState::from(state).into(),
                    agents,
                })
                .collect(),
            agents: snapshot.agents.len() as u64,
            connected: self.handle.connected() as u64,
            server_version: info.version.to_owned(),
            server_start_time: Some(timestamp_to_wire(info.start_time)),
            store: Some(v1::Store {
                backend: store.backend.to_owned(),
                schema_version: store.schema_version,
                first_sequence: snapshot.first_event.get(),
                last_sequence: snapshot.last_event.get(),
                size_bytes: store.size_bytes,
            }),
            adoption_end_time: Some(timestamp_to_wire(info.adoption_end)),
        };
        Ok(Response::new(v1::GetFleetResponse { fleet: Some(fleet) }))
    }
}
