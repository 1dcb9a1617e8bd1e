"""A worklist for tests, made from PS3.4 annex CC and not from our code: its states, its statuses, its door."""

import threading
from contextlib import contextmanager

from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import (
    UnifiedProcedureStepEvent,
    UnifiedProcedureStepPull,
    UnifiedProcedureStepPush,
    UnifiedProcedureStepWatch,
)

FINAL = ("COMPLETED", "CANCELED")
# PS3.4 table CC.2.5-3: what COMPLETED has to hold.
PERFORMED = (
    "PerformedStationNameCodeSequence", "PerformedWorkitemCodeSequence", "PerformedProcedureStepStartDateTime",
    "PerformedProcedureStepEndDateTime",
)  # fmt: skip


def code(value, scheme, meaning):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def step(
    uid="2.25.100", study="1.2.826.0.1.1", *, objects=(), retrieve_ae="", retrieve_url="", patient_id="", **more
):
    """A step as a manager of AI work would create it."""
    ds, given, place = Dataset(), Dataset(), Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = UnifiedProcedureStepPush, uid
    ds.ProcedureStepState, ds.InputReadinessState = "SCHEDULED", "READY"
    ds.ProcedureStepLabel = "Chest nodules"
    ds.ScheduledWorkitemCodeSequence = [code("110004", "DCM", "Computer Aided Detection")]
    ds.ScheduledStationNameCodeSequence = [code("CONSILIUM", "99HOSP", "AI")]
    ds.PatientName, ds.PatientID = "Zzcanary^Quillon", patient_id
    ds.ProcedureStepProgressInformationSequence = []
    ds.UnifiedProcedureStepPerformedProcedureSequence = []
    given.TypeOfInstances, given.StudyInstanceUID, given.SeriesInstanceUID = "DICOM", study, f"{study}.8"
    given.ReferencedSOPSequence = [reference(one) for one in objects]
    if retrieve_ae:
        place.RetrieveAETitle = retrieve_ae
        given.DICOMRetrievalSequence = [place]
    if retrieve_url:
        address = Dataset()
        address.RetrieveURL = retrieve_url
        given.WADORSRetrievalSequence = [address]
    ds.InputInformationSequence = [given]
    for keyword, value in more.items():
        setattr(ds, keyword, value)
    return ds


def reference(uid):
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1.1", uid
    return item


class Book:
    """The steps of a worklist. changes, updates: what was asked of it, as (UID, what, transaction UID)."""

    def __init__(self, *steps):
        self.steps = {str(one.SOPInstanceUID): one for one in steps}
        self.owners, self.lock = {}, threading.Lock()
        self.changes, self.updates, self.searches = [], [], []
        self.refuses = False  # answers everything with a processing failure
        self.watchers = {}  # AE titles by the UID of the step whose events they are sent
        self.cut_after = None  # "claim", "report", "end": the next such request is done and never answered

    def state(self, uid="2.25.100"):
        return self.steps[uid].ProcedureStepState

    def progress(self, uid="2.25.100"):
        return self.steps[uid].ProcedureStepProgressInformationSequence[0]

    def performed(self, uid="2.25.100"):
        return self.steps[uid].UnifiedProcedureStepPerformedProcedureSequence[0]

    def change(self, uid, state, transaction):
        """PS3.4 table CC.1.1-2, and the final state requirements."""
        with self.lock:
            self.changes.append((uid, state, transaction))
            if self.refuses:
                return 0x0110
            if uid not in self.steps:
                return 0xC307
            if not transaction:
                return 0xC301
            now, owner = self.state(uid), self.owners.get(uid)
            if state == "SCHEDULED":
                return 0xC303
            if now == "SCHEDULED":
                if state != "IN PROGRESS":
                    return 0xC310
                self.owners[uid] = transaction
            elif now == "IN PROGRESS":
                if owner != transaction:
                    return 0xC301
                if state == "IN PROGRESS":
                    return 0xC302
                if not self._may_end(uid, state):
                    return 0xC304
            elif owner == transaction and now == state:
                return 0xB306 if now == "COMPLETED" else 0xB304
            else:
                return 0xC300
            self.steps[uid].ProcedureStepState = state
            return 0x0000

    def update(self, uid, transaction, changes):
        with self.lock:
            self.updates.append((uid, changes, transaction))
            if self.refuses:
                return 0x0110
            if uid not in self.steps:
                return 0xC307
            if self.state(uid) in FINAL:
                return 0xC300
            if self.state(uid) == "SCHEDULED":
                return 0xC310
            if transaction != self.owners[uid]:
                return 0xC301
            if "ProcedureStepState" in changes:
                return 0x0106
            for element in changes:
                if element.keyword != "TransactionUID":
                    self.steps[uid].add(element)
            return 0x0000

    def watch(self, uid, receiver):
        if uid not in self.steps:
            return 0xC307
        self.watchers.setdefault(uid, []).append(receiver)
        return 0x0000

    def scheduled(self):
        return [one for one in self.steps.values() if one.ProcedureStepState == "SCHEDULED"]

    def is_cut(self, what):
        if self.cut_after == what:
            self.cut_after = None
            return True
        return False

    def _may_end(self, uid, state):
        if state == "CANCELED":
            return bool(self.progress(uid).get("ProcedureStepDiscontinuationReasonCodeSequence"))
        done = self.steps[uid].UnifiedProcedureStepPerformedProcedureSequence
        return bool(done) and all(done[0].get(one) for one in PERFORMED) and "OutputInformationSequence" in done[0]


@contextmanager
def dimse(book, title="WORKLIST", *, watched=True):
    """Offer a book by UPS Pull, and by UPS Watch if it is watched, on a free port of loopback; yields the port."""

    def find(event):
        book.searches.append(event.identifier)
        for one in book.scheduled():
            answer = Dataset()
            answer.update({tag: one[tag] for tag in event.identifier.keys() if tag in one})  # noqa: SIM118
            yield 0xFF00, answer

    def get(event):
        one = book.steps.get(event.request.RequestedSOPInstanceUID)
        if one is None:
            return 0xC307, None
        answer = Dataset()
        answer.update({tag: one[tag] for tag in event.attribute_identifiers if tag in one})
        return 0x0000, answer

    def act(event):
        asked, uid = event.action_information, event.request.RequestedSOPInstanceUID
        if event.action_type == 3 and event.context.abstract_syntax == UnifiedProcedureStepWatch:
            assert asked.DeletionLock == "FALSE"
            return book.watch(uid, asked.ReceivingAE), None
        if event.action_type != 1:
            return 0x0123, None
        state = asked.ProcedureStepState
        status = book.change(uid, state, asked.get("TransactionUID"))
        if book.is_cut("claim" if state == "IN PROGRESS" else "end"):
            event.assoc.abort()
        return status, None

    def put(event):
        changes = event.modification_list
        status = book.update(event.request.RequestedSOPInstanceUID, changes.get("TransactionUID"), changes)
        if book.is_cut("report"):
            event.assoc.abort()
        return status, None

    ae = AE(ae_title=title)
    ae.add_supported_context(UnifiedProcedureStepPull)
    if watched:
        ae.add_supported_context(UnifiedProcedureStepWatch)
    handlers = [(evt.EVT_C_FIND, find), (evt.EVT_N_GET, get), (evt.EVT_N_ACTION, act), (evt.EVT_N_SET, put)]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


def reports(port, kind, uid="2.25.100", title="WORKLIST", **said):
    """Call a node as the worklist that it is subscribed at, and report an event; return the status."""
    ae, information = AE(ae_title=title), Dataset()
    for keyword, value in said.items():
        setattr(information, keyword, value)
    ae.add_requested_context(UnifiedProcedureStepEvent)
    role = build_role(UnifiedProcedureStepEvent, scp_role=True)
    association = ae.associate("127.0.0.1", port, ae_title="CONSILIUM", ext_neg=[role])
    assert association.is_established
    try:
        push, meta = UnifiedProcedureStepPush, UnifiedProcedureStepEvent
        status, _ = association.send_n_event_report(information, kind, push, uid, meta_uid=meta)
        return status.Status
    finally:
        association.release()
