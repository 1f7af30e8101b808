//! The processes of a fleet, as ListProcesses tells of them.

use std::collections::{BTreeMap, BTreeSet};

use rekindle::wire::v1::{AgentProcess, AgentState, ExecutionState, ListProcessesRequest};
use rekindle_e2e::client::{name, runs};
use rekindle_e2e::work::{in_state, open_gate, until_file};
use rekindle_e2e::{Client, World, eventually, process};

/// All that ListProcesses has, one a page: so that no page's end can hide one.
async fn listed(client: &mut Client, filter: &str) -> Vec<AgentProcess> {
    let mut request = ListProcessesRequest {
        page_size: 1,
        filter: filter.to_owned(),
        ..Default::default()
    };
    let mut all = Vec::new();
    loop {
        let page = client.agents.list_processes(request.clone()).await;
        let page = page.expect("ListProcesses succeeds").into_inner();
        assert!(page.processes.len() <= 1, "the page's size is kept");
        all.extend(page.processes);
        if page.next_page_token.is_empty() {
            return all;
        }
        request.page_token = page.next_page_token;
    }
}

/// What the messages' own processes have noted: which of them each works on.
fn noted(world: &World) -> BTreeMap<String, u32> {
    let text = std::fs::read_to_string(world.path("begun")).unwrap_or_default();
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    pairs
        .filter_map(|(id, pid)| Some((format!("agents/a/executions/{id}"), pid.parse().ok()?)))
        .collect()
}

/// Checks that an entry names this process, and no later one of its number.
fn is_of(entry: &AgentProcess, pid: u32) {
    let told = entry.process.as_ref().expect("a process is listed");
    let (inode, ticks) = process::identity(pid).expect("what is listed lives");
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("Linux tells it");
    assert_eq!((told.pid, told.start_time_ticks), (pid, ticks), "{entry:#?}");
    assert_eq!(told.boot_id, boot.trim());
    // Zero on kernels that have none (before 6.9).
    assert!(told.pidfd_inode == inode || told.pidfd_inode == 0, "{entry:#?}");
    assert_eq!((entry.incarnation, entry.state()), (1, AgentState::Running));
}

#[tokio::test]
async fn messages_that_run_side_by_side_are_listed_each_with_its_own() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let script = format!("echo \"$REKINDLE_EXECUTION $$\" >> begun; {}", until_file(&world));
    let shim = world.shim("a").flag("--max-concurrent", "3");
    let _shim = shim.per_message(&script).start(&server);
    let _beside = world.shim("b").start(&server);
    client.until("a", runs(1)).await;
    let beside = client.until("b", runs(1)).await.process.expect("it has a process");
    let mut given = Vec::new();
    for gate in ["one", "two", "three", "four"] {
        given.push(client.give("a", gate).await.name);
    }
    for name in &given[..3] {
        client.until_execution(name, in_state(ExecutionState::Running)).await;
    }
    let begun = eventually("three of them", async || {
        Some(noted(&world)).filter(|noted| noted.len() == 3)
    })
    .await;
    assert_eq!(begun.values().collect::<BTreeSet<_>>().len(), 3, "each has its own");

    let all = listed(&mut client, "").await;
    assert_eq!(all.len(), 4, "{all:#?}");
    for entry in &all {
        if entry.agent == name("b") {
            assert_eq!((entry.execution.as_str(), &entry.process), ("", &Some(beside.clone())));
            is_of(entry, beside.pid);
        } else {
            assert_eq!(entry.agent, name("a"));
            is_of(entry, begun[&entry.execution]);
            let execution = client.execution(&entry.execution).await.expect("GetExecution succeeds");
            assert_eq!(execution.process, entry.process, "both tell the same");
        }
    }
    let executions: BTreeSet<&String> = all.iter().map(|entry| &entry.execution).collect();
    assert_eq!(executions.len(), 4, "each once: {all:#?}");
    let others = listed(&mut client, "name = \"agents/b\"").await;
    assert_eq!(others.len(), 1, "{others:#?}");

    open_gate(&world, "two");
    client
        .until_execution(&given[1], in_state(ExecutionState::Succeeded))
        .await;
    client
        .until_execution(&given[3], in_state(ExecutionState::Running))
        .await;
    let rest = listed(&mut client, "name = \"agents/a\"").await;
    let rest: BTreeSet<&String> = rest.iter().map(|entry| &entry.execution).collect();
    assert_eq!(rest, BTreeSet::from([&given[0], &given[2], &given[3]]));
}
