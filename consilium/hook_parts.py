"""The stages of a hook call and what services work with, built from the settings."""

import secrets
import uuid
from urllib.parse import urlsplit

from cds.adapt import adapt
from cds.budget import Budgets
from cds.bulkhead import Bulkhead
from cds.call_audit import AuditOfCalls
from cds.caller import ANONYMOUS, Caller
from cds.circuit import CLOSED, OPENED, Circuits, GuardedReader
from cds.links import LinkSigner
from cds.prefetch import FhirReader
from cds.recording.recorder import CallRecorder
from cds.result_cache import ResultCache
from cds.results import ResultLog
from cds.service import CdsContext
from cds.services import SERVICES
from cds.stages import Doorkeeper
from cds.trust import issuers, parts
from cds.trust.cors import Cors
from cds.trust.issuer import TrustFile
from cds.trust.readers import Readers
from consilium import drift_metrics, metrics
from consilium.feedback_parts import feedback_parts
from consilium.keys import RECORDING_KEY, derived_key
from consilium.settings import is_loopback
from consilium.wiring import House
from fhir_adapters.allow_list import AllowedServer, Network
from fhir_adapters.client import FhirClient
from model_runtime.engine import Engine


def hook_context(house: House, engine: Engine, links: LinkSigner) -> CdsContext:
    """Return the collaborators of the hooks."""
    settings, trust, cards = house.settings, trust_of(house), feedback_parts(house)
    readers = _readers(house, trust)
    return CdsContext(
        engine=engine,
        db=house.db,
        now=house.now,
        links=links,
        new_uuid=_new_uuid,
        base_url=house.base_url,
        reader_for=readers,
        budget=Budgets(settings.hook_budget_ms, settings.hook_budgets).seconds,
        observe=lambda service, status, seconds: metrics.HOOK_SECONDS.labels(service, status).observe(seconds),
        observe_prefetch=lambda *labels: metrics.PREFETCH.labels(*labels).inc(),
        drift=drift_metrics.drift_observer(),
        door=_door(house, trust),
        cors=Cors(settings.cors_origins),
        bulkhead=Bulkhead(settings.web_threads, callers=len(trust.issuers) if trust else 1),
        circuits=Circuits("service", observe=_circuit_event),
        results=ResultCache(engine, house.now, _new_uuid, observe=_result_event),
        hygiene=cards.hygiene,
        shadow=cards.shadow,
        adapt=adapt,
        sent=cards.sent,
        result_rows=_result_log(house, readers) if settings.store_card_results else None,
        feedback=cards.feedback,
        audit=AuditOfCalls(house.now),
        tape=_tape(house),
    )


def _result_log(house: House, readers: "GuardedReaders") -> ResultLog:
    base = f"{house.base_url}/fhir"

    def speaks_for_us(caller: Caller) -> bool:
        # As of every server: its issuer's profile lists it (`fhir_bases`). Anonymous is the development profile.
        reader = readers(caller)
        return caller == ANONYMOUS or (reader is not None and reader.allows(base))

    return ResultLog(house.now, base, speaks_for_us)


def _tape(house: House) -> CallRecorder | None:
    folder = house.settings.record_calls_dir
    if folder is None:
        return None
    keys: dict[str, tuple[str, ...]] = {}
    for one in SERVICES:
        keys[one.id] = (*keys.get(one.id, ()), *(template.key for template in one.prefetch))
    return CallRecorder(folder, derived_key(house.key, RECORDING_KEY), house.now, keys)


def trust_of(house: House) -> TrustFile | None:
    """Return what the issuers file says; None without one. The settings have read it before."""
    path = house.settings.cds_issuers_file
    return None if path is None else issuers.read(path, production=house.settings.profile == "production")


def _door(house: House, trust: TrustFile | None) -> Doorkeeper:
    given = house.settings.bearer_token
    bearer = None if given is None else given.get_secret_value()
    if bearer is None and trust is None and house.settings.profile == "production":
        bearer = secrets.token_urlsafe(48)  # with clients of the FHIR API alone, nobody has a key to the hooks
    return parts.door(
        trust=trust,
        bearer=bearer,
        open_to_all=house.settings.profile == "development",
        db=house.db,
        now=house.now,
        observe=lambda issuer, reason: metrics.TOKENS_REFUSED.labels(issuer, reason).inc(),
    )


class GuardedReaders:
    """Who fetches for a caller: its issuer's client, with one circuit for each EHR before all of them."""

    def __init__(self, readers: Readers, ehrs: Circuits) -> None:
        self._readers = readers
        self._ehrs = ehrs

    def __call__(self, caller: Caller) -> FhirReader | None:
        reader = self._readers.reader(caller)
        return None if reader is None else GuardedReader(reader, self._ehrs)

    def close(self) -> None:
        """Close the connections to EHRs; the next use opens new ones."""
        self._readers.close()


def _readers(house: House, trust: TrustFile | None) -> GuardedReaders:
    servers = [_allowed(house, base) for base in house.settings.fhir_servers]
    return GuardedReaders(
        Readers(trust, FhirClient(servers) if servers else None), Circuits("ehr", observe=_circuit_event)
    )


def _allowed(house: House, base: str) -> AllowedServer:
    development = house.settings.profile == "development"
    if development and is_loopback(urlsplit(base).hostname or ""):
        return AllowedServer(base, Network.LOOPBACK)
    return AllowedServer(base, Network(house.settings.fhir_network))


def _new_uuid() -> str:
    return str(uuid.uuid4())


def _circuit_event(kind: str, name: str, event: str) -> None:
    metrics.CIRCUIT_EVENTS.labels(kind, name, event).inc()
    if event in {OPENED, CLOSED}:
        metrics.CIRCUIT_OPEN.labels(kind, name).set(event == OPENED)


def _result_event(service: str, event: str) -> None:
    metrics.RESULT_CACHE.labels(service, event).inc()
