//! Arbitrary holders of agents, and what they run.

use std::time::Duration;

use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use rekindle::execution::Delivery;
use rekindle::host::Host;
use rekindle::id::{BootId, Marker, ShimInstance};
use rekindle::launch::{Extent, Launch, LaunchFields};
use rekindle::session::Wanted;
use rekindle_server_core::claim::Admission;
use rekindle_server_core::record::{Claim, Holder, Unsettled};

use super::timestamp;

/// Any holder.
pub(super) fn holder() -> impl Strategy<Value = Holder> {
    let host =
        (any::<String>(), option::of(any::<String>()), any::<u128>()).prop_map(|(name, machine_id, boot_id)| Host {
            name,
            machine_id,
            boot_id: BootId::from_u128(boot_id),
        });
    let claim = select(vec![Claim::Held, Claim::Released, Claim::Left]);
    let delivery = select(vec![
        Delivery::None,
        Delivery::PerMessage,
        Delivery::Pull,
        Delivery::Stdin,
    ]);
    let flags = (option::of(any::<Duration>()), delivery);
    let ids = (any::<u128>(), any::<u128>());
    let grace = any::<Duration>();
    let times = (timestamp(), option::of(timestamp()));
    let goes_by = select(vec![Wanted::Run, Wanted::Rest]);
    let claim = (claim, option::of(launch()), option::of(unsettled()), goes_by);
    (ids, host, any::<String>(), flags, grace, times, claim).prop_map(
        |(
            (instance, marker),
            host,
            shim_version,
            (fence_after, delivery),
            stop_grace_max,
            (connected, last_heard),
            (claim, launch, unsettled, goes_by),
        )| {
            Holder {
                instance: ShimInstance::from_u128(instance),
                host,
                marker: Marker::from_u128(marker),
                shim_version,
                fence_after,
                delivery,
                stop_grace_max,
                order: rekindle::report::HelloOrder { life: 4, stream: 2 },
                connected,
                last_heard,
                claim,
                launch,
                unsettled,
                goes_by,
            }
        },
    )
}

fn unsettled() -> impl Strategy<Value = Unsettled> {
    let admission = select(vec![
        Admission::First,
        Admission::Free,
        Admission::Same,
        Admission::Successor,
        Admission::Rebooted,
        Admission::FencedOff,
    ]);
    (admission, option::of(launch())).prop_map(|(admission, launch)| Unsettled { admission, launch })
}

/// Any launch.
pub(super) fn launch() -> impl Strategy<Value = Launch> {
    let texts = || proptest::collection::vec(any::<String>(), 0..4);
    (any::<String>(), texts(), texts()).prop_map(|(directory, arguments, environment_names)| {
        Launch::new(LaunchFields {
            directory,
            arguments,
            environment_names,
            extent: Extent::Whole,
        })
    })
}
