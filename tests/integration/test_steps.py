"""What a step sees, in the real sandbox, and that it leaves nothing behind."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from rig import Tools

from thaw.action import BASE_ENVIRONMENT
from thaw.executor import Result
from thaw.local import ActionFailed
from thaw.nodes import FileNode, TreeNode
from thaw.step import Engine

Run = Callable[..., Result]


@pytest.fixture
def output(engine: Engine, run: Run) -> Callable[..., str]:
    """Runs a script that writes to standard output: what it wrote."""

    def text(script: str, **more: object) -> str:
        node = run(f"{{ {script}\n}} > /out/x", **more).outputs["x"]
        assert isinstance(node, FileNode)
        return engine.store.read(node.digest).decode()

    return text


def test_the_environment_is_fixed(
    output: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CFLAGS", "-O0")
    said = output('tr "\\0" "\\n" < /proc/$$/environ', environment={"CC": "gcc"})
    seen = dict(line.split("=", 1) for line in said.splitlines())
    seen.pop("PWD", None)  # bubblewrap's; always the same
    assert seen == {**BASE_ENVIRONMENT, "CC": "gcc"}


def test_host_name_user_and_directory_are_fixed(output: Callable[..., str]) -> None:
    assert output("uname -n; id -u; id -g; pwd; umask").split() == [
        "build",
        "1000",
        "1000",
        "/build",
        "0022",
    ]


def test_there_is_no_network(output: Callable[..., str]) -> None:
    """Neither the machine's own loopback nor anything beyond."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        script = f"""
        tail -n +3 /proc/net/dev | cut -d: -f1
        (echo > /dev/tcp/127.0.0.1/{port}) 2>&1 | grep -m1 -o 'Connection refused'
        """
        assert output(script).splitlines() == ["    lo", "Connection refused"]


def test_no_other_process_can_be_seen(output: Callable[..., str]) -> None:
    assert int(output("ls -d /proc/[0-9]* | wc -l")) < 10


def test_only_the_toolchain_and_the_inputs_can_be_seen(
    output: Callable[..., str], tools: Tools, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("")
    (tmp_path / "file").write_text("text")
    inputs = {"/src/given": {"file": str(tmp_path / "file")}}
    script = f"""
    for name in / /src /tmp /build; do echo $name: $(ls $name); done
    if test -e {tmp_path}; then echo seen; else echo unseen; fi
    """
    lines = output(script, inputs=inputs).splitlines()
    assert lines[1:] == ["/src: given", "/tmp:", "/build:", "unseen"]
    work = {"build", "dev", "out", "proc", "src", "tmp"}
    assert set(lines[0].split()[1:]) == work | set(os.listdir(tools.tree))


@pytest.mark.parametrize(
    "path", ["/src/file", "/src/dir/file", "/src/dir/new", "/src/new", "/usr/bin/sh", "/new"]
)
def test_everything_but_the_work_directories_is_read_only(
    run: Run, tmp_path: Path, path: str
) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir/file").write_text("text")
    inputs = {
        "/src/file": {"file": str(tmp_path / "dir/file")},
        "/src/dir": {"dir": str(tmp_path / "dir")},
    }
    with pytest.raises(ActionFailed, match=r"(Read-only file system|Permission denied)"):
        run(f"set +e; chmod +w {path}; echo x > {path}", inputs)


def test_the_work_directories_can_be_written_and_are_forgotten(
    output: Callable[..., str], engine: Engine
) -> None:
    output("touch /build/x /tmp/x /out/more; mkdir -m 0 /build/locked")
    assert output("ls /build /tmp /out") == "/build:\n\n/out:\nx\n\n/tmp:\n"
    assert list((engine.store.top / "tmp").iterdir()) == []


def test_what_a_command_leaves_in_the_background_ends_with_it(run: Run, engine: Engine) -> None:
    """Otherwise it could still write to an output that is being stored."""
    script = """
    (trap "" TERM HUP; while :; do echo more >> /out/x; done) &
    until test -e /out/x; do sleep 0.01; done
    """
    node = run(script, timeout=60).outputs["x"]
    assert isinstance(node, FileNode)
    assert engine.store.intact(node.digest)


def test_outputs_are_files_and_directories_with_their_executable_bit(
    run: Run, engine: Engine
) -> None:
    script = """
    mkdir -p /out/tree/sub; echo hello > /out/tree/sub/file; ln -s sub/file /out/tree/link
    printf '#!/bin/sh\\n' > /out/tool; chmod 755 /out/tool
    """
    outputs = run(script, outputs=("tree", "tool")).outputs
    assert isinstance(outputs["tree"], TreeNode)
    assert (engine.store.unpacked(outputs["tree"]) / "link").read_text() == "hello\n"
    assert isinstance(outputs["tool"], FileNode)
    assert outputs["tool"].executable


def test_the_second_time_it_comes_from_the_cache(run: Run, tmp_path: Path) -> None:
    assert not run("date +%N > /out/x").cached
    before = (tmp_path / "step.json").read_bytes()
    (tmp_path / "step.json").unlink()
    assert run("date +%N > /out/x", name="step", timeout=7).cached
    assert (tmp_path / "step.json").read_bytes() == before


def test_a_changed_input_runs_it_again(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "file"
    inputs = {"/src/file": {"file": str(path)}}
    results = []
    for text in ("one", "two", "one"):
        path.write_text(text)
        results.append(run("cp /src/file /out/x", inputs).cached)
    assert results == [False, False, True]


def test_equal_outputs_have_equal_digests_whenever_and_whoever(run: Run) -> None:
    one = run("sleep 0.01; umask 077; echo same > /out/x").outputs["x"]
    assert run("echo same > /out/x").outputs["x"] == one


def test_the_compiler_cache_is_shared_but_no_input(run: Run) -> None:
    script = "echo object > /ccache/object; echo x > /out/x"
    assert not run(script, use_ccache=True).cached
    assert not run("cp /ccache/object /out/x", use_ccache=True).cached
    assert run(script, use_ccache=False).cached


def test_results_are_laid_out_as_files(run: Run, engine: Engine, tmp_path: Path) -> None:
    target = tmp_path / "out/result"
    for text in ("one", "two"):
        run(f"echo {text} > /out/x")
        engine.lay_out("step", tmp_path / "step.json", {"x": target})
    assert target.read_text() == "two\n"
    assert list(target.parent.iterdir()) == [target]
