"""A link opens one reading, for a while, and only if we made it."""

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from cds.links import LinkSigner
from clinical.errors import Denied, IncorrectInput

START = datetime(2026, 11, 22, tzinfo=UTC)


def signer(key=b"a" * 32, at=START):
    return LinkSigner(key, "https://cds.example", lambda: at, life_s=900)


def parts_of(url):
    parsed = urlsplit(url)
    query = parse_qs(parsed.query)
    return parsed.path.rsplit("/", 1)[1], query["expires"][0], query["sig"][0]


def test_a_link_is_absolute_and_opens_until_it_expires():
    url = signer().sign("r-1")
    assert url.startswith("https://cds.example/overlay/r-1?expires=")
    signer(at=START + timedelta(seconds=900)).check(*parts_of(url))
    with pytest.raises(Denied):
        signer(at=START + timedelta(seconds=901)).check(*parts_of(url))


@pytest.mark.parametrize(
    "change",
    [
        lambda reading, expires, sig: ("r-2", expires, sig),
        lambda reading, expires, sig: (reading, str(int(expires) + 1), sig),
        lambda reading, expires, sig: (reading, "0" + expires, sig),
        lambda reading, expires, sig: (reading, expires, sig[:-1]),
        lambda reading, expires, sig: (reading, expires, ""),
        lambda reading, expires, sig: (reading, expires, "é" * 43),
        lambda reading, expires, sig: (reading, "1e9", sig),
        lambda reading, expires, sig: ("../r-1", expires, sig),
    ],
)
def test_a_changed_link_is_refused(change):
    with pytest.raises(Denied):
        signer().check(*change(*parts_of(signer().sign("r-1"))))


def test_a_link_under_another_key_is_refused():
    with pytest.raises(Denied):
        signer(key=b"b" * 32).check(*parts_of(signer().sign("r-1")))


def test_a_short_key_is_refused_and_a_key_is_never_shown():
    with pytest.raises(IncorrectInput):
        signer(key=b"short")
    assert "aaaa" not in repr(signer())


def test_an_id_that_would_change_the_path_is_not_signed():
    with pytest.raises(IncorrectInput):
        signer().sign("../admin")
