"""A machine that can't be snapshotted: one error with the console's end, and no vm.state."""

import re

import pytest
from checkout import Clone

DESCRIPTION = "images/x86_64/machine.yaml"
STATE = "out/x86_64/pack/vm.state"


@pytest.mark.parametrize(
    ("good", "bad", "cause", "console"),
    [
        ("root=/dev/vda\n  - rootwait", "root=/dev/nil", "kernel panicked", "Kernel panic"),
        ('"~ # "\nboot-timeout: 60', '"never> "\nboot-timeout: 9', "no prompt 'never> '", "~ #"),
        ("qemu64-v1", "nonesuch", "QEMU did not start", "nonesuch"),
        ("echo test >", "poweroff -f; echo test >", "QEMU ended", "Power down"),
        ("before-migration, expect: test}", "before-migration, expect: tset}", "'tset'", "test"),
    ],
    ids=["panic", "time-out", "bad argument", "QEMU ends", "wrong output"],
)
def test_a_failed_snapshot_says_why_and_leaves_nothing(
    clone: Clone, good: str, bad: str, cause: str, console: str
) -> None:
    before = (clone.top / DESCRIPTION).read_text()
    assert good in before
    clone.edit(DESCRIPTION, lambda text: text.replace(good, bad))
    try:
        run = clone.scons("snapshot")
    finally:
        clone.edit(DESCRIPTION, lambda _: before)

    assert run.code == 2
    assert cause in run.text
    assert re.search(rf"\| .*{re.escape(console)}", run.text)
    assert not (clone.top / STATE).exists()
