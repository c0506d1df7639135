"""One file over HTTP: retried, bounded in size, its bytes not yet trusted.

A module of its own because ``requests`` takes as long to import as a build with nothing to do
takes to read the whole graph: ``thaw.fetch`` imports this one when it has something to download.
"""

import contextlib
from dataclasses import dataclass
from pathlib import Path

import requests
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from thaw import interrupt
from thaw.digest import UNKNOWN_SIZE
from thaw.progress import Counter

CHUNK = 1 << 16  # bytes: how often Ctrl-C is looked at on a slow line
RETRIES = Retry(total=2, backoff_factor=0.5, status_forcelist=[429, 500, 502, 503, 504])
TIMEOUT = (10, 30)  # seconds to connect, and between two reads


@dataclass(frozen=True)
class Failure:
    """Why an address did not give the file, and whether asking it again may help."""

    cause: str
    may_pass: bool = False


def download(address: str, target: Path, size: int, progress: Counter) -> Failure | None:
    """Write what the address gives to ``target``. What went wrong, or None. Raises Interrupted.

    size: bytes expected, or UNKNOWN_SIZE; more than that is refused
    """
    received, begun = 0, False
    with contextlib.ExitStack() as stack:
        try:
            session = stack.enter_context(_session())
            reply = stack.enter_context(session.get(address, stream=True, timeout=TIMEOUT))
            reply.raise_for_status()
            begun = True
            with open(target, "wb") as stream:
                for chunk in reply.iter_content(CHUNK):
                    interrupt.check()
                    stream.write(chunk)
                    received += len(chunk)
                    progress.add(len(chunk))
                    if received > size != UNKNOWN_SIZE:
                        progress.add(-received)
                        return Failure(f"wrong file: more than the {size} bytes locked")
        except requests.RequestException as error:
            progress.add(-received)
            return Failure("broken off before its end" if begun else _in_a_line(error), begun)
    return None


def _session() -> requests.Session:
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=RETRIES))
    # Archives are wanted as they lie there, not with a transfer's compression taken off.
    session.headers["Accept-Encoding"] = "identity"
    return session


def _in_a_line(error: requests.RequestException) -> str:
    if error.response is not None:
        return f"HTTP {error.response.status_code} {error.response.reason}"
    reason = getattr(error.args[0], "reason", error) if error.args else error
    return f"{type(error).__name__}: {reason}".splitlines()[0]
