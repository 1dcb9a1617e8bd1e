"""The task performer of a house: its worklists, and the loops that ask them and perform their steps."""

import threading
from collections.abc import Callable
from datetime import timedelta

from sqlalchemy import Connection

from clinical.uids import random_uid
from consilium import metrics
from consilium.circuit import ArchiveCircuits
from consilium.dicomweb import ROOT
from consilium.fetching import fetch_of
from consilium.securing import destination_tls
from consilium.setting_values import UpsWorklist
from consilium.wiring import House
from consilium.worker import Loop
from consilium.workitems.asking import Asking
from consilium.workitems.canceling import Canceling
from consilium.workitems.ending import Ending
from consilium.workitems.fetching import Fetching
from consilium.workitems.http import Http
from consilium.workitems.inputs import Inputs
from consilium.workitems.lanes import Lanes, Lease
from consilium.workitems.outcome import Ends, Waits
from consilium.workitems.outputs import Places
from consilium.workitems.own import NAME as OWN
from consilium.workitems.own import own_steps_of
from consilium.workitems.performing import Performing, rule_of
from consilium.workitems.rs import UpsRs
from consilium.workitems.standing import Standing
from consilium.workitems.telling import Telling
from consilium.workitems.wado import SENDER, WebFetch, web_archive
from consilium.workitems.worklist import Worklist
from dicom_node.destinations import Destination
from dicom_node.file_intake import FileIntake
from dicom_node.intake import Intake
from dicom_node.sop_classes import storage_classes
from dicom_node.ups.scu import UpsPull
from dicom_node.ups.states import StepState
from record_store import own_steps, ups_subscriptions, workitems
from record_store.deliveries import RetryPolicy
from record_store.workitems import WorkitemRow

POLL_S = 0.5
KEPT_DAYS = 30
LOCKED_DAYS = 365  # a step that a subscriber wants kept; one that is gone for good asks for ever
PURGE_S = 3600.0
FETCHES_AT_ONCE = 4  # from as many archives
MOST_CALLS = 8  # of a subscriber that does not answer: over about ten minutes
MOST_FETCHES = 6  # of one study: over about five minutes


def workitem_loops(house: House, observe: Callable[[str, str], None]) -> tuple[Loop, ...]:
    """Return the loops; none where no step is performed. observe: told of (worklist, state) as a step moves."""
    if not house.settings.performs_steps:
        return ()
    circuits = ArchiveCircuits()
    worklists = {one.name: worklist_of(house, one) for one in house.settings.ups}
    poll_s = {one.name: one.poll_s for one in house.settings.ups}
    telling: tuple[Loop, ...] = ()
    if house.settings.ups_aes:
        worklists[OWN], poll_s[OWN] = own_steps_of(house), POLL_S
        retry = RetryPolicy(max_attempts=MOST_CALLS, first_s=5.0)
        tells = Telling(house.db, house.nodes, house.settings.ae_title, retry, house.now)
        telling = (Loop("tell subscribers of steps", _after(once(tells.begun), tells.once), POLL_S),)
    rules, worker = house.settings.rules().workitem, house.settings.executor_id
    inputs = Inputs(house.destinations, fetch_of(house), _web(house), house.issuers, ArchiveCircuits())
    standing = Standing(house.db, house.now, house.delivery_retry, observe)
    retry = RetryPolicy(max_attempts=MOST_FETCHES, first_s=10.0)

    def found(conn: Connection, one: WorkitemRow) -> Waits | Ends:
        return inputs.found(conn, one, rule_of(rules, one), house.now())

    performing = Performing(
        db=house.db,
        worklists=worklists,
        rules=rules,
        inputs=inputs,
        ending=Ending(house.db, house.blobs, _places(house), house.settings.ae_title, house.now),
        standing=standing,
        fetching=Fetching(house.db, inputs, standing, retry, lambda one: Lease(house.db, one, worker, house.now)),
        canceling=Canceling(house.db, standing, found),
        lanes=Lanes(house.db, house.now, worker),
        circuits=circuits,
        worker=worker,
    )
    resume = once(performing.resume)
    asking = (
        Loop(f"ask {name}", Asking(house.db, worklist, rules, house.now, random_uid, circuits).once, poll_s[name])
        for name, worklist in worklists.items()
    )
    return (
        *asking,
        *telling,
        Loop("workitems", _after(resume, performing.once), POLL_S),
        Loop("purge workitems", lambda: purge_steps(house), PURGE_S),
        *(
            Loop(f"fetch for workitems {number}", _after(resume, performing.fetch_once), POLL_S)
            for number in range(1, FETCHES_AT_ONCE + 1)
        ),
    )


def once(work: Callable[[], None]) -> Callable[[], None]:
    """Return what does it at the first call, and has done it when any call returns."""
    lock, done = threading.Lock(), threading.Event()

    def first() -> None:
        with lock:
            if not done.is_set():
                work()
                done.set()

    return first


def _after(first: Callable[[], None], work: Callable[[], int]) -> Callable[[], int]:
    def both() -> int:
        first()
        return work()

    return both


def purge_steps(house: House) -> int:
    """Remove steps that came to their end KEPT_DAYS ago, which name patients; return how many.

    Those that a subscriber wants kept LOCKED_DAYS ago.
    """
    before, locked_before = (house.now() - timedelta(days=days) for days in (KEPT_DAYS, LOCKED_DAYS))
    with house.db.write() as conn:
        ended = (StepState.COMPLETED.value, StepState.CANCELED.value)
        count = workitems.purge(conn, before) + own_steps.purge(conn, ended, before, locked_before)
        ups_subscriptions.purge(conn)
    return count


def measure_steps(house: House) -> None:
    """Set how many steps wait in each state, by worklist: none, too, where the last one has ended."""
    with house.db.read() as conn:
        waiting = workitems.waiting(conn)
    names = {name for name, _ in waiting} | {one.name for one in house.settings.ups}
    if house.settings.ups_aes:
        names.add(OWN)
    for name in names:
        for state in (*workitems.UNDER_WAY, workitems.DEAD):
            metrics.WORKITEMS_WAITING.labels(name, state).set(waiting.get((name, state), 0))


def worklist_of(house: House, one: UpsWorklist) -> Worklist:
    """Return a worklist of the settings; nothing is opened before it is asked."""
    if one.url is not None:
        return UpsRs(one.name, one.url, Http("worklist", one.token.get_secret_value() if one.token else None))
    tls = destination_tls(house.settings, one)
    node = Destination(one.name, one.host, one.port, one.ae_title or "", tls=tls)
    return UpsPull(node, house.settings.ae_title)


def _web(house: House) -> WebFetch:
    """Return what fetches by WADO-RS: from the worklists by UPS-RS, and the archives that have a stow_url."""
    settings = house.settings
    known = [(one.url, one.token) for one in settings.ups] + [
        (one.stow_url, one.stow_token) for one in settings.pacs
    ]
    archives = (web_archive(url, token.get_secret_value() if token else None) for url, token in known if url)
    restore = house.homecoming_from(SENDER)
    intake = Intake(house.db, house.blobs, house.issuers, house.now, restore=restore)
    classes = frozenset(storage_classes(settings.storage_classes))
    return WebFetch(
        [one for one in archives if one is not None],
        FileIntake(intake, house.blobs.staging, settings.private_encodings),
        classes,
        settings.ae_title,
        has_room=lambda: house.blobs.free_bytes() >= house.low_water_bytes,
    )


def _places(house: House) -> Places:
    disguised = set(house.disguises)
    titles = {
        name: one.ae_title for name, one in house.destinations.items() if one.ae_title and name not in disguised
    }
    fetched = any({"move", "get"} & set(one.may) for one in house.settings.query_aes.values())
    return Places(
        titles,
        house.settings.ae_title if fetched else "",
        lambda study, series: f"{house.base_url}{ROOT}/studies/{study}/series/{series}",
    )
