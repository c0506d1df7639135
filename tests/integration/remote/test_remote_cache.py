"""A remote cache between machines: what is taken from it, what is given to it, and what is not."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from buildgrid.common.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as reapi
from hostile_server import HostileServer
from machines import (
    ALL,
    INDEX,
    STEPS,
    Machine,
    Published,
    actions_asked_for,
    asked_for,
    large_blobs,
    remotely,
    tree_blobs,
    written_to,
)
from remote_servers import casd
from rig import Tools

from thaw.nodes import FileNode, TreeNode

SDK = """\
suite: trixie
packages: [bash, coreutils]
drop: [usr/share, usr/lib/x86_64-linux-gnu/gconv]
installed: {variable: OWN_SDK, to: opt/sdk}
"""
PRIVATE = """
own = env.Toolchain("own.yaml")
private = step("private", "cat /opt/sdk/version > /out/r", toolchain=own)
below = step("below", "cat /deps/private > /out/r", {"/deps/private": output(private)})
"""
BREAKS = """
step("breaks", "echo half > /out/r; exit 3")
"""


@pytest.fixture(params=["in memory", "buildbox-casd"])
def address(request: pytest.FixtureRequest, tools: Tools, tmp_path: Path) -> Iterator[str]:
    """An empty server."""
    if request.param == "in memory":
        with HostileServer() as server:
            server.zstd = server.zstd_batch_update = True
            yield server.address
    else:
        with casd(tmp_path / "casd", tools.bwrap) as real:
            yield real.url


def give(machine: Machine, server: HostileServer, *more: str) -> None:
    """Have a machine's build, from scratch, give its results to a server."""
    run = machine.build(f"--remote-cache={server.address}", "--remote-upload", *more)
    assert run.code == 0, run.text


# Taking


def test_what_one_machine_gave_another_takes_without_building(
    address: str, machine: Machine, fresh: Machine
) -> None:
    given = machine.build(f"--remote-cache={address}", "--remote-upload")
    assert given.built == STEPS and given.cached == {"toolchain small"}

    run = fresh.build(f"--remote-cache={address}")

    assert run.built == set() and remotely(run) == ALL, run.text
    assert fresh.index == machine.index == f"{INDEX}SOME WORDS\n"
    assert fresh.manifests() == machine.manifests()
    site = fresh.top / "out/site"
    assert (site / "link").readlink() == Path("index.html")
    assert (site / "run").stat().st_mode & 0o111


def test_only_results_and_the_files_that_were_asked_for_travel(
    fresh: Machine, server: HostileServer, published: Published
) -> None:
    run = fresh.build(f"--remote-cache={server.address}")

    site = fresh.output("site").outputs["r"]
    assert isinstance(site, TreeNode)
    wanted = tree_blobs(server, site.tree)
    assert asked_for(server) == wanted
    assert server.calls["GetActionResult"] == len(ALL)
    results = [published.results[key] for key in actions_asked_for(server)]
    received = sum(digest.size for digest in wanted) + sum(
        map(reapi.ActionResult.ByteSize, results)
    )
    assert received < 3000
    assert f"5 results; {received / 1000:.1f} kB received (3 blobs), 0 B sent" in run.text


def test_a_step_that_nobody_wants_as_files_brings_no_blob(
    fresh: Machine, server: HostileServer, published: Published
) -> None:
    run = fresh.build(f"--remote-cache={server.address}", "sums")

    assert remotely(run) == {"toolchain small", "numbers", "tree", "sums"}
    assert asked_for(server) == set()
    assert fresh.manifests().items() <= published.manifests.items()


def test_an_edit_brings_the_inputs_of_the_step_that_must_run_and_no_others(
    machine: Machine, server: HostileServer
) -> None:
    option = f"--remote-cache={server.address}"
    machine.build(option)
    before = asked_for(server)
    (machine.top / "words").write_text("other words\n")

    run = machine.build(option)

    assert run.built == {"site"}
    assert machine.index == f"{INDEX}OTHER WORDS\n"
    sums = machine.output("sums").outputs["r"]
    assert isinstance(sums, FileNode)
    # Not the megabytes of numbers and tree, from which the sums were made.
    assert asked_for(server) - before == {sums.digest}


def test_a_machine_without_the_toolchain_brings_it_when_it_must_run_something(
    fresh: Machine, server: HostileServer
) -> None:
    (fresh.top / "words").write_text("other words\n")

    run = fresh.build(f"--remote-cache={server.address}")

    assert run.built == {"site"} and remotely(run) == ALL - {"site"}
    assert fresh.index == f"{INDEX}OTHER WORDS\n"
    root = fresh.output("toolchain-small").outputs["root"]
    sums = fresh.output("sums").outputs["r"]
    assert isinstance(root, TreeNode) and isinstance(sums, FileNode)
    assert tree_blobs(server, root.tree) | {sums.digest} <= asked_for(server)
    assert asked_for(server).isdisjoint(large_blobs(fresh, server))


def test_with_nothing_to_do_the_server_is_not_even_asked(
    fresh: Machine, server: HostileServer
) -> None:
    option = f"--remote-cache={server.address}"
    fresh.build(option)
    server.calls.clear()

    run = fresh.build(option)

    assert "is up to date" in run.text
    assert not server.calls


def test_what_is_here_is_not_asked_for_there(machine: Machine, server: HostileServer) -> None:
    machine.build()
    machine.forget_out()

    run = machine.build(f"--remote-cache={server.address}")

    assert run.cached == ALL and remotely(run) == set()
    assert not server.calls


# Giving


def test_nothing_is_sent_by_who_did_not_ask_for_it(
    machine: Machine, empty_server: HostileServer
) -> None:
    run = machine.build(f"--remote-cache={empty_server.address}")

    assert run.built == STEPS
    assert empty_server.calls["GetActionResult"] == len(STEPS)
    assert written_to(empty_server) == 0
    assert "0 B sent" in run.text


def test_what_was_built_and_what_was_in_the_local_cache_is_sent(
    machine: Machine, empty_server: HostileServer, published: Published
) -> None:
    machine.build("sums")
    machine.forget_out()

    give(machine, empty_server)

    assert empty_server.results.keys() == published.results.keys()
    for key, result in published.results.items():
        given = empty_server.results[key]
        assert given.output_files == result.output_files
        assert given.output_directories == result.output_directories
    # Of each action: what it gave, with its log, and what it was.
    assert empty_server.blobs.keys() == published.blobs.keys()


def test_what_the_server_has_is_not_sent_again(
    machine: Machine, server: HostileServer, published: Published
) -> None:
    machine.build()
    machine.forget_out()

    give(machine, server)

    assert written_to(server) == 0


def test_a_failed_action_is_not_sent(
    machine: Machine, server: HostileServer, published: Published
) -> None:
    with open(machine.top / "SConstruct", "a") as stream:
        stream.write(BREAKS)
    with pytest.raises(AssertionError, match="breaks: failed: exit code 3"):
        give(machine, server, "out/manifests/breaks.json")

    assert server.results == published.results
    assert written_to(server) == 0


def test_what_an_installed_sdk_made_and_all_that_depends_on_it_stays_here(
    machine: Machine, server: HostileServer, published: Published, tmp_path: Path
) -> None:
    (machine.top / "own.yaml").write_text(SDK)
    (machine.top / "own.lock").write_text((machine.top / "small.lock").read_text())
    with open(machine.top / "SConstruct", "a") as stream:
        stream.write(PRIVATE)
    sdk = tmp_path / "sdk"
    sdk.mkdir()
    (sdk / "version").write_text("secret\n")
    options = [f"--remote-cache={server.address}", "--remote-upload"]

    run = machine.build(*options, "out/manifests/below.json", environment={"OWN_SDK": str(sdk)})

    assert run.code == 0 and run.built == {"toolchain own", "private", "below"}, run.text
    # It was asked about the public toolchain that ``below`` has, and the sandbox: both known.
    assert actions_asked_for(server) <= published.results.keys()
    assert asked_for(server) == set() and written_to(server) == 0
    platform = json.loads(machine.manifests()["below"])["platform"]
    assert platform == {"thaw-shareable": "no"}


def test_a_server_that_takes_no_results_is_still_read_from(
    make_machine: Callable[[str], Machine], server: HostileServer
) -> None:
    server.update_enabled = False
    machine = make_machine("one")
    (machine.top / "words").write_text("other words\n")

    give(machine, server)

    assert machine.index == f"{INDEX}OTHER WORDS\n"
    assert written_to(server) == 0
