"""The bootstrap: what it says on a machine that can't build, before anything long starts."""

import subprocess
import sys
from pathlib import Path

import pytest

SCONSW = Path(__file__).resolve().parents[2] / "sconsw"


@pytest.mark.parametrize(
    ("machine", "said", "remedy"),
    [
        ("import sys; sys.version_info = (3, 9, 2)", "Python 3.9 is too old", "python3.11"),
        ("import sys; sys.modules['ensurepip'] = None", "no venv module", "python3-venv"),
        ("import sys; sys.platform = 'darwin'", "x86-64 Linux only", "a VM of that kind"),
    ],
    ids=["old Python", "no venv module", "not Linux"],
)
def test_a_missing_prerequisite_is_one_message_with_its_remedy(
    machine: str, said: str, remedy: str, tmp_path: Path
) -> None:
    sconsw = tmp_path / "sconsw"  # where no environment has been made yet
    sconsw.write_bytes(SCONSW.read_bytes())
    (tmp_path / "requirements.lock").touch()
    program = f"{machine}; import runpy; runpy.run_path({str(sconsw)!r}, run_name='__main__')"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert done.returncode == 2
    assert said in done.stderr
    assert remedy in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_no_network_is_one_message_and_no_half_environment(tmp_path: Path) -> None:
    top = tmp_path / "checkout"
    top.mkdir()
    (top / "sconsw").write_bytes(SCONSW.read_bytes())
    (top / "requirements.lock").write_text(f"nowhere-to-be-found==1 --hash=sha256:{'a' * 64}\n")
    environment = {"PIP_INDEX_URL": "http://127.0.0.1:1/", "PIP_RETRIES": "0", "HOME": str(top)}

    done = subprocess.run(
        [sys.executable, str(top / "sconsw"), "wasm-bundle"],
        env={"PATH": "/usr/bin:/bin", "PIP_CONFIG_FILE": "/dev/null", **environment},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 2
    assert ".venv could not be made" in done.stderr
    assert "check the network" in done.stderr
    assert not (top / ".venv").exists()
