"""STOW-RS as a way back to an archive (PS3.18 10.5): one object a request, so each has an answer of its own.

The network is that of `fhir_adapters.outbound`: the name is resolved once and checked, no redirects, no proxy from
the environment, one deadline for each object. The object goes from its file to the socket and is never held.
"""

import json
import ssl
import time
import uuid
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpcore
from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from dicom_node.destinations import Destination
from dicom_node.scu import SendOutcome, log_outcome, send_each
from dicom_node.status import in_words, is_taken
from fhir_adapters.outbound import AddressRefused, PinnedBackend, Resolver, system_resolver, time_left, until

DEADLINE_S = 60.0
_ANSWER_BYTES = 1 << 20
_CHUNK = 256 * 1024
_LATE, _NO_CONNECTION = "the archive did not answer in time", "no connection"
_AWAY = (_LATE, _NO_CONNECTION)
_NOT_AUTHORISED = 0x0124
# Store Instances Response Module (PS3.18 annex I).
_FAILED, _REFERENCED, _INSTANCE, _FAILURE, _WARNING = "00081198", "00081199", "00081155", "00081197", "00081196"
_STORED, _STORED_IN_PART, _CONFLICT = 200, 202, 409


def send_anyhow(objects: Sequence[Path], destination: Destination, calling_ae: str) -> Iterator[SendOutcome]:
    """Send by STOW-RS where the destination has a URL, by C-STORE otherwise. Never raises for what a peer does."""
    if destination.stow_url is None:
        return send_each(objects, destination, calling_ae)
    return stow_each(objects, destination)


def stow(objects: Sequence[Path], destination: Destination, **how: Any) -> list[SendOutcome]:  # noqa: ANN401
    """Post Part 10 files and return an outcome for each, in their order; see `stow_each`."""
    return list(stow_each(objects, destination, **how))


def stow_each(
    objects: Sequence[Path],
    destination: Destination,
    *,
    resolve: Resolver = system_resolver,
    tls: ssl.SSLContext | None = None,
    deadline_s: float = DEADLINE_S,
) -> Iterator[SendOutcome]:
    """Post Part 10 files to `[stow_url]/studies`; yield an outcome for each, in their order, once it is known.

    The statuses are those of C-STORE, which Failure Reason shares. Never raises for what a peer or a network does.
    """
    backend = PinnedBackend(resolve, may_be_an_archive)
    context = tls or (httpcore.default_ssl_context() if str(destination.stow_url).startswith("https:") else None)
    with httpcore.ConnectionPool(ssl_context=context, max_connections=1, network_backend=backend) as pool:
        away: str | None = None
        for path in objects:
            one = _post(pool, path, destination, deadline_s, away)
            away = one.problem if one.problem in _AWAY else None
            log_outcome(destination, one)
            yield one


def may_be_an_archive(host: str, port: int, address: str) -> bool:
    """Refuse what no archive has: link-local addresses are those of a cloud's own services."""
    del host, port
    at = ip_address(address.partition("%")[0])
    return not (at.is_link_local or at.is_multicast or at.is_unspecified)


def _post(
    pool: httpcore.ConnectionPool, path: Path, destination: Destination, deadline_s: float, away: str | None
) -> SendOutcome:
    try:
        uid = str(dcmread(path, stop_before_pixels=True, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)
        size = path.stat().st_size
    except (InvalidDicomError, OSError, AttributeError):
        return SendOutcome("", None, "the object cannot be read")
    if away is not None:  # not asked again for each object: the lease of the deliveries would run out
        return SendOutcome(uid, None, away)
    boundary = uuid.uuid4().hex
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    tail = f"\r\n--{boundary}--\r\n".encode()
    headers = [
        ("Content-Type", f'multipart/related; type="application/dicom"; boundary={boundary}'),
        ("Content-Length", str(len(head) + size + len(tail))),
        ("Accept", "application/dicom+json"),
        ("Accept-Encoding", "identity"),
        ("User-Agent", "consilium"),
    ]
    if destination.stow_token is not None:
        headers.append(("Authorization", f"Bearer {destination.stow_token}"))
    url = f"{str(destination.stow_url).rstrip('/')}/studies"
    try:
        with until(time.monotonic() + deadline_s):
            content = _parts(head, path, tail)
            with pool.stream("POST", url, headers=headers, content=content) as answer:
                return _outcome(uid, answer.status, _body(answer))
    except AddressRefused:
        return SendOutcome(uid, None, "the archive's name leads to an address that no archive has")
    except httpcore.TimeoutException:
        return SendOutcome(uid, None, _LATE)
    except (httpcore.NetworkError, httpcore.ProtocolError, OSError):
        return SendOutcome(uid, None, _NO_CONNECTION)


def _parts(head: bytes, path: Path, tail: bytes) -> Iterator[bytes]:
    yield head
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk
    yield tail


def _body(answer: httpcore.Response) -> bytes:
    body = b""
    for chunk in answer.iter_stream():
        time_left()
        body += chunk
        if len(body) > _ANSWER_BYTES:
            return b""
    return body


def _outcome(uid: str, http_status: int, body: bytes) -> SendOutcome:
    if http_status in (401, 403):
        return SendOutcome(uid, _NOT_AUTHORISED, f"{in_words(_NOT_AUTHORISED)} (HTTP {http_status})")
    if http_status not in (_STORED, _STORED_IN_PART, _CONFLICT):
        return SendOutcome(uid, None, f"the archive answered with HTTP {http_status}")
    told = _told(body, uid)
    if told is None and http_status == _STORED:
        told = 0x0000  # PS3.18 table 10.5.3-1: 200 says that everything was stored
    if told is None:
        return SendOutcome(uid, None, f"the archive does not say what became of the object (HTTP {http_status})")
    return SendOutcome(uid, told, None if is_taken(told) else in_words(told))


def _told(body: bytes, uid: str) -> int | None:
    """Return the C-STORE status of what a response says of an instance, None when it says nothing of it."""
    try:
        said = json.loads(body)
        said = said[0] if isinstance(said, list) else said
        for item in _items(said, _FAILED):
            if _value(item, _INSTANCE) == uid:
                return int(_value(item, _FAILURE) or 0xC000)
        for item in _items(said, _REFERENCED):
            if _value(item, _INSTANCE) == uid:
                warning = int(_value(item, _WARNING) or 0)
                return warning if is_taken(warning) else 0xB000
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return None
    return None


def _items(said: Any, tag: str) -> list[Any]:  # noqa: ANN401 - JSON from a stranger
    return list(said.get(tag, {}).get("Value") or ())


def _value(item: Any, tag: str) -> Any:  # noqa: ANN401
    return (item.get(tag, {}).get("Value") or [None])[0]
