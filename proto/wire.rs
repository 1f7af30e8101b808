//! The generated types of `rekindle.v1` and of what a shim offers to its agent, and the descriptors of both.

/// Package `rekindle.v1`.
pub mod v1 {
    #![expect(missing_docs, reason = "generated; the contract is documented in proto/rekindle/v1")]
    #![expect(
        clippy::allow_attributes,
        clippy::allow_attributes_without_reason,
        reason = "generated"
    )]
    tonic::include_proto!("rekindle.v1");
}

/// Package `rekindle.agent.v1`: what a shim offers to its agent, on the socket that `REKINDLE_SOCKET` names.
pub mod agent_v1 {
    #![expect(
        missing_docs,
        reason = "generated; the contract is documented in proto/rekindle/agent/v1"
    )]
    #![expect(
        clippy::allow_attributes,
        clippy::allow_attributes_without_reason,
        reason = "generated"
    )]
    tonic::include_proto!("rekindle.agent.v1");
}

/// Package `grpc.health.v1`, with `List`, which tonic-health's own copy does not have.
pub mod health {
    #![expect(
        missing_docs,
        reason = "generated; the contract is documented in proto/grpc/health/v1"
    )]
    #![expect(
        clippy::allow_attributes,
        clippy::allow_attributes_without_reason,
        reason = "generated"
    )]
    tonic::include_proto!("grpc.health.v1");
}

/// Every file of the server's API with what it imports, as an encoded `google.protobuf.FileDescriptorSet`.
pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor_set.bin"));

/// The same of the API that a shim offers to its agent.
pub const AGENT_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/agent_descriptor_set.bin"));
