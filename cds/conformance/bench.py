"""What the checks share: the server under test, a patient, FHIR servers of our own, and all that was said."""

import copy
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx

from cds.client.contexts import example_context
from cds.client.fhir_mock import FhirMock
from cds.client.record import Record, RecordReader
from cds.client.remote import Remote, filled, request_body, services_of
from cds.conformance.model import Failed, NotApplicable, Skipped
from clinical.errors import ClinicalError
from fhir_adapters import strict_json

JsonObject = dict[str, Any]
FHIR_TOKEN = "conformance-access-token-that-nobody-may-repeat"  # noqa: S105 - opens the mock server, that is nothing


@dataclass(frozen=True, slots=True)
class Options:
    """How to look at one server.

    services: (id, hook) pairs to call where discovery names none. reaches_fhir: the server can and may call our
    mock FHIR server, so that never calling it is a failure. origin: a browser origin that the server lists.
    documentation: the page for people (D8), when discovery does not link it. open_on_purpose: whoever shows no
    token is let in, and that is meant (J1). takes_system_actions, knows_action_choice: the server knows us as a
    client of that kind. target_ms: what C7 calls "in the order of 500 ms".
    """

    services: Sequence[tuple[str, str]] = ()
    user_id: str = "Practitioner/example"
    reaches_fhir: bool = True
    origin: str | None = None
    documentation: str | None = None
    takes_system_actions: bool = False
    open_on_purpose: bool = False
    knows_action_choice: bool = False
    target_ms: int = 500


@dataclass(slots=True)
class Bench:
    """remote: the server. fhir: our FHIR server with `record`; elsewhere: one that the server must never call.

    seen: every answer that came, for the rules that hold for all of them.
    """

    remote: Remote
    record: Record
    fhir: FhirMock
    elsewhere: FhirMock
    options: Options
    seen: list[httpx.Response] = field(default_factory=list)
    _memory: dict[str, Any] = field(default_factory=dict)

    @property
    def patient_id(self) -> str:
        """The id of the test patient."""
        return self.record.patient_id()

    def loopback(self) -> bool:
        """Tell whether the server is on this machine."""
        return urlsplit(self.remote.base_url).hostname in {"127.0.0.1", "::1", "localhost"}

    def services(self) -> list[JsonObject]:
        """Return what discovery announces, or what the options name. Raises Skipped when there is nothing."""
        if "services" not in self._memory:
            try:
                found = services_of(self.discover())
            except ClinicalError:
                found = []
            named = [{"id": ident, "hook": hook} for ident, hook in self.options.services]
            self._memory["services"] = [one for one in found or named if {"id", "hook"} <= one.keys()]
        if not self._memory["services"]:
            raise Skipped("no service is known: discovery answers none, and no --service was given")
        return list(self._memory["services"])

    def discover(self) -> httpx.Response:
        """Ask for the services."""
        return self._kept(self.remote.discover())

    def context(self, hook: str, number: int = 0) -> JsonObject:
        """Return a context of the hook for the test patient, the given one of the wire schema's examples.

        Raises NotApplicable for a hook that is not HL7's.
        """
        found = example_context(hook, self.patient_id, self.options.user_id, number)
        if found is None:
            raise NotApplicable(f"the context of {hook} is the organisation's own")
        return found

    def body(self, service: Mapping[str, Any], *, prefetch: bool = True, fhir: bool = False) -> JsonObject:
        """Return a good call. prefetch: everything asked for is sent. fhir: our server and its token are named.

        With both, what the record has not is sent as null: nothing is left to fetch.
        """
        body = request_body(service["hook"], self.context(service["hook"]))
        if prefetch and service.get("prefetch"):
            key = f"prefetch {service['id']} {service['hook']}"
            if key not in self._memory:
                self._memory[key] = self._fill(service, body)
            known = dict.fromkeys(service["prefetch"]) if fhir else {}
            body["prefetch"] = known | copy.deepcopy(self._memory[key])
        return body | (self.grant() if fhir else {})

    def _fill(self, service: Mapping[str, Any], body: JsonObject) -> JsonObject:
        try:
            return filled(service, body, RecordReader(self.record), self.fhir.base)
        except ClinicalError as problem:
            raise Skipped(f"the prefetch of {service['id']} cannot be filled: {problem.message}") from None

    def grant(self, base: str | None = None) -> JsonObject:
        """Return fhirServer and fhirAuthorization. base: of another server than our mock."""
        scope = "patient/*.rs user/Observation.rs"
        granted = {"access_token": FHIR_TOKEN, "token_type": "Bearer", "expires_in": 300}
        granted |= {"scope": scope, "subject": "conformance", "patient": self.patient_id}
        return {"fhirServer": base or self.fhir.base, "fhirAuthorization": granted}

    def call(self, service: Mapping[str, Any], body: object, flaw: str | None = None) -> httpx.Response:
        """Call a service and keep what it answers."""
        return self._kept(self.remote.call(str(service["id"]), body, flaw))

    def feedback(self, service: Mapping[str, Any], body: object, flaw: str | None = None) -> httpx.Response:
        """Send feedback and keep what is answered."""
        return self._kept(self.remote.feedback(str(service["id"]), body, flaw))

    def send(self, method: str, path: str, **how: Any) -> httpx.Response:  # noqa: ANN401 - as Remote.send takes it
        """Send any request and keep what is answered."""
        return self._kept(self.remote.send(method, path, **how))

    def _kept(self, answer: httpx.Response) -> httpx.Response:
        self.seen.append(answer)
        return answer

    def answering(self) -> list[tuple[JsonObject, httpx.Response]]:
        """Return the services that answer 200 to a good call with everything that the record can give.

        Raises Skipped when none does, Failed when the only answers were server errors.
        """
        if "answering" not in self._memory:
            self._memory["answering"] = [(one, self._good(one)) for one in self.services()]
        answers = [(one, said) for one, said in self._memory["answering"] if said is not None]
        good = [(one, said) for one, said in answers if said.status_code == 200]
        if not good and any(said.status_code >= 500 for _, said in answers):
            raise Failed("every service that could be called answered with a server error")
        if not good:
            statuses = sorted({said.status_code for _, said in answers})
            raise Skipped(f"no service answers this record (statuses {statuses}): bring another with --record")
        return good

    def _good(self, service: JsonObject) -> httpx.Response | None:
        try:
            return self.call(service, self.body(service))
        except (NotApplicable, Skipped):
            return None

    def service(self) -> JsonObject:
        """Return the service that general rules are checked on: one that gives cards, else one that answers."""
        good = self.answering()
        speaking = [one for one, said in good if cards_of(said)]
        return (speaking or [one for one, _ in good])[0]

    def cards(self) -> list[tuple[JsonObject, JsonObject]]:
        """Return every card of the good calls with its service. Raises Skipped when there is none."""
        found = [(one, card) for one, said in self.answering() for card in cards_of(said)]
        if not found:
            raise Skipped("no card was seen with this record")
        return found

    def fetching(self) -> JsonObject:
        """Return a service that asks for data and fetches it when nothing was sent, as `fetchers`."""
        return self.fetchers()[0]

    def fetchers(self) -> list[JsonObject]:
        """Return every service that fetches what was not sent.

        Raises NotApplicable when no service asks for anything, Skipped when none fetches from us.
        """
        if "fetchers" not in self._memory:
            asking = [one for one, _ in self.answering() if one.get("prefetch")]
            if not asking:
                raise NotApplicable("no service asks for prefetch")
            self._memory["fetchers"] = [one for one in asking if self._fetches(one)]
        if not self._memory["fetchers"]:
            raise Skipped("the service fetches nothing from fhirServer (C4)")
        return list(self._memory["fetchers"])

    def _fetches(self, service: JsonObject) -> bool:
        self.fhir.forget()
        self.call(service, self.body(service, prefetch=False, fhir=True))
        return bool(self.fhir.asked())


def cards_of(answer: httpx.Response) -> list[JsonObject]:
    """Return the cards of an answer; none when it is not understood."""
    body = json_of(answer)
    found = body.get("cards") if isinstance(body, dict) else None
    return [card for card in found if isinstance(card, dict)] if isinstance(found, list) else []


def json_of(answer: httpx.Response) -> Any:  # noqa: ANN401 - any JSON
    """Return the JSON of an answer by the strict rules (RFC 8259, no name twice). Raises Failed."""
    try:
        return strict_json.loads(answer.content, max_bytes=50_000_000)
    except ClinicalError as problem:
        raise Failed(f"an answer ({answer.status_code}) is not JSON: {problem.message}") from None


def new_uuid() -> str:
    """Return a UUID for a message."""
    return str(uuid.uuid4())
