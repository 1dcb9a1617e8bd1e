"""An operator reads in one sentence where a result is and why."""

from datetime import UTC, datetime

import pytest

from consilium.delivery_words import why
from record_store.deliveries import Delivery

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def delivery(state, attempts=1, status=None, problem=None, commitment=None):
    return Delivery(1, "1.2", "pacs", state, attempts, AT, status, problem, AT, commitment)


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (delivery("pending", 0), "waits for its turn"),
        (
            delivery("pending", 2, None, "no connection"),
            "tried 2 times, again at 2026-01-02 03:04:05 UTC: no connection",
        ),
        (
            delivery("dead", 1, 0xC000, "refused: cannot understand"),
            "given up after 1 try: refused: cannot understand (0xC000)",
        ),
        (delivery("sent", 1, 0), "the archive has it"),
        (
            delivery("sent", 1, 0xB000),
            "the archive has it (stored, with a remark: some values were changed)",
        ),
        (delivery("sent", 1, 0, None, "committed"), "the archive has confirmed that it keeps it"),
        (
            delivery("sent", 1, 0, "no connection", "wanted"),
            "the archive has it and is to be asked whether it keeps it; no connection",
        ),
        (delivery("superseded", 0), "not sent: a newer reading of the image replaces it"),
    ],
)
def test_each_state_is_told_with_its_reason(one, words):
    assert why(one) == words
