"""A remote cache that is down, dies, is silent or slow: one line, and the build goes on."""

import os
import signal
import socket
import time

import grpc
import pytest
from hostile_server import HostileServer
from machines import (
    ALL,
    INDEX,
    STEPS,
    Machine,
    Published,
    asked_for,
    false_blobs,
    finish,
    remotely,
    warnings,
)
from remote_servers import casd
from rig import Tools

# Between ``sums`` and ``site`` the build waits until someone opens the other end of the pipe.
GATE = """
gate = env.Command("out/gate", sums, "cat gate > $TARGET")
env.Depends(site, gate)
"""


def has_built_by_itself(machine: Machine, published: Published) -> None:
    """The results are right, and nothing false is in the cache."""
    assert machine.index == published.index == f"{INDEX}SOME WORDS\n"
    assert machine.manifests() == published.manifests
    assert false_blobs(machine.cache) == []


def test_a_server_that_is_down_costs_one_line(machine: Machine, published: Published) -> None:
    with socket.socket() as listener:  # bound, so that it is nobody else's; it never listens
        listener.bind(("127.0.0.1", 0))
        address = f"grpc://127.0.0.1:{listener.getsockname()[1]}"
        run = machine.build(f"--remote-cache={address}", "--remote-upload")

    assert run.code == 0 and run.built == STEPS
    assert warnings(run) == [
        f"[remote] {address}: cannot be reached (Connection refused): going on without it"
    ]
    has_built_by_itself(machine, published)


def test_a_server_killed_between_two_steps_costs_one_line(
    machine: Machine, fresh: Machine, tools: Tools, published: Published
) -> None:
    with casd(fresh.cache / "casd", tools.bwrap) as server:
        option = f"--remote-cache={server.url}"
        assert machine.build(option, "--remote-upload").code == 0
        with open(fresh.top / "SConstruct", "a") as stream:
            stream.write(GATE)
        os.mkfifo(fresh.top / "gate")
        build = fresh.start(option)
        with open(fresh.top / "gate", "w"):  # opens when the build is there
            server.processes.kill("casd")
        run = finish(build)

    assert run.code == 0, run.text
    (warning,) = warnings(run)
    assert warning.startswith(f"[remote] {server.url}: cannot be reached")
    # The site was still to be made, and of what it needs only digests were here.
    assert remotely(run) == ALL - {"site"}
    assert run.built == {"site"}
    has_built_by_itself(fresh, published)


@pytest.mark.parametrize("method", ["GetCapabilities", "GetActionResult", "BatchReadBlobs"])
def test_a_server_that_is_silent_costs_one_line(
    method: str, machine: Machine, server: HostileServer, published: Published
) -> None:
    server.hang(method)
    machine.configure("remote-timeout: 1")

    run = machine.build(f"--remote-cache={server.address}")

    assert run.code == 0, run.text
    (warning,) = warnings(run)
    assert warning == (
        f"[remote] {server.address}: does not answer in time (1 s): going on without it"
    )
    has_built_by_itself(machine, published)


def test_a_server_that_is_slow_costs_one_line(
    machine: Machine, server: HostileServer, published: Published
) -> None:
    """Results come at once; of the megabytes that ``sums`` needs, one piece comes in a while."""
    for name in ("sums", "site"):
        del server.results[published.actions[name].hash]
    server.piece, server.pause = 100, 0.3

    machine.configure("remote-timeout: 1")

    run = machine.build(f"--remote-cache={server.address}")

    assert run.code == 0, run.text
    assert asked_for(server) != set()
    (warning,) = warnings(run)
    assert "is too slow: under 10 kB/s: going on without it" in warning
    has_built_by_itself(machine, published)


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.INTERNAL])
def test_a_server_that_takes_no_upload_costs_one_line(
    code: grpc.StatusCode, machine: Machine, empty_server: HostileServer, published: Published
) -> None:
    for method in ("BatchUpdateBlobs", "Write", "UpdateActionResult"):
        empty_server.fail(method, code)

    run = machine.build(f"--remote-cache={empty_server.address}", "--remote-upload")

    assert run.code == 0 and run.built == STEPS
    assert len(warnings(run)) == 1
    assert not empty_server.results
    has_built_by_itself(machine, published)


@pytest.mark.parametrize("method", ["GetCapabilities", "GetActionResult", "BatchReadBlobs"])
def test_ctrl_c_ends_the_build_while_a_server_is_silent(
    method: str, machine: Machine, server: HostileServer
) -> None:
    called = server.hang(method)
    machine.configure("remote-timeout: 1000")
    build = machine.start(f"--remote-cache={server.address}")
    assert called.wait(60)

    pressed = time.monotonic()
    build.send_signal(signal.SIGINT)
    run = finish(build, seconds=20)

    assert time.monotonic() - pressed < 10  # and not the thousand seconds of the time-out
    assert run.code != 0
    assert "interrupted" in run.text
    assert warnings(run) == []
    server.hooks.clear()
    assert machine.build(f"--remote-cache={server.address}").code == 0


def test_ctrl_c_ends_the_build_in_the_middle_of_an_upload(
    machine: Machine, empty_server: HostileServer, published: Published
) -> None:
    called = empty_server.hang("BatchUpdateBlobs")
    machine.configure("remote-timeout: 1000")
    build = machine.start(f"--remote-cache={empty_server.address}", "--remote-upload")
    assert called.wait(60)

    build.send_signal(signal.SIGINT)
    run = finish(build, seconds=20)

    assert run.code != 0 and "interrupted" in run.text
    assert not empty_server.results, "a result whose blobs were not all sent"
    assert machine.build().code == 0
    has_built_by_itself(machine, published)
