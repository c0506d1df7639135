"""Options of a remote service: what is wrong with them is said, what is secret is not."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from hostile_server import HostileServer
from machines import ALL, STEPS, Machine, Published, files_below, finish, remotely, warnings
from remote_servers import Server, Tls, buildgrid
from rig import Tools

SECRET = "3o7s-wellkept"
ADDRESS = "grpcs://cache.example:443"


@pytest.mark.parametrize(
    "options, error",
    [
        (["--remote-cache=cache:8980"], "--remote-cache=cache:8980: not an address"),
        (["--remote-cache=http://cache"], "--remote-cache=http://cache: not an address"),
        (["--remote-executor=nonsense"], "--remote-executor=nonsense: not an address"),
        (["--remote-cache=grpc://h:1/main"], "--remote-cache=grpc://h:1/main: has a path"),
        (
            [f"--remote-cache=grpcs://:{SECRET}@cache"],
            "--remote-cache: no user, password or token in an address",
        ),
        (
            [f"--remote-cache=grpcs://cache?token={SECRET}"],
            "--remote-cache: no user, password or token in an address",
        ),
        (["--remote-upload"], "--remote-upload: there is no remote cache to upload to"),
        (
            [f"--remote-cache={ADDRESS}", "--tls-ca=none.pem"],
            "--tls-ca=none.pem: cannot be read: No such file or directory",
        ),
        (
            [f"--remote-cache={ADDRESS}", "--tls-ca=words"],
            "--tls-ca=words: not a PEM file",
        ),
        (
            [f"--remote-cache={ADDRESS}", "--tls-client-key=words"],
            "--tls-client-key: needs --tls-client-certificate too",
        ),
        (
            [f"--remote-cache={ADDRESS}", "--remote-header-file=none"],
            "--remote-header-file=none: cannot be read: No such file or directory",
        ),
        (
            [f"--remote-cache={ADDRESS}", "--remote-header-file=secret"],
            "--remote-header-file=secret, line 1: not of the form 'Name: value'",
        ),
        (
            [f"--remote-cache={ADDRESS}", "--remote-timeout=0"],
            "--remote-timeout=0: must be 1 second or more",
        ),
        (
            [f"--remote-cache={ADDRESS}", "--remote-timeout=soon"],
            "--remote-timeout=soon: not a whole number",
        ),
        (
            [f"--remote-cache={ADDRESS}", "--remote-instance=a/blobs/b"],
            "--remote-instance='a/blobs/b': not an instance name",
        ),
    ],
)
def test_a_wrong_option_is_one_error_that_names_it(
    options: list[str], error: str, machine: Machine
) -> None:
    (machine.top / "secret").write_text(f"{SECRET}\n")
    (machine.top / "secret").chmod(0o600)

    run = machine.build(*options)

    assert run.code == 2
    first, *rest = run.text.splitlines()
    assert first.startswith(f"thaw: {error}")
    assert len(rest) <= 1 and all(line.startswith("  next: ") for line in rest), run.text
    assert SECRET not in run.text


def test_a_time_out_of_the_command_line_is_that_of_the_configuration(
    machine: Machine, server: HostileServer
) -> None:
    server.hang("GetActionResult")
    machine.configure("remote-timeout: 1000\n")

    run = machine.build(f"--remote-cache={server.address}", "--remote-timeout=1")

    assert run.code == 0
    (warning,) = warnings(run)
    assert "does not answer in time (1 s)" in warning


def test_all_options_can_stand_in_the_configuration(
    machine: Machine, empty_server: HostileServer, published: Published
) -> None:
    empty_server.instance = "main"
    machine.configure(
        f"remote-cache: {empty_server.address}\nremote-upload: true\nremote-instance: main\n"
    )

    run = machine.build()

    assert run.built == STEPS and warnings(run) == []
    assert empty_server.results.keys() == published.results.keys()


# Secrets


def command_lines(build: int) -> str:
    """Command lines of a process and of all that it has started."""
    text = ""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = (path / "stat").read_text().rpartition(")")[2].split()[1]
            if str(build) in (path.name, parent):
                text += (path / "cmdline").read_text()
        except OSError:  # it just ended
            continue
    return text


@pytest.mark.parametrize("how", ["file", "environment", "headers of the environment"])
def test_a_token_is_sent_and_nowhere_to_be_seen(
    how: str, machine: Machine, server: HostileServer, tmp_path: Path
) -> None:
    server.headers = {"authorization": f"Bearer {SECRET}"}
    options, environment = [f"--remote-cache={server.address}", "--remote-upload"], {}
    if how == "file":
        headers = tmp_path / "headers"
        headers.write_text(f"Authorization: Bearer {SECRET}\n")
        headers.chmod(0o600)
        options.append(f"--remote-header-file={headers}")
    elif how == "environment":
        environment["THAW_REMOTE_TOKEN"] = SECRET
    else:
        environment["THAW_REMOTE_HEADERS"] = f"Authorization: Bearer {SECRET}"
    # A step of its own, which runs until the server has been asked for a result.
    (machine.top / "words").write_text("other words\n")
    called = server.hang("UpdateActionResult")
    build = machine.start(*options, environment=environment)
    assert called.wait(60)

    seen = command_lines(build.pid)
    server.hooks.clear()
    server.ended.set()  # lets the call that hangs go
    run = finish(build)

    assert "--remote-upload" in seen and SECRET not in seen
    assert run.code == 0 and run.built == {"site"}, run.text
    assert warnings(run) == []
    assert SECRET not in run.text
    kept = files_below(machine.top / "out") + files_below(machine.cache)
    assert not [path for path in kept if SECRET.encode() in path.read_bytes()]


def test_no_step_sees_the_token(machine: Machine, server: HostileServer) -> None:
    with open(machine.top / "SConstruct", "a") as stream:
        stream.write('step("curious", "env; cat /proc/*/environ > /out/r")\n')

    run = machine.build(
        f"--remote-cache={server.address}",
        "out/manifests/curious.json",
        environment={"THAW_REMOTE_TOKEN": SECRET},
    )

    assert run.code == 0, run.text
    kept = files_below(machine.cache)
    assert not [path for path in kept if SECRET.encode() in path.read_bytes()]


def test_a_wrong_token_costs_one_line_without_it(machine: Machine, server: HostileServer) -> None:
    server.headers = {"authorization": "Bearer another"}
    server.fail("GetCapabilities", grpc.StatusCode.UNAUTHENTICATED, said=f"not {SECRET}")
    server.headers.clear()

    run = machine.build(
        f"--remote-cache={server.address}", environment={"THAW_REMOTE_TOKEN": SECRET}
    )

    assert run.code == 0 and run.built == STEPS
    (warning,) = warnings(run)
    assert "wants other credentials (not ***)" in warning
    assert SECRET not in run.text


# TLS


@pytest.fixture(scope="module")
def guarded(tools: Tools, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """BuildGrid with TLS, client certificates, a token and an instance name."""
    top = tmp_path_factory.mktemp("guarded")
    tls = Tls.make(top / "tls")
    tls.client_key.chmod(0o600)
    with buildgrid(top / "bg", tools.bwrap, tls=tls, token=True, instance="main") as server:
        yield server


def options_for(server: Server) -> dict[str, str]:
    assert server.tls is not None
    return {
        "--remote-cache": server.url,
        "--remote-instance": "main",
        "--tls-ca": str(server.tls.ca),
        "--tls-client-certificate": str(server.tls.client_certificate),
        "--tls-client-key": str(server.tls.client_key),
    }


def test_a_server_that_wants_a_certificate_and_a_token_is_used(
    guarded: Server, machine: Machine, fresh: Machine
) -> None:
    options = [f"{name}={value}" for name, value in options_for(guarded).items()]
    token = {"THAW_REMOTE_TOKEN": guarded.token}

    given = machine.build(*options, "--remote-upload", environment=token)
    taken = fresh.build(*options, environment=token)

    assert given.built == STEPS and warnings(given) == []
    assert taken.built == set() and remotely(taken) == ALL, taken.text
    assert fresh.manifests() == machine.manifests()
    assert guarded.token not in given.text + taken.text


@pytest.mark.parametrize("lacking", ["token", "--tls-ca", "--tls-client-certificate"])
def test_without_one_of_them_the_build_goes_on_here(
    lacking: str, guarded: Server, machine: Machine
) -> None:
    given = options_for(guarded)
    given.pop(lacking, None)
    if lacking == "--tls-client-certificate":
        del given["--tls-client-key"]
    environment = {} if lacking == "token" else {"THAW_REMOTE_TOKEN": guarded.token}

    run = machine.build(
        *[f"{name}={value}" for name, value in given.items()], environment=environment
    )

    assert run.code == 0 and run.built == STEPS
    assert len(warnings(run)) == 1, run.text
