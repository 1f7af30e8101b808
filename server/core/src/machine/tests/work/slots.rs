//! Slots that an operator adds or takes away while work runs.

use rekindle::policy::PolicyPatch;

use super::*;
use crate::input::{Missing, UpdateMode, UpdateRequest};

impl World {
    fn resize(&mut self, slots: u32) {
        self.request(Request::Update(Box::new(UpdateRequest {
            agent: agent(),
            policy: Some(PolicyPatch {
                max_concurrent: Some(slots),
                ..PolicyPatch::default()
            }),
            labels: None,
            etag: None,
            missing: Missing::Fail,
            mode: UpdateMode::Apply,
        })));
    }
}

#[test]
fn other_slots_count_from_the_update_on() {
    let mut world = World::at_work(|p| p.max_concurrent = 1);
    for execution in ["a", "b", "c", "d"] {
        world.send(execution);
    }
    assert_eq!(world.dispatched(), ["a#1"]);
    world.resize(3);
    assert_eq!(world.dispatched(), ["b#1", "c#1"]);
    world.resize(1);
    world.finish("a", 1, result(Verdict::Succeeded));
    world.finish("b", 1, result(Verdict::Succeeded));
    assert_eq!(world.dispatched(), [""; 0], "c has the one slot that is left");
    world.finish("c", 1, result(Verdict::Succeeded));
    assert_eq!(world.dispatched(), ["d#1"]);
}
