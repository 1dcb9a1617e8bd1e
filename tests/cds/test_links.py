"""A link opens one reading, for a while, and only if we made it."""

from dataclasses import replace
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


def study_token(at=START, **settings):
    made = replace(signer(at=at), studies=True, **settings).study("Open the study", "1.2.3")
    query = parse_qs(urlsplit(made.url.text).query)
    assert query["StudyInstanceUIDs"] == ["1.2.3"]
    return query["token"][0]


def test_a_link_to_the_viewer_permits_one_study_until_it_expires():
    token = study_token()
    assert signer(at=START + timedelta(seconds=900)).study_of(token) == "1.2.3"
    assert signer(at=START + timedelta(seconds=901)).study_of(token) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda token: token.replace("1.2.3", "1.2.4"),
        lambda token: token[:-1],
        lambda token: token.replace("_", "_9", 1),
        lambda token: "1.2.3",
        lambda token: "",
        lambda token: token + "é",
    ],
)
def test_a_changed_permission_permits_nothing(change):
    assert signer().study_of(change(study_token())) is None


def test_the_signature_of_another_link_permits_no_study():
    reading, expires, sig = parts_of(signer().sign("1.2.3"))
    assert signer().study_of(f"{reading}_{expires}_{sig}") is None
    assert signer(key=b"b" * 32).study_of(study_token()) is None


def test_cards_lead_to_the_viewer_only_where_that_is_set_and_the_uid_is_one():
    assert signer().study("Open", "1.2.3") is None
    assert replace(signer(), studies=True).study("Open", "1.2.3&token=x") is None
