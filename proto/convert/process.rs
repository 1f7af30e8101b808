//! Processes and hosts.

use super::WireError;
use super::text::line;
use super::time::{required_timestamp, timestamp_to_wire};
use crate::host::Host;
use crate::process::ProcessIdentity;
use crate::report::{Child, ChildPhase};
use crate::wire::v1;

/// Longest host name, in bytes (POSIX `_POSIX_HOST_NAME_MAX`).
pub const HOST_NAME_MAX_BYTES: usize = 255;
/// Longest machine id, in bytes: 32 in machine-id(5), and room for what is not systemd.
pub const MACHINE_ID_MAX_BYTES: usize = 64;
/// Longest version of a shim, in bytes.
pub const SHIM_VERSION_MAX_BYTES: usize = 64;
/// Largest pid: `pid_t` is a signed int.
const PID_MAX: u32 = i32::MAX as u32;

/// Writes a process that runs on `host`; the stream of a shim leaves `host` empty, which is its own.
pub fn process_to_wire(process: &ProcessIdentity, host: &str) -> v1::Process {
    v1::Process {
        host: host.to_owned(),
        boot_id: process.boot_id.to_string(),
        pid: process.pid,
        pidfd_inode: process.pidfd_inode.unwrap_or(0),
        start_time_ticks: process.start_time_ticks,
        start_time: Some(timestamp_to_wire(process.start_time)),
    }
}

/// Reads a process's identity; its host is not part of it.
///
/// # Errors
/// Names the field, relative to the process.
pub fn process_from_wire(process: v1::Process) -> Result<ProcessIdentity, WireError> {
    Ok(ProcessIdentity {
        boot_id: uuid(&process.boot_id, "boot_id")?,
        pid: pid(process.pid)?,
        pidfd_inode: (process.pidfd_inode != 0).then_some(process.pidfd_inode),
        start_time_ticks: process.start_time_ticks,
        start_time: required_timestamp(process.start_time, "start_time")?,
    })
}

/// A process that must be there, in the field `process`.
pub(super) fn required_process(process: Option<v1::Process>) -> Result<ProcessIdentity, WireError> {
    let process = process.ok_or_else(|| WireError::missing("process"))?;
    process_from_wire(process).map_err(|error| error.within("process"))
}

/// A process that may be there, in the field `process`.
pub(super) fn optional_process(process: Option<v1::Process>) -> Result<Option<ProcessIdentity>, WireError> {
    process.map(|process| required_process(Some(process))).transpose()
}

pub(super) fn pid(pid: u32) -> Result<u32, WireError> {
    if (1..=PID_MAX).contains(&pid) {
        Ok(pid)
    } else {
        Err(WireError::new("pid", format!("{pid} is no process id")))
    }
}

pub(super) fn uuid<T: std::str::FromStr>(text: &str, field: &str) -> Result<T, WireError>
where
    T::Err: std::fmt::Display,
{
    text.parse()
        .map_err(|error: T::Err| WireError::new(field, error.to_string()))
}

impl From<Host> for v1::Host {
    fn from(host: Host) -> Self {
        Self {
            name: host.name,
            machine_id: host.machine_id.unwrap_or_default(),
            boot_id: host.boot_id.to_string(),
        }
    }
}

impl TryFrom<v1::Host> for Host {
    type Error = WireError;

    fn try_from(host: v1::Host) -> Result<Self, WireError> {
        let machine_id = line(host.machine_id, "machine_id", MACHINE_ID_MAX_BYTES)?;
        Ok(Self {
            name: line(host.name, "name", HOST_NAME_MAX_BYTES)?,
            machine_id: (!machine_id.is_empty()).then_some(machine_id),
            boot_id: uuid(&host.boot_id, "boot_id")?,
        })
    }
}

impl From<Child> for v1::Child {
    fn from(child: Child) -> Self {
        let (ready, stopping) = match child.phase {
            ChildPhase::Starting => (false, false),
            ChildPhase::Ready => (true, false),
            ChildPhase::Stopping => (false, true),
        };
        Self {
            incarnation: child.incarnation.get(),
            process: child.process.map(|process| process_to_wire(&process, "")),
            ready,
            stopping,
        }
    }
}

impl TryFrom<v1::Child> for Child {
    type Error = WireError;

    fn try_from(child: v1::Child) -> Result<Self, WireError> {
        let phase = match (child.stopping, child.ready) {
            (true, _) => ChildPhase::Stopping,
            (false, true) => ChildPhase::Ready,
            (false, false) => ChildPhase::Starting,
        };
        Ok(Self {
            incarnation: super::counter(child.incarnation, "incarnation", crate::id::Incarnation::new)?,
            process: optional_process(child.process)?,
            phase,
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::id::{BootId, Incarnation};
    use crate::time::Timestamp;
    use proptest::prelude::*;

    pub(in super::super) fn any_process() -> impl Strategy<Value = ProcessIdentity> {
        let inode = proptest::option::of(1u64..);
        (any::<u128>(), 1..=PID_MAX, inode, any::<u64>(), any::<u64>()).prop_map(|(boot, pid, inode, ticks, start)| {
            ProcessIdentity {
                boot_id: BootId::from_u128(boot),
                pid,
                pidfd_inode: inode,
                start_time_ticks: ticks,
                start_time: Timestamp::from_unix_nanos(start),
            }
        })
    }

    pub(in super::super) fn any_host() -> impl Strategy<Value = Host> {
        let machine_id = proptest::option::of("[0-9a-f]{1,32}");
        ("[a-z0-9.-]{0,60}", machine_id, any::<u128>()).prop_map(|(name, machine_id, boot)| Host {
            name,
            machine_id,
            boot_id: BootId::from_u128(boot),
        })
    }

    pub(in super::super) fn any_child() -> impl Strategy<Value = Child> {
        let phase = prop_oneof![
            Just(ChildPhase::Starting),
            Just(ChildPhase::Ready),
            Just(ChildPhase::Stopping)
        ];
        let process = proptest::option::of(any_process());
        (1..=super::super::COUNTER_MAX, process, phase).prop_map(|(incarnation, process, phase)| Child {
            incarnation: Incarnation::new(incarnation),
            process,
            phase,
        })
    }

    proptest! {
        #[test]
        fn processes_round_trip(process in any_process()) {
            prop_assert_eq!(process_from_wire(process_to_wire(&process, "h")), Ok(process));
        }

        #[test]
        fn hosts_round_trip(host in any_host()) {
            prop_assert_eq!(Host::try_from(v1::Host::from(host.clone())), Ok(host));
        }
    }

    #[test]
    fn limits() {
        let boot_id = BootId::from_u128(1).to_string();
        let host = |name: String, machine_id: &str| v1::Host {
            name,
            machine_id: machine_id.to_owned(),
            boot_id: boot_id.clone(),
        };
        assert!(Host::try_from(host("h".repeat(256), "")).is_err());
        assert!(Host::try_from(host("a\nb".into(), "")).is_err());
        assert!(Host::try_from(host("a".into(), &"m".repeat(65))).is_err());
        assert!(pid(0).is_err() && pid(u32::MAX).is_err());
    }
}
