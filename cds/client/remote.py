"""A CDS Hooks service as a client sees it: discovery, filled prefetch, call and feedback over HTTP."""

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from cds.client.tokens import Client, mint
from cds.deadline import deadline_in
from cds.prefetch import FhirReader, State, foreign_templates, gather
from cds.request import parse_request
from clinical.errors import Busy, IncorrectInput

JsonObject = dict[str, Any]
FILL_WITHIN_S = 20.0
TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Remote:
    """One server. base_url: what stands before /cds-services. client: who signs tokens, None shows none.

    public_url: the base URL that the server believes it is called by (`aud`), when it is another.
    """

    base_url: str
    http: httpx.Client = field(repr=False)
    client: Client | None = None
    public_url: str | None = None

    def token(self, path: str, flaw: str | None = None) -> str | None:
        """Return a token for one call of `path`, or None without a client. flaw: see `cds.client.tokens`."""
        return None if self.client is None else mint(self.client, self.audience(path), flaw)

    def audience(self, path: str) -> str:
        """Return the URL that a token for `path` is meant for."""
        return f"{self.public_url or self.base_url}{path}"

    def send(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Send one request. token: as it is. body: bytes as they are, else as JSON.

        Raises Busy when the server cannot be reached or does not answer in time.
        """
        shown = dict(headers or {})
        if token is not None:
            shown["Authorization"] = f"Bearer {token}"
        content: JsonObject = (
            {"content": body} if isinstance(body, bytes) else {} if body is None else {"json": body}
        )
        if isinstance(body, bytes):
            shown.setdefault("Content-Type", "application/json")
        try:
            return self.http.request(method, f"{self.base_url}{path}", headers=shown, **content)
        except (httpx.HTTPError, httpx.InvalidURL) as problem:
            raise Busy(f"{method} {path}: no answer ({type(problem).__name__})") from None

    def page(self, address: str) -> httpx.Response:
        """Read a page that the server links to; one below its public base URL is read where we reach it."""
        if self.public_url and address.startswith(f"{self.public_url}/"):
            address = self.base_url + address.removeprefix(self.public_url)
        try:
            return self.http.get(address)
        except (httpx.HTTPError, httpx.InvalidURL) as problem:
            raise Busy(f"a page that the server links to cannot be read ({type(problem).__name__})") from None

    def discover(self, flaw: str | None = None) -> httpx.Response:
        """Ask what services there are."""
        return self.send("GET", "/cds-services", token=self.token("/cds-services", flaw))

    def call(self, service_id: str, body: object, flaw: str | None = None) -> httpx.Response:
        """Call a service."""
        path = f"/cds-services/{service_id}"
        return self.send("POST", path, body=body, token=self.token(path, flaw))

    def feedback(self, service_id: str, body: object, flaw: str | None = None) -> httpx.Response:
        """Tell a service what became of its cards."""
        path = f"/cds-services/{service_id}/feedback"
        return self.send("POST", path, body=body, token=self.token(path, flaw))


@contextmanager
def remote(base_url: str, client: Client | None = None, public_url: str | None = None) -> Iterator[Remote]:
    """Give a server to talk to; proxies and netrc of the environment are not used, redirects not followed."""
    with httpx.Client(timeout=TIMEOUT_S, trust_env=False, follow_redirects=False) as http:
        yield Remote(base_url.rstrip("/"), http, client, public_url and public_url.rstrip("/"))


def services_of(answer: httpx.Response) -> list[JsonObject]:
    """Return the services in a discovery answer. Raises IncorrectInput when it is none."""
    try:
        found = answer.json()["services"]
    except (ValueError, KeyError, TypeError):
        found = None
    if answer.status_code != 200 or not isinstance(found, list):
        raise IncorrectInput(f"discovery answered {answer.status_code} and no services; is this the base URL?")
    return [one for one in found if isinstance(one, dict)]


def request_body(hook: str, context: Mapping[str, Any], **more: object) -> JsonObject:
    """Return the body of a call with a fresh hookInstance; members of `more` that are None are left out."""
    body: JsonObject = {"hook": hook, "hookInstance": str(uuid.uuid4()), "context": dict(context)}
    return body | {name: value for name, value in more.items() if value is not None}


def filled(service: Mapping[str, Any], body: JsonObject, reader: FhirReader, base: str) -> JsonObject:
    """Return the prefetch of a call as a client fills it, by the same engine that our services fetch with.

    service: its entry in discovery. base: the FHIR server's URL, which `reader` reads. A key that cannot be had is
    left out.
    """
    templates = foreign_templates(service.get("prefetch", {}))
    request = parse_request({name: body[name] for name in body if name != "prefetch"} | {"fhirServer": base})
    found = gather(request, templates, reader, deadline_in(FILL_WITHIN_S))
    kept = {key: one.value for key, one in found.items() if one.state is not State.ABSENT}
    return {key: None if value is None else dict(value) for key, value in kept.items()}
