"""The SCons tool on a small graph: what users meet at the command line."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from checkout import TOP, scons

THIS = f"THAW={TOP}"
SCONSTRUCT = """
env = Environment(tools=["thaw"], toolpath=[ARGUMENTS["THAW"] + "/site_scons/site_tools"])
image = env.Toolchain(env.ThawData("toolchains/image.yaml"))

def step(name, script, inputs={}):
    return env.ThawStep(
        name,
        toolchain=image,
        argv=["bash", "-ec", script],
        inputs=inputs,
        outputs=["result"],
        lay_out={"result": f"out/{name}.txt"},
    )

first = step("first", "tr a-z A-Z < /src/words > /out/result", {"/src/words": {"file": "words"}})
step("second", "wc -c < /src/first > /out/result", {"/src/first": env.ThawOutput(first, "result")})
step("fails", "echo the cause; exit 3")
step("sleeps", "echo started; sleep 1000")
env.Default("out/second.txt")
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "SConstruct").write_text(SCONSTRUCT)
    (tmp_path / "words").write_text("some words\n")
    return tmp_path


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "SCons", THIS, *arguments]


def test_results_are_laid_out_and_told(project: Path) -> None:
    done = scons(project, THIS)

    assert done.code == 0, done.text
    assert (project / "out/second.txt").read_text() == "11\n"
    assert not (project / "out/first.txt").exists(), "nobody asked for it"
    assert "out/second.txt" in done.text


def test_an_edit_that_gives_the_same_bytes_stops_there(project: Path) -> None:
    scons(project, THIS)
    (project / "words").write_text("SOME words\n")

    done = scons(project, THIS)

    assert done.built | done.cached == {"first"}
    assert "`out/second.txt' is up to date" in done.text


@pytest.mark.parametrize("how", ["edit", "removal"])
def test_a_laid_out_result_that_was_touched_is_laid_out_again(project: Path, how: str) -> None:
    scons(project, THIS)
    result = project / "out/second.txt"
    if how == "edit":
        result.write_text("12\n")
    else:
        result.unlink()

    done = scons(project, THIS)

    assert done.built == done.cached == set()
    assert result.read_text() == "11\n"
    assert "is up to date" in scons(project, THIS).text


def test_a_failure_is_one_error_with_the_log_and_the_way_in(project: Path) -> None:
    done = scons(project, THIS, "out/fails.txt")

    assert done.code == 2
    assert done.text.count("fails: failed: exit code 3") == 1
    assert "| the cause" in done.text
    assert "look inside its sandbox:" in done.text
    assert "Traceback" not in done.text
    assert not (project / "out/fails.txt").exists()


def test_keep_going_builds_the_rest(project: Path) -> None:
    done = scons(project, THIS, "-k", "out/fails.txt", "out/second.txt")

    assert done.code == 2
    assert (project / "out/second.txt").exists()


def test_ctrl_c_stops_the_running_action_and_keeps_nothing(project: Path) -> None:
    process = subprocess.Popen(
        command("out/sleeps.txt"),
        cwd=project,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    while not _children_of(process.pid):
        assert process.poll() is None, process.stdout and process.stdout.read()
        time.sleep(0.05)
    inside = _children_of(process.pid)

    os.kill(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)

    assert process.returncode not in (0, None)
    assert "Traceback" not in output
    assert not (project / "out/sleeps.txt").exists()
    assert not (project / "out/manifests/sleeps.json").exists()
    while any(Path(f"/proc/{pid}").exists() for pid in inside):
        time.sleep(0.05)  # killed, and not yet collected by the process that adopted them


def _children_of(pid: int) -> list[int]:
    """The processes a process has started, through any of its threads."""
    children: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        children += [int(child) for child in path.read_text().split()]
    return children


def test_another_cache_builds_again_instead_of_trusting_manifests(
    project: Path, tmp_path: Path
) -> None:
    scons(project, THIS, "out/first.txt")

    done = scons(project, THIS, "-n", f"--disk-cache={tmp_path / 'other'}", "out/first.txt")

    assert "out/manifests/first.json: first" in done.text


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("thaw.yaml", "distdirs: [/tmp]\n", "thaw.yaml:1: unknown key 'distdirs'"),
        ("thaw.yaml", "distdir: [\n", "thaw.yaml:"),
        ("thaw.yaml", "distdir: /no/such/directory\n", "/no/such/directory is not a directory"),
    ],
)
def test_a_wrong_configuration_names_file_and_line(
    project: Path, name: str, content: str, said: str
) -> None:
    (project / name).write_text(content)

    done = scons(project, THIS)

    assert done.code == 2
    assert said in done.text
    assert "Traceback" not in done.text


def test_a_missing_registry_is_told_before_anything_runs(project: Path, tmp_path: Path) -> None:
    text = SCONSTRUCT.replace("image =", 'env.Sources("npm.yaml")\nimage =')
    (project / "SConstruct").write_text(text)
    source = f"{{npm: nowhere@1.0, sha256: {'a' * 64}, size: 5}}"
    (project / "npm.yaml").write_text(f"sources: {{nowhere: {source}}}\n")
    tools = tmp_path / "bin"
    tools.mkdir()  # neither npm nor apt on the PATH
    environment = {"PATH": str(tools), "HOME": str(tmp_path), "npm_config_registry": ""}

    done = scons(project, THIS, f"--disk-cache={tmp_path / 'cache'}", environment=environment)

    assert done.code == 2
    assert "nowhere-1.0.tgz: cannot be fetched" in done.text
    assert "--npm-registry=URL" in done.text
    assert "[fetch]" not in done.text
