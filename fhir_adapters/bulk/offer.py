"""What the web side of `$export` works with."""

from collections.abc import Callable
from dataclasses import dataclass

from record_store.blobs import Blobs

LIFE_S = 86_400.0
MOST_OF_A_CLIENT = 3


@dataclass(frozen=True, slots=True)
class Bulk:
    """blobs: where the files are, opened when first called. life_s: how long files are kept.

    most_of_a_client: exports of one client that may be under way at a time. needs_token: files are given to who
    shows a token only, as everything is.
    """

    blobs: Callable[[], Blobs]
    life_s: float = LIFE_S
    most_of_a_client: int = MOST_OF_A_CLIENT
    needs_token: bool = False
