"""Actions on services that others wrote, with a real toolchain: as if they had run here."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from buildgrid.common.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as reapi
from checkout import TOP, Run
from hostile_server import until
from machines import Machine, Project, false_blobs, files_below, finish, remotely, warnings
from remote_servers import Server, buildgrid, casd
from rig import Tools

from thaw import config
from thaw import toolchain as toolchains
from thaw.nodes import TreeNode, from_proto
from thaw.results import entry_path, parse_entry
from thaw.store import Store

SCONSTRUCT = """\
env = Environment(tools=["thaw"], toolpath=[ARGUMENTS["THAW"] + "/site_scons/site_tools"])
image = env.Toolchain(env.ThawData("toolchains/image.yaml"))

def step(name, script, inputs={}, **more):
    argv = ["bash", "-euc", script]
    return env.ThawStep(name, toolchain=image, argv=argv, inputs=inputs, outputs=["r"], **more)

tree = step("tree", '''
mkdir -p /out/r/d/e /out/r/empty
echo text > "/out/r/d/e/with spaces and ü"
touch /out/r/nothing
ln -s ../d/e /out/r/d/link
ln -s /nowhere /out/r/dangling
cp /src/tool /out/r/tool
''', {"/src/tool": {"file": "tool"}})
inputs = step("inputs", '''
cd /src
find . -type f -perm -u+x -printf '%p executable\\\\n' -o -printf '%p %y %l\\\\n' | sort > /out/r
cat tree/d/link/* words values.json >> /out/r
tree/tool >> /out/r
''', {
    "/src/tree": env.ThawOutput(tree, "r"),
    "/src/words": {"file": "words"},
    "/src/values.json": {"json": {"a": [1, "ü"]}},
})
surroundings = step("surroundings", '''
{
    id -u; id -g; pwd; env | sort
    echo made > /build/file; echo made > /tmp/file; cat /build/file /tmp/file
    grep : /proc/net/dev | cut -d: -f1
    ! echo x 2> /dev/null > /usr/x
    ! echo x 2> /dev/null > /src/words
    for place in /home /root /work; do if test -e $place; then ls -A $place; fi; done
} > /out/r
''', {"/src/words": {"file": "words"}}, environment={"OWN": "a value", "PATH": "/usr/bin"})
program = step("program", '''
gcc -O2 -g -o hello /src/hello.c
./hello
cp hello /out/r
''', {"/src/hello.c": {"file": "hello.c"}})
env.Alias("all", [inputs, surroundings, program])
step("fails", '''
cat /proc/sys/kernel/random/uuid
echo the cause
echo more >&2
echo left > /out/r
exit 3
''')
step("forgets", "echo done; echo x > /out/other")
step("takes-a-while", "sleep 2; echo x > /out/r")
step("endless", "sleep 86399")
env.Default("all")
"""
STEPS = {"tree", "inputs", "surroundings", "program"}
HELLO = '#include <stdio.h>\nint main(void) { puts("hello"); }\n'


@pytest.fixture(scope="module")
def stock(tools: Tools, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], None]:
    """Fills a cache with the toolchain and the sandbox' program: hard links to the shared ones."""
    settings = config.load(TOP, {"disk_cache": os.environ.get("THAW_TEST_CACHE", "")})
    shared = Store(settings.cache_directory)

    def fill(cache: Path) -> None:
        mine = Store(cache)
        for name in ("image", "bubblewrap"):
            toolchain = toolchains.read(TOP / f"toolchains/{name}.yaml")
            key = toolchains.action_digest(toolchain, shared).hash
            entry = entry_path(shared.top, key)
            entry_path(mine.top, key).parent.mkdir(exist_ok=True)
            shutil.copyfile(entry, entry_path(mine.top, key))
            result = parse_entry(key, entry.read_bytes())
            assert result is not None
            (directory,) = result.output_directories
            node = shared.tree_node(from_proto(directory.tree_digest))
            assert node is not None
            link_tree(shared, mine, node)

    return fill


def link_tree(shared: Store, mine: Store, node: TreeNode) -> None:
    message = reapi.Tree.FromString(shared.read(node.tree))
    files = [file for part in (message.root, *message.children) for file in part.files]
    paths = {shared.path(from_proto(file.digest), file.is_executable) for file in files}
    for path in paths | {shared.path(node.tree), shared.path(node.root)}:
        place = mine.top / path.relative_to(shared.top)
        place.parent.mkdir(exist_ok=True)
        if not place.exists():
            os.link(path, place)
    (mine.top / "trees" / node.root.hash).symlink_to(shared.unpacked(node))


@pytest.fixture(scope="module")
def actions(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("actions"), tmp_path_factory.mktemp("none"))
    (project.top / "SConstruct").write_text(SCONSTRUCT)
    (project.top / "words").write_text("some words\n")
    (project.top / "hello.c").write_text(HELLO)
    (project.top / "tool").write_text("#!/bin/bash\necho a tool ran\n")
    (project.top / "tool").chmod(0o755)
    return project


Make = Callable[[], Machine]


@pytest.fixture(scope="module")
def make(
    actions: Project, stock: Callable[[Path], None], tmp_path_factory: pytest.TempPathFactory
) -> Make:
    """Makes a machine that has the toolchain, and no result."""

    def make_machine() -> Machine:
        machine = Machine.make(tmp_path_factory.mktemp("machine"), actions)
        stock(machine.cache)
        return machine

    return make_machine


@pytest.fixture(scope="module")
def here(make: Make) -> Machine:
    """A machine that has built everything by itself."""
    machine = make()
    run = machine.build()
    assert run.code == 0 and run.built == STEPS, run.text
    return machine


@pytest.fixture(params=["casd", "buildgrid"], scope="module")
def service(
    request: pytest.FixtureRequest, tools: Tools, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("service") / "server"
    with ExitStack() as stack:
        if request.param == "casd":
            yield stack.enter_context(casd(directory, tools.bwrap))
        else:
            yield stack.enter_context(buildgrid(directory, tools.bwrap))


@pytest.fixture(scope="module")
def first(service: Server, make: Make) -> tuple[Machine, Run]:
    """A machine that has had everything built by the service, and what that printed."""
    machine = make()
    return machine, machine.build(f"--remote-executor={service.url}")


def is_casd(service: Server) -> bool:
    return service.processes.log("casd").exists()


def sent(run: Run) -> float:
    """Bytes that were sent, as the summary says."""
    found = re.search(r"([\d.]+) (B|kB|MB|GB) sent", run.text)
    assert found is not None, run.text
    return float(found[1]) * {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}[found[2]]


def test_outputs_are_those_of_a_run_here_byte_by_byte(
    first: tuple[Machine, Run], here: Machine
) -> None:
    there, run = first

    assert run.code == 0, run.text
    assert run.built == remotely(run) == STEPS, run.text
    assert there.manifests() == here.manifests()
    assert len(here.manifests()) == len(STEPS) + 1


def test_the_toolchain_is_sent_once(
    first: tuple[Machine, Run], service: Server, make: Make
) -> None:
    root = first[0].output("toolchain-image").outputs["root"]
    assert isinstance(root, TreeNode)
    files = files_below(first[0].cache / "v1/trees" / root.root.hash)
    size = sum({path.stat().st_ino: path.stat().st_size for path in files}.values())
    # Also when several actions that need it start at the same time.
    assert size > 100e6 and 0.99 * size < sent(first[1]) < 1.05 * size
    machine = make()
    (machine.top / "hello.c").write_text(HELLO.replace("hello", "good day"))

    run = machine.build(f"--remote-executor={service.url}")

    assert run.built == {"program"}
    assert sent(run) < 20e3


def test_what_ran_there_once_is_known_to_all(
    first: tuple[Machine, Run], service: Server, make: Make, here: Machine
) -> None:
    machine = make()

    run = machine.build(f"--remote-executor={service.url}")

    assert run.built == set() and remotely(run) == STEPS, run.text
    assert machine.manifests() == here.manifests()
    assert sent(run) == 0


@pytest.mark.parametrize(
    "name, cause", [("fails", "exit code 3"), ("forgets", "it did not make r")]
)
def test_an_action_that_fails_there_tells_why_and_lets_one_look(
    name: str, cause: str, service: Server, make: Make
) -> None:
    machine = make()

    run = machine.build(f"--remote-executor={service.url}", f"out/manifests/{name}.json")

    assert run.code == 2
    assert f"{name}: failed on {service.url}: {cause}\n" in run.text
    said = ["the cause", "more"] if name == "fails" else ["done"]
    assert all(f"  | {line}\n" in run.text for line in said)
    enter = run.text.partition("look inside its sandbox: ")[2].splitlines()[0]
    shell = subprocess.run([enter], input="id -u; gcc -dumpmachine", capture_output=True, text=True)
    assert shell.stdout.splitlines()[-2:] == ["1000", "x86_64-linux-gnu"], shell.stderr
    assert not (machine.top / f"out/manifests/{name}.json").exists()


def test_an_action_that_failed_there_runs_again(service: Server, make: Make) -> None:
    said = set()
    for machine in (make(), make()):
        run = machine.build(f"--remote-executor={service.url}", "out/manifests/fails.json")
        assert f"fails: failed on {service.url}: exit code 3" in run.text
        said.add(re.findall(r"  \| (\w{8}-.+)", run.text)[0])
    assert len(said) == 2, "each run has said something else"


def test_the_state_of_an_action_is_shown(service: Server, make: Make) -> None:
    run = make().build(f"--remote-executor={service.url}", "out/manifests/takes-a-while.json")

    assert run.code == 0, run.text
    states = [line.removeprefix("[remote] takes-a-while: ") for line in warnings(run)]
    if is_casd(service):  # it does not tell more than that it has it
        assert states == ["submitted"]
    else:
        assert states in (["queued", "executing"], ["executing"])


def commands(marker: str) -> list[Path]:
    """The processes of this machine, in sandboxes too, that have a word in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if marker.encode() in path.read_bytes().split(b"\0"):
                found.append(path)
        except OSError:  # it just ended
            continue
    return found


def test_ctrl_c_ends_the_action_there_too(service: Server, make: Make) -> None:
    build = make().start(f"--remote-executor={service.url}", "out/manifests/endless.json")
    until(lambda: commands("86399") != [], 60)

    build.send_signal(signal.SIGINT)
    run = finish(build, 20)

    assert run.code != 0
    assert "interrupted" in run.text
    until(lambda: commands("86399") == [], 20)


def test_a_service_killed_in_the_middle_of_an_action_costs_one_line(
    service: Server, make: Make, first: tuple[Machine, Run]
) -> None:
    name = "casd" if is_casd(service) else "buildgrid"
    machine = make()
    (machine.top / "SConstruct").write_text(SCONSTRUCT.replace("sleep 2", "sleep 3"))
    build = machine.start(f"--remote-executor={service.url}", "out/manifests/takes-a-while.json")
    until(lambda: commands("sleep 3; echo x > /out/r") != [], 60)

    service.processes.kill(name)
    run = finish(build)
    service.processes.restart(name)
    service.wait(name)

    assert run.code == 0, run.text
    assert run.built == {"takes-a-while"} and remotely(run) == set()
    (warning,) = [line for line in warnings(run) if service.url in line]
    assert warning.endswith(": going on without it")
    assert false_blobs(machine.cache) == []
