//! What a shim runs its agent's program with. What is too long is cut, not refused.

use crate::launch::{Extent, Launch, LaunchFields};
use crate::wire::v1;

impl From<v1::Launch> for Launch {
    fn from(launch: v1::Launch) -> Self {
        Self::new(LaunchFields {
            directory: launch.directory,
            arguments: launch.arguments,
            environment_names: launch.environment_names,
            extent: if launch.truncated { Extent::Cut } else { Extent::Whole },
        })
    }
}

impl From<Launch> for v1::Launch {
    fn from(launch: Launch) -> Self {
        Self {
            directory: launch.directory().to_owned(),
            arguments: launch.arguments().to_vec(),
            environment_names: launch.environment_names().to_vec(),
            truncated: launch.extent() == Extent::Cut,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(in crate::convert) fn any_launch() -> impl Strategy<Value = Launch> {
        let texts = || proptest::collection::vec("[ -~]{0,20}", 0..5);
        let extent = prop_oneof![Just(Extent::Whole), Just(Extent::Cut)];
        ("/[a-z/]{0,40}", texts(), texts(), extent).prop_map(|(directory, arguments, environment_names, extent)| {
            Launch::new(LaunchFields {
                directory,
                arguments,
                environment_names,
                extent,
            })
        })
    }
}
