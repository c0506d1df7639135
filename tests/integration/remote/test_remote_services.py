"""A service that executes, and does not do as it should."""

import signal
import subprocess
from collections.abc import Iterator

import pytest
from buildgrid.common.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as reapi
from buildgrid.common.protos.google.longrunning import operations_pb2 as operations
from buildgrid.common.protos.google.rpc import code_pb2, status_pb2
from hostile_server import HostileServer, operation, until
from machines import (
    ALL,
    INDEX,
    STEPS,
    Machine,
    Published,
    false_blobs,
    finish,
    remotely,
    warnings,
    written_to,
)

from thaw.digest import Digest
from thaw.nodes import from_proto, to_proto

Stream = Iterator[operations.Operation]
QUEUED, EXECUTING, COMPLETED = 2, 3, 4


@pytest.fixture
def server(server: HostileServer, published: Published) -> HostileServer:
    """It has all results but that of ``site``, which the machine therefore wants executed."""
    del server.results[published.actions["site"].hash]
    return server


def done(response: reapi.ExecuteResponse) -> Stream:
    return iter([operation(QUEUED), operation(EXECUTING), operation(COMPLETED, response)])


def good(published: Published) -> reapi.ExecuteResponse:
    """What an honest service would answer."""
    result = published.results[published.actions["site"].hash]
    return reapi.ExecuteResponse(result=result)


def failed(code: int, message: str = "as told") -> reapi.ExecuteResponse:
    return reapi.ExecuteResponse(status=status_pb2.Status(code=code, message=message))


def is_right(machine: Machine, published: Published) -> None:
    assert machine.index == published.index == f"{INDEX}SOME WORDS\n"
    assert machine.manifests() == published.manifests
    assert false_blobs(machine.cache) == []


def inputs_of_site(published: Published) -> set[Digest]:
    """Blobs that the service must have to run it: action, inputs and the toolchain's files."""
    action = reapi.Action.FromString(published.blobs[published.actions["site"]])
    found = {published.actions["site"], from_proto(action.command_digest)}
    pending = [from_proto(action.input_root_digest)]
    while pending:
        directory = reapi.Directory.FromString(published.blobs[pending[-1]])
        found.add(pending.pop())
        found |= {from_proto(file.digest) for file in directory.files}
        pending += [from_proto(child.digest) for child in directory.directories]
    return found


def test_the_service_is_given_all_that_the_action_needs(
    machine: Machine, server: HostileServer, published: Published
) -> None:
    needed = inputs_of_site(published)
    for digest in needed - {machine_input(published)}:  # made elsewhere: here it is but a digest
        server.blobs.pop(digest, None)
    server.script = [lambda: done(good(published))]

    run = machine.build(f"--remote-executor={server.address}")

    assert run.code == 0, run.text
    assert run.built == {"site"} and remotely(run) == STEPS
    assert needed <= server.blobs.keys()
    is_right(machine, published)


def machine_input(published: Published) -> Digest:
    (file,) = published.results[published.actions["sums"].hash].output_files
    return from_proto(file.digest)


def test_inputs_that_the_service_lost_are_sent_again(
    machine: Machine, server: HostileServer, published: Published
) -> None:
    needed = inputs_of_site(published) - {machine_input(published)}

    def lose() -> Stream:
        for digest in needed:
            server.blobs.pop(digest)
        yield from done(failed(code_pb2.FAILED_PRECONDITION))

    server.script = [lose, lambda: done(good(published))]

    run = machine.build(f"--remote-executor={server.address}")

    assert run.code == 0 and remotely(run) == STEPS, run.text
    assert server.calls["Execute"] == 2
    assert needed <= server.blobs.keys()
    is_right(machine, published)


def lost(published: Published) -> reapi.ExecuteResponse:
    return failed(code_pb2.FAILED_PRECONDITION)


def broken(published: Published) -> reapi.ExecuteResponse:
    return failed(code_pb2.INTERNAL, "the worker is on fire")


def another_output(published: Published) -> reapi.ExecuteResponse:
    response = good(published)
    nothing = to_proto(Digest.of_bytes(b""))
    response.result.output_files.add(path="out/../../more", digest=nothing)
    return response


def a_tree_that_nobody_has(published: Published) -> reapi.ExecuteResponse:
    response = good(published)
    nowhere = to_proto(Digest.of_bytes(b"nowhere"))
    response.result.output_directories[0].tree_digest.CopyFrom(nowhere)
    del response.result.execution_metadata.auxiliary_metadata[:]
    return response


@pytest.mark.parametrize("answer", [lost, broken, another_output])
def test_what_a_service_cannot_do_or_lies_about_is_done_here(
    answer: object, machine: Machine, server: HostileServer, published: Published
) -> None:
    assert callable(answer)
    server.script = [lambda: done(answer(published))] * 3

    run = machine.build(f"--remote-executor={server.address}")

    assert run.code == 0, run.text
    assert run.built == {"site"} and remotely(run) == ALL - {"site", "toolchain small"}
    (warning,) = [line for line in warnings(run) if server.address in line]
    assert warning.endswith(": going on without it")
    is_right(machine, published)


def test_an_output_that_the_service_does_not_have_is_made_here(
    machine: Machine, server: HostileServer, published: Published
) -> None:
    server.script = [lambda: done(a_tree_that_nobody_has(published))]

    run = machine.build(f"--remote-executor={server.address}")

    assert run.code == 0 and run.built == {"site"}, run.text
    assert remotely(run) == STEPS - {"site"}
    assert run.text.count("is missing or damaged: running it here") == 1
    is_right(machine, published)


def test_a_service_that_only_stores_is_a_cache(
    machine: Machine, server: HostileServer, published: Published
) -> None:
    server.exec_enabled = False

    run = machine.build(f"--remote-executor={server.address}")

    assert run.code == 0 and run.built == {"site"}
    (warning,) = warnings(run)
    assert warning.endswith("does not execute actions: running them here")
    is_right(machine, published)


def test_a_failure_shows_what_the_service_says_and_its_logs(
    machine: Machine, server: HostileServer
) -> None:
    response = reapi.ExecuteResponse(message="see https://service.example/4711\x1b[31m")
    response.result.exit_code = 3
    response.result.stdout_raw = b"the cause\n"
    response.result.stderr_digest.CopyFrom(to_proto(server.put(b"on stderr\n")))
    response.server_logs["worker"].digest.CopyFrom(to_proto(server.put(b"out of luck\n")))
    server.script = [lambda: done(response)]

    run = machine.build(f"--remote-executor={server.address}")

    assert run.code == 2
    text = run.text.partition("scons: *** ")[2]
    expected = [
        f"[out/manifests/site.json] site: failed on {server.address}: exit code 3",
        "  | the cause",
        "  | on stderr",
        "  the service says: see https://service.example/4711 [31m",
        "  its log worker:",
        "  | out of luck",
    ]
    assert text.splitlines()[: len(expected)] == expected
    enter = text.partition("look inside its sandbox: ")[2].splitlines()[0]
    shell = subprocess.run([enter], input="cat /src/words", capture_output=True, text=True)
    assert shell.stdout.splitlines()[-1] == "some words", shell.stderr
    assert "site" not in machine.manifests()


def test_what_may_not_leave_this_machine_does_not_run_elsewhere(
    machine: Machine, server: HostileServer
) -> None:
    with open(machine.top / "SConstruct", "a") as stream:
        stream.write('step("own", "echo > /out/r", platform={"thaw-shareable": "no"})\n')

    run = machine.build(f"--remote-executor={server.address}", "out/manifests/own.json")

    assert run.code == 0 and run.built == {"own"} and remotely(run) == set()
    assert server.calls["Execute"] == written_to(server) == 0


def test_ctrl_c_asks_the_service_to_stop(machine: Machine, server: HostileServer) -> None:
    def forever() -> Stream:
        yield operation(QUEUED)
        yield operation(EXECUTING)
        server.ended.wait()

    server.script = [forever]
    build = machine.start(f"--remote-executor={server.address}")
    assert build.stdout is not None
    lines = iter(build.stdout.readline, "")
    assert "[remote] site: executing\n" in lines

    build.send_signal(signal.SIGINT)
    run = finish(build, 20)

    assert run.code != 0 and "interrupted" in run.text
    until(lambda: server.cancelled == ["op-1"])
