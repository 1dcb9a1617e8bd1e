"""Recording calls while serving, where a site asks for it (CONSILIUM_RECORD_CALLS_DIR). Off by default.

Nothing that goes wrong here disturbs a call: it is logged, and the call goes on unrecorded.
"""

import json
import os
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from cds.caller import Caller
from cds.prefetch import FhirReader
from cds.recording.deidentify import disguise
from cds.recording.tape import Heard, JsonObject, refused, said, tape
from clinical.clock import Clock
from clinical.errors import ClinicalError, Fault
from fhir_adapters.client import Fetched, FetchFailed, Grant

MAX_FILES = 10_000
ReaderOf = Callable[[Caller], FhirReader | None]
Answer = Callable[[Callable[[], Mapping[str, object]], ReaderOf], JsonObject]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class CallRecorder:
    """Writes one file for each call. key: of the disguise. keys: service id -> prefetch keys that it asks for."""

    folder: Path
    key: bytes = field(repr=False)
    now: Clock
    keys: Mapping[str, tuple[str, ...]]

    def record(
        self, service_id: str, read: Callable[[], Mapping[str, object]], reader_of: ReaderOf, answer: Answer
    ) -> JsonObject:
        """Return what `answer` gives, or raise what it raises; the call is written down either way."""
        heard = Heard(service_id)

        def reading() -> Mapping[str, object]:
            heard.body = read()
            return heard.body

        def listening(caller: Caller) -> FhirReader | None:
            reader = reader_of(caller)
            return None if reader is None else _Listener(reader, heard)

        ended: JsonObject | ClinicalError = Fault("something that nobody foresaw")
        try:
            ended = answer(reading, listening)
        except ClinicalError as error:
            ended = error
            raise
        finally:
            self._keep(heard, ended)
        return ended

    def _keep(self, heard: Heard, ended: JsonObject | ClinicalError) -> None:
        context = heard.body.get("context")
        patient = context.get("patientId") if isinstance(context, dict) else None
        if not isinstance(patient, str):
            return  # it was not understood so far; there is nothing to play again
        who = disguise(self.key, patient)
        try:
            answered = refused(ended) if isinstance(ended, ClinicalError) else said(ended, who)
            made = tape(heard, answered, self.keys.get(heard.service_id, ()), self.now(), who)
            write(self.folder, made)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as problem:
            # What a client sent may have any shape; its text must not get into the log.
            log.warning("call not recorded", service=heard.service_id, kind=type(problem).__name__)


@dataclass(frozen=True, slots=True)
class _Listener:
    """A FhirReader that tells what came."""

    reader: FhirReader
    heard: Heard

    def allows(self, base: str) -> bool:
        return self.reader.allows(base)

    def fetch_all(
        self, grant: Grant, wanted: Mapping[str, Any], *, ends_at: float
    ) -> dict[str, Fetched | FetchFailed]:
        found = self.reader.fetch_all(grant, wanted, ends_at=ends_at)
        for key, one in found.items():
            if isinstance(one, Fetched):
                self.heard.fetched[key] = one.resource
            else:
                self.heard.failed[key] = one.reason.value
        return found


def write(folder: Path, recording: JsonObject) -> Path:
    """Write a recording under its own name, for its owner only. Raises OSError, also when the folder is full."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if sum(1 for _ in folder.iterdir()) >= MAX_FILES:
        raise OSError("the folder holds as many recordings as it may")
    path = folder / f"{recording['service']}-{uuid.uuid4().hex}.json"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(recording, file)
    return path
