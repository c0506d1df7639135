"""The page in a real browser, with a stand-in for QEMU: a prompt, and a message for each fault."""

import shutil
from pathlib import Path

from checkout import TOP, scons

HERE = Path(__file__).resolve().parent


def test_the_page_explains_what_goes_wrong(tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(HERE / "page", project)

    run = scons(project, f"THAW={TOP}")

    assert run.code == 0, run.text
    report = (project / "results/report.txt").read_text().splitlines()
    assert report
    assert all(line.startswith("ok ") for line in report)
