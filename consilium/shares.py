"""How many connections each web worker has, seen by all of them, so that none takes them all.

Workers accept from one socket, and whoever is quicker takes what is there: sixteen connections that are opened at
once can all end at one worker, and stay there for as long as their clients keep them open, while others are idle.
"""

import mmap

PLACES = 64  # as many as there can be workers


class Shares:
    """One number for each worker in memory that they share: made before the first fork."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 4 * PLACES)
        self._counts = memoryview(self._memory).cast("I")

    def tell(self, worker: int, connections: int) -> None:
        """Say how many connections a worker has. worker: gunicorn's number, which counts up."""
        self._counts[worker % PLACES] = connections + 1  # 0 is no worker

    def forget(self, worker: int) -> None:
        """A worker has ended."""
        self._counts[worker % PLACES] = 0

    def others_have_fewer(self, worker: int, connections: int) -> bool:
        """True when another worker has fewer connections than this one."""
        mine = worker % PLACES
        return any(0 < count <= connections for place, count in enumerate(self._counts) if place != mine)
