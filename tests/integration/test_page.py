"""The page in a real browser, with a stand-in for QEMU: a prompt, and a message for each fault."""

import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
THAW = HERE.parents[1]


def test_the_page_explains_what_goes_wrong(tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(HERE / "page", project)

    done = subprocess.run(
        [sys.executable, "-m", "SCons", f"THAW={THAW}"],
        cwd=project,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )

    assert done.returncode == 0, done.stdout
    report = (project / "results/report.txt").read_text().splitlines()
    assert report
    assert all(line.startswith("ok ") for line in report)
