//! Compiles `proto/` with protox, so that no system protoc is needed, and writes the descriptor set that
//! the server's reflection service answers from.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto/rekindle");
    println!("cargo:rerun-if-changed=proto/grpc");
    #[cfg(feature = "wire")]
    compile()?;
    Ok(())
}

#[cfg(feature = "wire")]
fn compile() -> Result<(), Box<dyn std::error::Error>> {
    const FILES: [&str; 6] = [
        "rekindle/v1/agent_service.proto",
        "rekindle/v1/event_service.proto",
        "rekindle/v1/fleet_service.proto",
        "rekindle/v1/shim_service.proto",
        "rekindle/v1/agent.proto",
        "grpc/health/v1/health.proto",
    ];
    let descriptors = protox::compile(FILES, ["proto"])?;
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(
        out.join("descriptor_set.bin"),
        prost::Message::encode_to_vec(&descriptors),
    )?;
    tonic_prost_build::configure()
        // Sorted maps: what is on the wire does not depend on hash order.
        .btree_map(".")
        // What is said once a session must not make the room of each heartbeat.
        .boxed(".rekindle.v1.ConnectRequest.message.hello")
        .boxed(".rekindle.v1.ConnectRequest.message.inventory")
        .boxed(".rekindle.v1.ConnectRequest.message.report")
        .compile_fds(descriptors)?;
    Ok(())
}
