"""What was made once and stays true, as stored bytes never change: the last of it, up to a number of bytes."""

import threading
from collections import OrderedDict

KEPT_BYTES = 32 << 20


class Kept:
    """Bytes by key, the ones that were asked for last. Safe to share between threads."""

    def __init__(self, most_bytes: int = KEPT_BYTES) -> None:
        self._most, self._size = most_bytes, 0
        self._found: OrderedDict[tuple[str, ...], bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[str, ...]) -> bytes | None:
        """Return what is kept under a key."""
        with self._lock:
            if key in self._found:
                self._found.move_to_end(key)
            return self._found.get(key)

    def add(self, key: tuple[str, ...], data: bytes) -> None:
        """Keep data, and let go of what was not asked for longest."""
        with self._lock:
            self._size += len(data) - len(self._found.pop(key, b""))
            self._found[key] = data
            while self._size > self._most:
                self._size -= len(self._found.popitem(last=False)[1])

    def forget(self) -> None:
        """Let go of everything."""
        with self._lock:
            self._found.clear()
            self._size = 0
