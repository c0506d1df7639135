"""The sandbox's command line: what is in it, and what is not."""

import subprocess
from pathlib import Path

import pytest

from thaw import sandbox
from thaw.errors import ThawError
from thaw.sandbox import Sandbox


def root(tmp_path: Path) -> Path:
    for name in ("usr", "etc", "tmp", "proc", "src"):
        (tmp_path / "root" / name).mkdir(parents=True)
    (tmp_path / "root/bin").symlink_to("usr/bin")
    return tmp_path / "root"


def example(tmp_path: Path) -> Sandbox:
    return Sandbox(
        ("bwrap",),
        root(tmp_path),
        {"/src/x": Path("/store/x")},
        {"/out": Path("/elsewhere/out")},
        {"B": "2", "A": "1"},
    )


def words(line: list[str], option: str) -> list[list[str]]:
    """The two words after each appearance of an option."""
    return [line[i + 1 : i + 3] for i, word in enumerate(line) if word == option]


def test_the_command_shares_nothing_that_is_not_named(tmp_path: Path) -> None:
    line = example(tmp_path).command(["true", "x"])
    assert line[-3:] == ["--", "true", "x"]
    assert {"--unshare-all", "--die-with-parent", "--new-session", "--clearenv"} <= set(line)
    assert "--share-net" not in line
    assert words(line, "--bind") == [["/elsewhere/out", "/out"]]
    assert words(line, "--setenv") == [["A", "1"], ["B", "2"]]


def test_the_toolchain_is_the_root_and_read_only(tmp_path: Path) -> None:
    line = example(tmp_path).command([])
    bound = [inside for _, inside in words(line, "--ro-bind")]
    assert bound == ["/etc", "/usr", "/src/x"]  # /src and /tmp are the action's own
    assert words(line, "--symlink") == [["usr/bin", "/bin"]]
    assert line.index("--remount-ro") > line.index("--bind")


def test_the_script_to_look_inside_opens_a_shell_and_tells_the_command(tmp_path: Path) -> None:
    script = example(tmp_path).shell_script(["make", "a b"])
    shebang, hint, command = script.splitlines()
    assert shebang == "#!/bin/sh"
    said = subprocess.run(["sh", "-c", hint], capture_output=True, text=True).stdout
    assert said == "The command was: make 'a b'\n"
    assert command.endswith("-- env -C /build bash")
    assert "--new-session" not in script


def test_the_locked_bubblewrap_runs_through_its_own_loader() -> None:
    loader, option, library, program = sandbox.locked_bwrap(Path("/tree"))
    assert Path(loader).is_relative_to("/tree")
    assert option == "--library-path"
    assert Path(library).is_relative_to("/tree")
    assert program == "/tree/usr/bin/bwrap"


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path / "bin"


def test_the_hosts_own_is_found(path: Path) -> None:
    assert sandbox.host_bwrap() is None
    (path / "bwrap").write_text("#!/bin/sh\n")
    (path / "bwrap").chmod(0o755)
    assert sandbox.host_bwrap() == (str(path / "bwrap"),)


def test_a_machine_that_forbids_namespaces_is_told_what_to_do(path: Path) -> None:
    bwrap = path / "bwrap"
    bwrap.write_text("#!/bin/sh\necho 'setting up uid map: Permission denied' >&2; exit 1\n")
    bwrap.chmod(0o755)
    with pytest.raises(ThawError, match="forbids user namespaces: setting up uid map") as raised:
        sandbox.probe([str(bwrap)])
    assert "sysctl" in raised.value.remedy


def test_a_bubblewrap_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ThawError, match=r"sandbox: cannot run .*/nothing: "):
        sandbox.probe([str(tmp_path / "nothing")])
