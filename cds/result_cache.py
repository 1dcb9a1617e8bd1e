"""Answers that are used again: order-sign replaces the patient-view card without running the model once more.

Only services that say so (`Service.reuse_model`): their answer depends on the prefetch, the patient, the day and
one model alone. The key is a digest of all of that, of who asked (one EHR's `Patient/1` is not another's) and of
the service, so no two patients share an answer and no patient data stands in a key. What is kept is bounded in
number and age, in this process: cards hold patient data, and a store that all workers share would write that data
down once more to save a few milliseconds. Errors are never kept.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import orjson

from cds.call import HookCall
from cds.card import Card
from cds.guidance import Guidance
from clinical.clock import Clock
from clinical.errors import ClinicalError
from model_runtime.engine import Engine

MOST = 512
LIFE_S = 300.0


class ResultCache:
    """Guidance by what it was worked out from."""

    def __init__(
        self,
        engine: Engine,
        now: Clock,
        new_uuid: Callable[[], str],
        *,
        most: int = MOST,
        life_s: float = LIFE_S,
        observe: Callable[[str, str], None] = lambda _service, _event: None,
    ) -> None:
        """engine: whose model's digest is in the key. observe: told (service id, "hit" or "miss")."""
        self._engine = engine
        self._now = now
        self._new_uuid = new_uuid
        self._most = most
        self._life_s = life_s
        self._observe = observe
        self._kept: OrderedDict[bytes, tuple[float, Guidance]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def recall(self, call: HookCall, model: str | None, make: Callable[[], Guidance]) -> Guidance:
        """Return the kept answer to the same question with uuids of its own, or what `make` gives.

        model: `Service.reuse_model`; None makes it anew every time. What `make` raises goes through.
        """
        digest, now = self._digest(model), self._now()
        key = None if digest is None else key_of(call, digest, now.date())
        if key is None:
            return make()
        found = self._find(key, now.timestamp())
        self._observe(call.service_id, "miss" if found is None else "hit")
        if found is not None:
            return self._as_new(found)
        made = make()
        self._keep(key, now.timestamp(), made)
        return made

    def _digest(self, model: str | None) -> str | None:
        if model is None:
            return None
        try:
            return self._engine.manifest(model).ref.digest
        except ClinicalError:
            return None  # the service says what is wrong with its model, in its own words

    def _find(self, key: bytes, now_s: float) -> Guidance | None:
        with self._lock:
            kept = self._kept.get(key)
            if kept is None:
                return None
            # A clock that was set back must not make an answer live longer.
            if not 0 <= now_s - kept[0] < self._life_s:
                del self._kept[key]
                return None
            self._kept.move_to_end(key)
            return kept[1]

    def _keep(self, key: bytes, now_s: float, made: Guidance) -> None:
        with self._lock:
            self._kept[key] = (now_s, made)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)

    def _as_new(self, guidance: Guidance) -> Guidance:
        return replace(guidance, cards=tuple(self._with_uuids(card) for card in guidance.cards))

    def _with_uuids(self, card: Card) -> Card:
        suggestions = tuple(replace(one, uuid=self._new_uuid()) for one in card.suggestions)
        return replace(card, uuid=self._new_uuid(), suggestions=suggestions)


def key_of(call: HookCall, model_digest: str, day: date) -> bytes | None:
    """Return the digest of everything that an answer of a reusable service depends on.

    None for what cannot be written down again: a whole number beyond 64 bits.

    The hook, the user and the rest of the context are left out: by `Service.reuse_model` they change nothing.
    """
    known = {key: [found.state.value, found.value, found.reason] for key, found in sorted(call.prefetch.items())}
    request = call.request
    whose = [call.caller.issuer, call.caller.tenant, request.fhir_server, request.patient_id]
    parts = [call.service_id, model_digest, day.isoformat(), whose, known]
    # A digest of one JSON text, in which borders cannot be moved: ["a", "bc"] is not ["ab", "c"].
    try:
        return hashlib.sha256(orjson.dumps(parts, default=_plain, option=orjson.OPT_SORT_KEYS)).digest()
    except TypeError:
        return None


def _plain(value: object) -> Any:  # noqa: ANN401 - whatever JSON has
    if isinstance(value, Decimal):
        return {"\x00decimal": str(value)}  # no sent name holds U+0000, so no object can pass for a number
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(type(value).__name__)
