"""What a run did, in a few lines at its end."""

import time
from collections.abc import Mapping, Sequence

from thaw.progress import Done, duration

_started = time.monotonic()


def text(
    finished: Sequence[Done], results: Mapping[str, str], traffic: Sequence[str], failed: bool
) -> str:
    """Built, cached, how long, what servers gave, where the results are, what to do next.

    Empty when no action was needed.
    """
    if not finished:
        return ""
    built = [done for done in finished if done.outcome.endswith("built")]
    cached = len(finished) - len(built)
    lines = [
        f"thaw: {len(built)} built, {cached} from the cache,"
        f" {duration(time.monotonic() - _started)} in all"
    ]
    for done in sorted(built, key=lambda done: -done.seconds)[:5]:
        if len(built) > 1:
            lines.append(f"  {duration(done.seconds):>12}  {done.name}")
    lines += [f"  {line}" for line in traffic]
    lines += [f"  {path}{f': {hint}' if hint else ''}" for path, hint in results.items()]
    if failed:
        lines.append(
            "thaw: failed; what was built is in the cache: the next run goes on from there"
        )
    return "\n".join(lines)
