"""The worker process: its loops, its job engine, its models, put together and started in order."""

import gc
import importlib
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from clinical.uids import random_uid
from consilium import __version__, drift_metrics, metrics
from consilium.auditing import AUDIT_KEY, Auditing, NotedSend
from consilium.closing import Closing
from consilium.committing import Committing, answers_of
from consilium.completing import Completing
from consilium.counting import POLL_S, Counting
from consilium.delivering import Delivering
from consilium.fetching import fetch_of
from consilium.filing import POLL_S as FILING_POLL_S
from consilium.filing import Filing
from consilium.forwarding import purge_deliveries
from consilium.holding import Holding
from consilium.keys import derived_key
from consilium.lanes import Lanes
from consilium.order_keeping import OrderKeeping
from consilium.ordering import POLL_S as ORDERS_POLL_S
from consilium.ordering import Ordering
from consilium.priors import POLL_S as PRIORS_POLL_S
from consilium.priors import Priors
from consilium.replay_requests import POLL_S as REPLAY_POLL_S
from consilium.replay_requests import ReplayRequests
from consilium.rules.completion import Waits
from consilium.setting_values import DicomNode
from consilium.shadow.process import ShadowProcess, command_of
from consilium.stowing import send_anyhow
from consilium.study import StudySteps
from consilium.subscribing import measure_subscriptions, purge_notifications, subscribing_of
from consilium.vouching import vouching_of
from consilium.waking import Waking
from consilium.wiring import House
from consilium.withholding import Withholding
from consilium.worker import (
    CLOSER_POLL_S,
    DELIVERY_POLL_S,
    NEVER,
    RECONCILE_S,
    Loop,
    always,
    image_models,
    models_problem,
)
from dicom_node.anatomy import BodyPartRule
from dicom_node.commitment import ask
from dicom_node.destinations import Destination
from dicom_node.expected_count import ExpectedCount
from dicom_node.pixels import Decoder
from dicom_node.query.scu import find
from dicom_node.query.worklist import orders_of
from fhir_adapters.bulk.making import Exporter, clear_old
from fhir_adapters.reindex import reindex
from model_runtime.engine import LocalEngine, State
from model_runtime.session import Device
from record_store import (
    commitment_requests,
    commitments,
    deliveries,
    exports,
    fhir_deliveries,
    hl7_messages,
    readings,
    sent_cards,
    shadows,
)
from record_store.changes import changes_of
from record_store.deliveries import RetryPolicy
from record_store.instances import due_studies, study_row
from record_store.jobs import JobClient, JobEngine

if TYPE_CHECKING:
    from consilium.replaying import Replayed

COMMITMENT_ASKS = 12
COMMITMENT_POLL_S = 0.5
DRAIN_S = 6
INDEX_POLL_S = 0.5
MEASURE_S = 5.0
AUDIT_POLL_S = 5.0
EXPORT_POLL_S = 0.5
CLEAR_EXPORTS_S = 60.0
PURGE_S = 3600.0
REINDEX_S = 60.0
QUESTION_DAYS = 30
SHADOW_POLL_S = 1.0


@dataclass(frozen=True, slots=True)
class Worker:
    """Everything that runs in a worker."""

    engine: JobEngine
    loops: tuple[Loop, ...]
    lanes: tuple[Lanes, ...]
    stopping: threading.Event
    decoder: Decoder
    jobs: JobClient
    models: LocalEngine
    required_models: tuple[str, ...]
    waking: Waking
    shadow: ShadowProcess | None = None

    def start(self, tell_problem: Callable[[str | None], None]) -> None:
        """Start the job engine first: it recovers what this worker left running.

        tell_problem: told why images cannot be read, or None, once the models have been tried.
        """
        self.engine.start()
        for loop in self.loops:
            loop.start()
        self.waking.start()
        threading.Thread(target=self._warm, args=(tell_problem,), name="warm", daemon=True).start()

    def _warm(self, tell_problem: Callable[[str | None], None]) -> None:
        # What the first study would wait for: decoder's child, encoders' import, models' load and check.
        self.decoder.start()
        importlib.import_module("dicom_node.results.warming").warm()
        for state in self.models.ready():
            if state.version and self.models.manifest(state.name).modalities:
                self.models.warm(state.name)
        # What has been loaded stays: looking through it for garbage cost one report in ten 150 ms.
        gc.collect()
        gc.freeze()
        tell_problem(models_problem(self.models, self.required_models))

    def stop(self) -> None:
        """Take nothing new, let what is in hand end within DRAIN_S in all, then close."""
        self.stopping.set()
        for loop in self.loops:
            loop.ask_to_stop()
        until = time.monotonic() + DRAIN_S
        self.waking.ask_to_stop()
        if self.shadow is not None:
            self.shadow.ask_to_stop()
        self.engine.stop(DRAIN_S)
        for loop in self.loops:
            loop.stop(max(0.0, until - time.monotonic()))
        for lanes in self.lanes:
            lanes.wait(max(0.0, until - time.monotonic()))
        if self.shadow is not None:
            self.shadow.stop(max(0.0, until - time.monotonic()))
        self.jobs.close()
        self.decoder.close()


class _Counting:
    """The study steps' observer: Prometheus. published: called when results are there to be sent."""

    def __init__(self, published: Callable[[], None]) -> None:
        self._published = published

    def step_ended(self, step: str, seconds: float) -> None:
        metrics.STEP_SECONDS.labels(step).observe(seconds)

    def job_ended(self, model: str, state: str, seconds: float | None) -> None:
        metrics.JOBS.labels(model, state).inc()
        if seconds is not None:
            metrics.STUDY_SECONDS.labels(model).observe(seconds)
            self._published()


def _delivered(destination: str, state: str) -> None:
    metrics.DELIVERIES.labels(destination, state).inc()


def _measure(house: House, models: LocalEngine) -> int:
    """Set the gauges that nobody's request would."""
    for state in models.ready():
        for device in Device:
            runs_there = state.state is State.READY and state.device is device
            metrics.MODEL_DEVICE.labels(state.name, device).set(runs_there)
        metrics.MODEL_DEGRADED.labels(state.name).set(state.degraded)
    metrics.BLOB_FREE_BYTES.set(house.blobs.free_bytes())
    quarantined, size = house.quarantine.totals()
    metrics.QUARANTINE_OBJECTS.set(quarantined)
    metrics.QUARANTINE_BYTES.set(size)
    now, quiet = house.now(), timedelta(seconds=house.settings.study_quiet_s)
    with house.db.read() as conn:
        waiting = [job.created_at for job in readings.queued_jobs(conn)]
        overdue = due_studies(conn, now - quiet)[:1]
        waiting += [row.last_received_at + quiet for row in (study_row(conn, uid) for uid in overdue) if row]
    _measure_shadows(house)
    measure_subscriptions(house)
    _measure_workitems(house)
    metrics.OLDEST_QUEUED_SECONDS.set((now - min(waiting, default=now)).total_seconds())
    return 1


def _measure_workitems(house: House) -> None:
    if not house.settings.performs_steps:
        return
    from consilium.workitems.wiring import measure_steps  # noqa: PLC0415 - only who performs steps

    measure_steps(house)


def _measure_shadows(house: House) -> None:
    with house.db.read() as conn:
        found = {row[:3]: row[3] for row in shadows.counts(conn)}
    for model, version in {key[:2] for key in found}:
        for state in shadows.STATES:
            metrics.SHADOW_STUDIES.labels(model, version, state).set(found.get((model, version, state), 0))


def build_worker(house: House, beaten: Callable[[float], None] = lambda _beat_at: None) -> Worker:
    """Return the worker's parts; nothing has been started. beaten: see `JobEngine`."""
    settings = house.settings
    models = LocalEngine(house.library, house.placement)
    decoder = house.decoder
    stopping = threading.Event()
    delivery, commitment, vouching = _deliveries(house, stopping), _commitments(house), _answers(house)
    subscribing = subscribing_of(house, stopping)
    deliver = Loop(
        "deliver",
        delivery.once,
        DELIVERY_POLL_S,
        rests=lambda: not deliveries.due_destinations(house.db, NEVER),
    )
    steps = StudySteps(
        db=house.db,
        blobs=house.blobs,
        engine=models,
        decoder=decoder,
        now=house.now,
        issuers=house.issuers,
        destinations=tuple(one.name for one in settings.pacs),
        results=settings.results,
        kinds_for={one.name: one.results for one in settings.pacs if one.results is not None},
        compare=house.settings.compare_priors,
        patient_id=house.patient_id,
        software_version=__version__,
        device_serial=settings.ae_title,
        observe=_Counting(deliver.wake),
        drift=drift_metrics.drift_observer(),
        body_parts=tuple(
            BodyPartRule(one.body_part, one.calling_ae, one.description) for one in settings.body_parts
        ),
        rules=settings.rules(),
    )
    engine = JobEngine(
        house.db,
        settings.executor_id,
        steps.in_order(),
        steps.failed,
        slots=settings.worker_slots,
        silence_s=settings.executor_silence_s,
        beaten=beaten,
    )
    jobs = JobClient(house.db)
    loops = (
        *_loops(house, models, jobs, stopping),
        deliver,
        Loop(
            "commit",
            commitment.once,
            COMMITMENT_POLL_S,
            rests=lambda: not commitments.due_destinations(house.db, NEVER),
        ),
        Loop(
            "vouch",
            vouching.once,
            COMMITMENT_POLL_S,
            rests=lambda: not commitment_requests.due_senders(house.db, NEVER),
        ),
        *subscribing.loops,
        *_workitems(house),
    )
    lanes: tuple[Lanes, ...] = (delivery, commitment, vouching, subscribing.lanes)
    if any(one.results for one in settings.fhir_destinations):
        forwarding = _forwarding(house, stopping)
        forward = Loop(
            "forward",
            forwarding.once,
            DELIVERY_POLL_S,
            rests=lambda: not fhir_deliveries.due_destinations(house.db, NEVER),
        )
        loops, lanes = (*loops, forward), (*lanes, forwarding)
    shadow = ShadowProcess(command_of(settings.data_dir), os.environ) if settings.rules().shadow else None
    if shadow is not None:
        loops = (*loops, Loop("shadow", shadow.watch, SHADOW_POLL_S))
    waking = Waking(changes_of(house.db.url), [loop.changed for loop in loops])
    return Worker(engine, loops, lanes, stopping, decoder, jobs, models, settings.required_models, waking, shadow)


def _loops(house: House, models: LocalEngine, jobs: JobClient, stopping: threading.Event) -> tuple[Loop, ...]:
    settings = house.settings
    closing = Closing(
        db=house.db,
        jobs=jobs,
        models=lambda: image_models(models, settings.required_models),
        completing=Completing(
            Waits(settings.study_quiet_s, settings.release_grace_s),
            settings.rules().complete,
            counted=settings.count_archive is not None,
        ),
        now=house.now,
        hold=Holding(
            house.db, house.selecting, settings.rules().hold, settings.accession_issuers.get("", "")
        ).reason,
        archives={name: one.ae_title for name, one in house.destinations.items()},
    )
    return (
        Loop("close", closing.once, CLOSER_POLL_S, rests=closing.rests),
        *(
            [Loop("count", _counting(house, settings.count_archive).once, POLL_S)]
            if settings.count_archive
            else []
        ),
        Loop("reconcile", closing.reconcile, RECONCILE_S),
        Loop("measure", lambda: _measure(house, models), MEASURE_S),
        *([Loop("priors", _priors(house).once, PRIORS_POLL_S)] if settings.rules().prior else []),
        *([Loop("orders", _orders(house, settings.worklist).once, ORDERS_POLL_S)] if settings.worklist else []),
        Loop("results", Filing(house.db, models, house.now).once, FILING_POLL_S, rests=always),
        Loop("replays", _replays(house, models).once, REPLAY_POLL_S, rests=always),
        Loop("index", house.header_index.catch_up, INDEX_POLL_S, rests=always),
        Loop("reindex", lambda: reindex(house.db, f"{house.base_url}/fhir", stopping=stopping.is_set), REINDEX_S),
        Loop("audit", _auditing(house).once, AUDIT_POLL_S),
        Loop(
            "export",
            _exporter(house, stopping).once,
            EXPORT_POLL_S,
            rests=lambda: exports.none_unfinished(house.db),
        ),
        Loop("purge exports", lambda: clear_exports(house), CLEAR_EXPORTS_S),
        Loop("purge", lambda: purge_cards(house), PURGE_S),
        Loop("purge messages", lambda: purge_messages(house), PURGE_S),
        Loop("purge notifications", lambda: purge_notifications(house), PURGE_S),
        Loop("purge questions", lambda: purge_questions(house), PURGE_S),
        Loop("purge fhir deliveries", lambda: purge_deliveries(house.db, house.now), PURGE_S),
        Loop("purge quarantine", house.quarantine.expire, PURGE_S),
    )


def _orders(house: House, node: DicomNode) -> Ordering:
    worklist = Destination("worklist", node.host, node.port, node.ae_title)
    settings = house.settings
    keeping = OrderKeeping(node.ae_title, settings.accession_issuers, house.patient_id)
    return Ordering(
        house.db,
        worklist,
        settings.ae_title,
        house.now,
        orders_of,
        issuers=house.issuers,
        keeping=keeping if settings.keep_orders else None,
    )


def _priors(house: House) -> Priors:
    settings = house.settings
    return Priors(
        house.db,
        settings.rules().prior,
        house.destinations,
        settings.ae_title,
        house.now,
        find,
        fetch_of(house),
    )


def _exporter(house: House, stopping: threading.Event) -> Exporter:
    return Exporter(
        db=house.db,
        blobs=house.blobs,
        now=house.now,
        base_url=f"{house.base_url}/fhir",
        executor=house.settings.executor_id,
        stopping=stopping.is_set,
        consents=house.consents,
    )


def clear_exports(house: House) -> int:
    """Remove the files of bulk exports that were cancelled or whose life is over; return the number of files."""
    return clear_old(house.db, house.blobs, house.now, house.settings.export_life_s)


def _auditing(house: House) -> Auditing:
    key, title = derived_key(house.key, AUDIT_KEY), house.settings.ae_title
    return Auditing(house.db, key, house.now, title, f"{house.base_url}/fhir")


def _counting(house: House, archive: str) -> Counting:
    settings = house.settings
    count = ExpectedCount(house.destinations[archive], settings.ae_title)
    return Counting(house.db, archive, count, settings.study_quiet_s, house.now)


def _workitems(house: House) -> tuple[Loop, ...]:
    if not house.settings.performs_steps:
        return ()
    from consilium.workitems.wiring import workitem_loops  # noqa: PLC0415 - only who performs steps

    return workitem_loops(house, lambda *of: metrics.WORKITEMS.labels(*of).inc())


def _forwarding(house: House, stopping: threading.Event) -> Lanes:
    from consilium.remotes import forwarding_of  # noqa: PLC0415 - only who has such a destination

    forwarding = forwarding_of(house, stopping.is_set, lambda *of: metrics.FHIR_DELIVERIES.labels(*of).inc())
    slots = house.settings.delivery_slots
    return Lanes(forwarding.due, forwarding.deliver, slots=slots, rest=house.delivery_retry)


def _deliveries(house: House, stopping: threading.Event) -> Lanes:
    settings, retry = house.settings, house.delivery_retry
    delivering = Delivering(
        db=house.db,
        blobs=house.blobs,
        destinations=house.destinations,
        calling_ae=settings.ae_title,
        retry=retry,
        now=house.now,
        send=NotedSend(house.egress(send_anyhow), house.db, house.trail.note),
        observe=_delivered,
        stopping=stopping.is_set,
        withheld=Withholding(house.db),
    )
    return Lanes(delivering.due, delivering.deliver, slots=settings.delivery_slots, rest=retry)


def _commitments(house: House) -> Lanes:
    settings = house.settings
    committing = Committing(
        db=house.db,
        destinations=house.destinations,
        calling_ae=settings.ae_title,
        retry=RetryPolicy(max_attempts=COMMITMENT_ASKS, first_s=settings.commitment_wait_s, ceiling_s=86_400),
        now=house.now,
        new_uid=random_uid,
        ask=ask,
        take=answers_of(house, _delivered).take,
    )
    slots = settings.delivery_slots
    return Lanes(committing.due, committing.ask_about, slots=slots, rest=house.delivery_retry)


def _replays(house: House, models: LocalEngine) -> ReplayRequests:
    def run(resource_type: str, resource_id: str) -> "Replayed":
        from consilium.replaying import Replaying  # noqa: PLC0415 - all of the FHIR API, for who asks

        replaying = Replaying(house.db, house.blobs, models, lambda: house.decoder, house.now)
        return replaying.run(resource_type, resource_id)

    return ReplayRequests(house.db, run, house.now)


def _answers(house: House) -> Lanes:
    vouching = vouching_of(house)
    return Lanes(
        vouching.due, vouching.tell_sender, slots=house.settings.delivery_slots, rest=house.delivery_retry
    )


def purge_cards(house: House) -> int:
    """Remove cards, feedback and outcomes that are older than CONSILIUM_CARD_RETENTION_DAYS; return the rows."""
    return sent_cards.purge(house.db, house.now() - timedelta(days=house.settings.card_retention_days))


def purge_messages(house: House) -> int:
    """Remove HL7 v2 messages that were stored CONSILIUM_HL7_RETENTION_DAYS ago; return how many."""
    return hl7_messages.purge(house.db, house.now() - timedelta(days=house.settings.hl7_retention_days))


def purge_questions(house: House) -> int:
    """Remove senders' questions about storage that were settled QUESTION_DAYS ago; return the rows."""
    with house.db.write() as conn:
        return commitment_requests.purge(conn, house.now() - timedelta(days=QUESTION_DAYS))
