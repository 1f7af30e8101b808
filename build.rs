//! Compiles `proto/` with protox, so that no system protoc is needed, and writes the descriptor set that
//! the server's reflection service answers from. What a shim offers to its agent is a set of its own: no server serves it.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto/rekindle");
    println!("cargo:rerun-if-changed=proto/grpc");
    #[cfg(feature = "wire")]
    compile()?;
    Ok(())
}

#[cfg(feature = "wire")]
fn compile() -> Result<(), Box<dyn std::error::Error>> {
    const FILES: [&str; 12] = [
        "rekindle/v1/agent_service.proto",
        "rekindle/v1/checkpoint_service.proto",
        "rekindle/v1/event_service.proto",
        "rekindle/v1/execution_service.proto",
        "rekindle/v1/fleet_service.proto",
        "rekindle/v1/shim_service.proto",
        "rekindle/v1/workflow_service.proto",
        "rekindle/v1/agent.proto",
        "rekindle/v1/checkpoint.proto",
        "rekindle/v1/execution.proto",
        "rekindle/v1/workflow.proto",
        "grpc/health/v1/health.proto",
    ];
    const AGENT_FILES: [&str; 2] = [
        "rekindle/agent/v1/checkpoint_service.proto",
        "rekindle/agent/v1/work_service.proto",
    ];
    let of_agent = describe(AGENT_FILES, "agent_descriptor_set.bin")?;
    tonic_prost_build::configure().btree_map(".").compile_fds(of_agent)?;
    let descriptors = describe(FILES, "descriptor_set.bin")?;
    tonic_prost_build::configure()
        // Sorted maps: what is on the wire does not depend on hash order.
        .btree_map(".")
        // What is said once a session must not make the room of each heartbeat.
        .boxed(".rekindle.v1.ConnectRequest.message.hello")
        .boxed(".rekindle.v1.ConnectRequest.message.inventory")
        .boxed(".rekindle.v1.ConnectRequest.message.report")
        .boxed(".rekindle.v1.ConnectRequest.message.checkpoint")
        .boxed(".rekindle.v1.ConnectResponse.message.run")
        .boxed(".rekindle.v1.Report.fact.attempt_finished")
        .boxed(".rekindle.v1.WatchExecutionResponse.update.execution")
        .compile_fds(descriptors)?;
    Ok(())
}

/// Parses files, and writes their descriptors with those of all that they import.
#[cfg(feature = "wire")]
fn describe<const N: usize>(
    files: [&str; N],
    to: &str,
) -> Result<prost_types::FileDescriptorSet, Box<dyn std::error::Error>> {
    let descriptors = protox::compile(files, ["proto"])?;
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join(to), prost::Message::encode_to_vec(&descriptors))?;
    Ok(descriptors)
}
