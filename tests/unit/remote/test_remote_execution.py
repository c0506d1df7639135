"""Actions run elsewhere: stages, broken streams, servers that die quietly, Ctrl-C."""

import threading
from collections.abc import Iterator

import grpc
import pytest
from buildgrid.common.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as reapi
from buildgrid.common.protos.google.longrunning import operations_pb2 as operations
from buildgrid.common.protos.google.rpc import error_details_pb2, status_pb2
from hostile_server import HostileServer, operation, until
from remote_client import Client

from thaw import interrupt
from thaw.digest import Digest

ACTION = Digest.of_bytes(b"action")
DONE = reapi.ExecuteResponse(result=reapi.ActionResult(stdout_raw=b"built"))
LOST = operations.Operation(name="op-1")
Stream = Iterator[operations.Operation]


def run(client: Client) -> tuple[reapi.ExecuteResponse | None, list[str]]:
    stages: list[str] = []
    return client.remote.execute(ACTION, "kernel", False, stages.append), stages


def test_an_action_is_queued_runs_and_is_done(server: HostileServer, client: Client) -> None:
    server.script = [lambda: iter([operation(2), operation(2), operation(3), operation(4, DONE)])]
    assert run(client) == (DONE, ["queued", "executing", "completed"])
    ((_, request),) = [entry for entry in server.requests if entry[0] == "Execute"]
    assert request.action_digest.hash == ACTION.hash
    assert not request.skip_cache_lookup


def test_a_server_that_does_not_tell_stages_has_accepted_it(
    server: HostileServer, client: Client
) -> None:
    server.script = [lambda: iter([operation(0), operation(0, DONE)])]
    assert run(client) == (DONE, ["accepted", "completed"])


def test_a_broken_stream_is_taken_up_again(
    server: HostileServer, client: Client, said: list[str]
) -> None:
    server.script = [
        lambda: iter([operation(2)]),
        lambda: iter([operation(3)]),
        lambda: iter([operation(4, DONE)]),
    ]
    assert run(client) == (DONE, ["queued", "executing", "completed"])
    assert server.calls["Execute"] == 1 and server.calls["WaitExecution"] == 2
    assert said == []


@pytest.mark.parametrize("code", [grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNIMPLEMENTED])
def test_a_server_that_lost_the_execution_is_asked_from_the_beginning(
    code: grpc.StatusCode, server: HostileServer, client: Client, said: list[str]
) -> None:
    server.fail("WaitExecution", code)
    server.script = [lambda: iter([operation(3)]), lambda: iter([operation(4, DONE)])]
    assert run(client)[0] == DONE
    assert server.calls["Execute"] == 2
    assert said == []


def test_a_stream_that_always_breaks_costs_one_line(
    server: HostileServer, client: Client, said: list[str]
) -> None:
    server.script = [lambda: iter([operation(3)])] * 99
    assert run(client)[0] is None
    assert client.remote.offline and len(said) == 1


def test_a_quiet_server_is_asked_whether_it_lives(
    server: HostileServer, hasty_client: Client, said: list[str]
) -> None:
    def quietly() -> Stream:
        yield operation(3)
        until(lambda: server.calls["GetCapabilities"] >= 3)  # the first one was at the connection
        yield operation(4, DONE)

    server.script = [quietly]
    assert run(hasty_client)[0] == DONE
    assert said == []


def test_a_server_that_died_quietly_is_left(
    server: HostileServer, hasty_client: Client, said: list[str]
) -> None:
    def quietly() -> Stream:
        yield operation(3)
        server.hang("GetCapabilities")
        server.ended.wait()

    server.script = [quietly]
    assert run(hasty_client)[0] is None
    assert hasty_client.remote.offline
    assert len(said) == 1 and "does not answer in time" in said[0]


def test_ctrl_c_stops_the_execution_there_too(
    server: HostileServer, client: Client, said: list[str], control_c: list[bool]
) -> None:
    running = threading.Event()

    def forever() -> Stream:
        yield operation(3)
        running.set()
        server.ended.wait()

    server.script = [forever]
    threading.Thread(target=lambda: control_c.append(running.wait())).start()
    with pytest.raises(interrupt.Interrupted):
        run(client)
    assert server.cancelled == ["op-1"]
    assert said == []


def test_an_action_that_failed_is_the_callers_to_judge(
    server: HostileServer, client: Client, said: list[str]
) -> None:
    failed = reapi.ExecuteResponse(result=reapi.ActionResult(exit_code=3), message="worker 7")
    server.script = [lambda: iter([operation(4, failed)])]
    assert run(client)[0] == failed
    assert said == [] and not client.remote.offline


@pytest.mark.parametrize("as_error_of_the_operation", [False, True])
def test_a_status_of_the_action_is_handed_on(
    as_error_of_the_operation: bool, server: HostileServer, client: Client, said: list[str]
) -> None:
    status = status_pb2.Status(code=4, message="too slow\x1b[1m")
    if as_error_of_the_operation:
        message = operations.Operation(name="op-1", done=True, error=status)
    else:
        message = operation(4, reapi.ExecuteResponse(status=status))
    server.script = [lambda: iter([message])]
    response, _ = run(client)
    assert response is not None and response.status.code == 4
    assert response.status.message == status.message
    assert said == [] and not client.remote.offline


def test_a_status_beside_a_refusal_is_handed_on_with_its_details(
    server: HostileServer, client: Client, said: list[str]
) -> None:
    lost = Digest.of_bytes(b"lost")
    failure = error_details_pb2.PreconditionFailure()
    failure.violations.add(type="MISSING", subject=f"blobs/{lost}")
    status = status_pb2.Status(code=9, message="missing inputs")
    status.details.add().Pack(failure)

    def refuse(context: grpc.ServicerContext) -> None:
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "missing inputs")

    server.hooks["Execute"] = refuse
    response, _ = run(client)
    assert response is not None and response.status == status
    assert said == [] and not client.remote.offline


@pytest.mark.parametrize(
    "code",
    [
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.FAILED_PRECONDITION,
    ],
)
def test_an_action_that_a_server_refuses_is_the_callers_to_judge(
    code: grpc.StatusCode, server: HostileServer, client: Client, said: list[str]
) -> None:
    server.fail("Execute", code, said="no such input")
    response, _ = run(client)
    assert response is not None and response.status.code == code.value[0]
    assert response.status.message == "no such input"
    assert said == [] and not client.remote.offline


def test_a_cache_that_executes_nothing_is_still_a_cache(
    server: HostileServer, client: Client, said: list[str]
) -> None:
    server.exec_enabled = False
    assert run(client)[0] is None
    assert run(client)[0] is None
    assert said == [f"[remote] {server.address}: does not execute actions: running them here"]
    assert client.remote.can_upload()


def test_an_execution_without_a_response_is_a_lie(
    server: HostileServer, client: Client, said: list[str]
) -> None:
    server.script = [lambda: iter([operations.Operation(name="op-1", done=True)])]
    assert run(client)[0] is None
    assert client.remote.offline and len(said) == 1 and "without a response" in said[0]
