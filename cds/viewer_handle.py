"""One-time handles: how a SMART app that shows images learns which ones, without a session of ours.

The app is launched by the EHR with an `appContext` (K9): ids of study, series and images, and for each result a
handle. A handle opens one result once, within minutes, and says nothing about the patient.
"""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import orjson

from cds.links import LinkSigner
from cds.source import Link, LinkType
from clinical.errors import Denied, IncorrectInput
from record_store.readings import StoredReading

REDEEM_PATH = "/overlay/launch"
ISSUER = "consilium:viewer-handle"
MAX_RESULTS = 10
_PURPOSE = "handle"
_HANDLE = re.compile(r"([A-Za-z0-9._\-]{1,64})\.([0-9]{1,12})\.([0-9a-f\-]{36})\.([A-Za-z0-9_\-]{43})")
_READING_ID = re.compile(r"[A-Za-z0-9._\-]{1,64}")
# Notes that a handle is used: (issuer, id, expires_at=, now=) -> False when it was used before.
FirstUse = Callable[..., bool]


def viewer_link(
    signer: LinkSigner, label: str, results: Sequence[StoredReading], new_uuid: Callable[[], str]
) -> Link | None:
    """Return the SMART link to the configured viewer for results of one study; None without a viewer.

    It is spare: the card leads to each image by an absolute link too.
    """
    if signer.viewer is None or not results:
        return None
    shown = [_result(one, handle(signer, one.reading_id, new_uuid())) for one in results[:MAX_RESULTS]]
    context = {
        "study": results[0].reading.image.study_uid,
        "results": shown,
        "redeem": f"{signer.base_url}{REDEEM_PATH}",
    }
    url = signer.origins.url(signer.viewer)
    return Link(label, url, LinkType.SMART, orjson.dumps(context).decode(), spare=True)


def _result(stored: StoredReading, made: str) -> dict[str, str]:
    image = stored.reading.image
    return {
        "id": stored.reading_id,
        "series": image.series_uid,
        "instance": image.sop_instance_uid,
        "handle": made,
    }


def handle(signer: LinkSigner, reading_id: str, nonce: str) -> str:
    """Return a handle for one reading. nonce: a UUID that was never used."""
    if not _READING_ID.fullmatch(reading_id):
        raise IncorrectInput("a reading id holds letters, digits, '.', '_' and '-' only")
    expires = str(int((signer.now() + timedelta(seconds=signer.life_s)).timestamp()))
    return f"{reading_id}.{expires}.{nonce}.{signer.signature(_PURPOSE, reading_id, expires, nonce)}"


def redeem(signer: LinkSigner, text: str, first_use: FirstUse) -> str:
    """Return the reading that a handle opens, once; raise Denied for any other handle, without saying why.

    first_use: `record_store.seen_tokens.SeenTokens.first_use`, shared by all workers; its Busy goes through.
    """
    found = _HANDLE.fullmatch(text)
    if found is None or not signer.signed(found[4], _PURPOSE, found[1], found[2], found[3]):
        raise Denied("the handle is not valid or no longer open")
    expires_at, now = datetime.fromtimestamp(int(found[2]), UTC), signer.now()
    if expires_at < now or not first_use(ISSUER, found[3], expires_at=expires_at, now=now):
        raise Denied("the handle is not valid or no longer open")
    return found[1]
