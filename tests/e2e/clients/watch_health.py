"""Watches the health of one service with grpcio, and prints each status on a line of its own."""

import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc


def main() -> None:
    address, service = sys.argv[1:]
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service=service)
        for answer in stub.Watch(request, wait_for_ready=True):
            print(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status), flush=True)


if __name__ == "__main__":
    main()
