"""How much went over the network, for the summary and for tests."""

from dataclasses import dataclass, field
from threading import Lock


@dataclass
class Traffic:
    """Counts of one process. Safe from threads.

    downloaded, uploaded: bytes of blobs and of action results, as they are when used
    received, sent: bytes of all messages' contents, as they went over the wire (compressed)
    blobs_downloaded, blobs_uploaded, results: how many
    """

    downloaded: int = 0
    uploaded: int = 0
    received: int = 0
    sent: int = 0
    blobs_downloaded: int = 0
    blobs_uploaded: int = 0
    results: int = 0
    _guard: Lock = field(default_factory=Lock, repr=False, compare=False)

    def add(self, **counts: int) -> None:
        with self._guard:
            for name, count in counts.items():
                setattr(self, name, getattr(self, name) + count)
