//! What a shim says of itself first: `Hello`.

use std::time::Duration;

use super::WireError;
use super::execution::delivery;
use super::policy::{policy_from_wire, policy_to_wire};
use super::process::{SHIM_VERSION_MAX_BYTES, uuid};
use super::text::line;
use super::time::{duration_to_wire, optional_duration};
use crate::id::AgentId;
use crate::label;
use crate::policy::AgentPolicy;
use crate::report::{FENCE_AFTER, Hello, HelloOrder};
use crate::wire::v1;

impl TryFrom<v1::Hello> for Hello {
    type Error = WireError;

    fn try_from(hello: v1::Hello) -> Result<Self, WireError> {
        label::check(&hello.labels).map_err(|error| WireError::new("labels", error.to_string()))?;
        let policy = match &hello.policy {
            Some(policy) => policy_from_wire(policy).map_err(|error| error.within("policy"))?,
            None => AgentPolicy::default(),
        };
        let host = hello.host.ok_or_else(|| WireError::missing("host"))?;
        Ok(Self {
            agent: AgentId::from_name(&hello.agent).map_err(|error| WireError::new("agent", error.to_string()))?,
            shim_version: line(hello.shim_version, "shim_version", SHIM_VERSION_MAX_BYTES)?,
            instance: uuid(&hello.instance, "instance")?,
            host: host.try_into().map_err(|error: WireError| error.within("host"))?,
            marker: uuid(&hello.marker, "marker")?,
            labels: hello.labels,
            policy,
            fence_after: fence_after(hello.fence_after)?,
            order: HelloOrder {
                life: hello.life,
                stream: hello.stream,
            },
            launch: hello.launch.map(Into::into),
            delivery: delivery(hello.delivery)?,
        })
    }
}

fn fence_after(duration: Option<prost_types::Duration>) -> Result<Option<Duration>, WireError> {
    const FIELD: &str = "fence_after";
    let duration = optional_duration(duration, FIELD)?;
    match duration {
        Some(other) if !FENCE_AFTER.contains(&other) => Err(WireError::new(FIELD, "is not between 1s and 30days")),
        Some(_) | None => Ok(duration),
    }
}

impl From<Hello> for v1::Hello {
    fn from(hello: Hello) -> Self {
        Self {
            agent: hello.agent.name(),
            shim_version: hello.shim_version,
            instance: hello.instance.to_string(),
            host: Some(hello.host.into()),
            marker: hello.marker.to_string(),
            labels: hello.labels,
            policy: Some(policy_to_wire(&hello.policy)),
            fence_after: hello.fence_after.map(duration_to_wire),
            life: hello.order.life,
            stream: hello.order.stream,
            launch: hello.launch.map(Into::into),
            delivery: v1::Delivery::from(hello.delivery).into(),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::launch::tests::any_launch;
    use super::super::policy::tests::any_policy;
    use super::super::process::tests::any_host;
    use super::*;
    use crate::execution::Delivery;
    use crate::id::{Marker, ShimInstance};
    use proptest::prelude::*;

    pub(in super::super) fn any_hello() -> impl Strategy<Value = Hello> {
        let labels = proptest::collection::btree_map("[a-z][a-z0-9_-]{0,10}", "[ -~]{0,20}", 0..5);
        let ids = (any::<u128>(), any::<u128>());
        let fence = proptest::option::of((1_000_000_000u64..=1_000_000_000_000).prop_map(Duration::from_nanos));
        (
            "[a-z0-9]{1,20}",
            any_host(),
            labels,
            any_policy(),
            ids,
            fence,
            any_launch(),
        )
            .prop_map(|(agent, host, labels, policy, ids, fence_after, launch)| Hello {
                agent: AgentId::new(&agent).expect("within the alphabet"),
                shim_version: "0.1.0".into(),
                instance: ShimInstance::from_u128(ids.0),
                host,
                marker: Marker::from_u128(ids.1),
                labels,
                policy,
                fence_after,
                order: HelloOrder { life: 3, stream: 7 },
                launch: Some(launch),
                delivery: Delivery::Pull,
            })
    }

    fn hello() -> v1::Hello {
        let id = Marker::from_u128(1).to_string();
        v1::Hello {
            agent: "agents/a".into(),
            instance: id.clone(),
            marker: id.clone(),
            host: Some(v1::Host {
                name: "h".into(),
                machine_id: String::new(),
                boot_id: id,
            }),
            ..Default::default()
        }
    }

    #[test]
    fn errors_name_the_field() {
        let field = |change: fn(&mut v1::Hello)| {
            let mut hello = hello();
            change(&mut hello);
            Hello::try_from(hello).err().map(|error| error.field)
        };
        let is = |change, expected: &str| assert_eq!(field(change).as_deref(), Some(expected));
        assert_eq!(field(|_| ()), None);
        is(|hello| hello.agent = "a".into(), "agent");
        is(|hello| hello.host = None, "host");
        is(|hello| hello.shim_version = "v".repeat(65), "shim_version");
        is(|hello| hello.marker.clear(), "marker");
        is(
            |hello| hello.fence_after = Some(prost_types::Duration::default()),
            "fence_after",
        );
        is(|hello| _ = hello.labels.insert("A".into(), "b".into()), "labels");
    }
}
