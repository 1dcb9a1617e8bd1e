"""A worklist by UPS-RS (PS3.18 section 11): the user agent's side of its four requests."""

import json
import re
import warnings
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from pydicom.dataset import Dataset

from consilium.workitems.http import Http, HttpAnswer
from dicom_node.incoming import DECODER_ERRORS
from dicom_node.query.scu import Unanswered
from dicom_node.ups.reports import state_change
from dicom_node.ups.scu import MOST_STEPS
from dicom_node.ups.states import Answer, Said, StepState

JSON = "application/dicom+json"
# What is asked of a worklist, for the conformance statement: transaction, method, resource below the URL.
REQUESTS = (
    ("Search for Workitems (11.9)", "GET", "/workitems"),
    ("Retrieve Workitem (11.5)", "GET", "/workitems/{workitem}"),
    ("Change Workitem State (11.7)", "PUT", "/workitems/{workitem}/state"),
    ("Update Workitem (11.6)", "POST", "/workitems/{workitem}?{transaction-uid}"),
)
DEADLINE_S = 15.0
MOST_BYTES = 64 << 20
_OURS = re.compile(r"transaction uid", re.IGNORECASE)  # PS3.18 11.6.3.2: the Warning of one that is incorrect
_INCLUDED = "InputReadinessState,ProcedureStepLabel,WorklistLabel,ScheduledWorkitemCodeSequence,"
_INCLUDED += "ScheduledStationNameCodeSequence,ReferencedRequestSequence"


@dataclass(frozen=True, slots=True)
class UpsRs:
    """A worklist with a URL. Every method raises Unanswered when nobody answers."""

    name: str
    url: str
    http: Http

    def scheduled(self) -> list[Dataset]:
        """Return the steps that wait for a performer (11.9)."""
        answer = self._search(f"&includefield={_INCLUDED}&limit={MOST_STEPS}")
        return datasets_of(answer, "worklist")[:MOST_STEPS] if answer.status == 200 else []

    def read(self, uid: str) -> tuple[Said, Dataset | None]:
        """Return a step with all its attributes (11.5), or why there is none."""
        answer = self._send("GET", f"workitems/{quote(uid)}")
        said = self._said(answer)
        if said.answer is not Answer.DONE:
            return said, None
        found = datasets_of(answer, "worklist")
        if not found:
            raise Unanswered("the worklist answered without the step")
        return said, found[0]

    def change(self, uid: str, state: StepState, transaction_uid: str) -> Said:
        """Change a step's state (11.7)."""
        wanted = state_change(state, transaction_uid)
        return self._said(self._send("PUT", f"workitems/{quote(uid)}/state", wanted))

    def update(self, uid: str, transaction_uid: str, changes: Dataset) -> Said:
        """Write attributes of a step that is ours (11.6); the Transaction UID is the query."""
        return self._said(self._send("POST", f"workitems/{quote(uid)}?{quote(transaction_uid)}", changes))

    def watch(self, uid: str) -> bool:
        """Say that requests to cancel do not come: by UPS-RS they would by a WebSocket (PS3.18 8.10.4)."""
        del uid
        return False

    def _said(self, answer: HttpAnswer) -> Said:
        """Return what an answer means. A proxy says 404, too, while its worklist is away, and does not count."""
        said = said_by_http(answer)
        if said.answer is Answer.GONE:
            self._search("&limit=1")
        return said

    def _search(self, more: str) -> HttpAnswer:
        answer = self._send("GET", f"workitems?ProcedureStepState=SCHEDULED{more}")
        if answer.status not in {200, 204}:
            raise Unanswered(f"the worklist answered a search with HTTP {answer.status}")
        return answer

    def _send(self, method: str, path: str, content: Dataset | None = None) -> HttpAnswer:
        body = None if content is None else (JSON, json.dumps([content.to_json_dict()]).encode())
        url = f"{self.url.rstrip('/')}/{path}"
        return self.http.send(method, url, accept=JSON, deadline_s=DEADLINE_S, most_bytes=MOST_BYTES, content=body)


def said_by_http(answer: HttpAnswer) -> Said:
    """Return what an HTTP status means (PS3.18 11.5.3, 11.6.3, 11.7.3). Raises Unanswered for 5xx."""
    status = answer.status
    if status >= 500:
        raise Unanswered(f"the worklist answered with HTTP {status}")
    if 200 <= status < 300:
        return Said(Answer.DONE)
    if status in {404, 410}:
        return Said(Answer.GONE, f"the worklist has no such step (HTTP {status})")
    if status == 409 or (status == 400 and _OURS.search(answer.header("warning"))):
        return Said(Answer.CONFLICT, f"the step is in another state, or another performer's (HTTP {status})")
    if status in {401, 403}:
        return Said(Answer.REFUSED, f"the worklist does not let us (HTTP {status})")
    return Said(Answer.REFUSED, f"failed (HTTP {status})")


def datasets_of(answer: HttpAnswer, who: str) -> list[Dataset]:
    """Return the data sets of an answer in DICOM JSON (PS3.18 annex F). Raises Unanswered for anything else."""
    if not answer.header("content-type").startswith(JSON):
        raise Unanswered(f"the {who} did not answer in {JSON}")
    try:
        said: Any = json.loads(answer.body)
        items = said if isinstance(said, list) else [said]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's warnings quote values
            return [Dataset.from_json(one) for one in items]
    except DECODER_ERRORS:
        raise Unanswered(f"the {who}'s answer is no DICOM JSON") from None
