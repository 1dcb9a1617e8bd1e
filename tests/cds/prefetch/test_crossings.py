"""Calls of many patients at once: what a call gets is its own patient's, whatever the others do."""

import random
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from cds.deadline import deadline_in
from cds.prefetch import PrefetchTemplate, Source, State, gather
from cds.request import parse_request
from cds.testing import FHIR_SERVER, hook_body
from clinical.errors import IncorrectInput, PreconditionMissing
from fhir_adapters.client import Fetched

CALLS, PATIENTS, THREADS, WRONG_EACH = 100_000, 40, 8, 20
SENT_KEYS = (0, 1, 2, 3, 3, 3)  # how many come with the call; most clients send all
TEMPLATES = (
    PrefetchTemplate("patient", "Patient/{{context.patientId}}", required=True),
    PrefetchTemplate("orders", "ServiceRequest?patient={{context.patientId}}", required=True),
    PrefetchTemplate(
        "reasons", "Condition?_id={{%orders.entry.resource.reasonReference.resolve().ofType(Condition).id}}"
    ),
)
KEYS = tuple(template.key for template in TEMPLATES)


def bundle(*resources):
    return {"resourceType": "Bundle", "entry": [{"resource": resource} for resource in resources]}


def record(number):
    """What the EHR holds of one patient, by query."""
    whose = {"subject": {"reference": f"Patient/p{number}"}}
    reason = {"reference": f"Condition/c{number}"}
    order = {"resourceType": "ServiceRequest", "id": f"o{number}", "reasonReference": [reason], **whose}
    return {
        f"Patient/p{number}": {"resourceType": "Patient", "id": f"p{number}"},
        f"ServiceRequest?patient=p{number}": bundle(order),
        f"Condition?_id=c{number}": bundle({"resourceType": "Condition", "id": f"c{number}", **whose}),
    }


RECORD_OF = [record(number) for number in range(PATIENTS)]
RECORDS = {query: answer for one in RECORD_OF for query, answer in one.items()}
GRANTED = {"token_type": "Bearer", "expires_in": 300, "scope": "user/*.rs", "subject": "cds"}


class SharedEhr:
    """One reader for all callers, as in the server; the token says whose call it is. It mixes up when told to."""

    def allows(self, base):
        return True

    def fetch_all(self, grant, wanted, *, ends_at):
        number, mix_up = grant.token.split(":")
        assert all(self._whose(query) == number for query in wanted.values()), "a call asked for another patient"
        shift = int(mix_up)
        return {key: Fetched(RECORDS[self._shifted(query, shift)]) for key, query in wanted.items()}

    @staticmethod
    def _whose(query):
        return query.replace("=", "/").rpartition("/")[2][1:]

    def _shifted(self, query, shift):
        number = self._whose(query)
        return query.replace(number, str((int(number) + shift) % PATIENTS)) if shift else query


def one_call(seed):
    """Make one call; return "own", "refused", or what was wrong."""
    rng = random.Random(seed)
    number = rng.randrange(PATIENTS)
    wrong = rng.randrange(WRONG_EACH) == 0
    other = (number + rng.randrange(1, PATIENTS)) % PATIENTS if wrong else number
    mixed_up_ehr = wrong and rng.random() < 0.5
    theirs = dict(zip(KEYS, RECORD_OF[other].values(), strict=True))
    sent = (
        {}
        if mixed_up_ehr
        else {key: theirs[key] for key in rng.sample(KEYS, 1 if wrong else rng.choice(SENT_KEYS))}
    )
    granted = GRANTED | {"access_token": f"{number}:{other - number if mixed_up_ehr else 0}"}
    body = hook_body(f"p{number}", sent, fhirServer=FHIR_SERVER, fhirAuthorization=granted)
    try:
        found = gather(parse_request(body), TEMPLATES, SharedEhr(), deadline_in(30))
    except (IncorrectInput, PreconditionMissing) as refused:
        return "refused" if wrong else f"refused its own patient: {refused.message}"
    if wrong:
        return "took another patient"
    for (key, item), own in zip(found.items(), RECORD_OF[number].values(), strict=True):
        if item.value is not own or item.state is not State.COMPLETE:
            return "crossed"
        if (item.source is Source.SENT) != (key in sent):
            return "the wrong source"
    return "own"


def run(calls):
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)  # threads change places within calls, not between them
    try:
        with ThreadPoolExecutor(THREADS) as threads:
            chunks = [range(start, calls, THREADS) for start in range(THREADS)]
            outcomes = [
                item for part in threads.map(lambda c: [one_call(seed) for seed in c], chunks) for item in part
            ]
    finally:
        sys.setswitchinterval(interval)
    return outcomes


def check(calls):
    outcomes = run(calls)
    assert set(outcomes) == {"own", "refused"}
    assert len(outcomes) == calls
    # About one call in twenty was wrong on purpose: the test sees crossings where there are some.
    assert calls / WRONG_EACH * 0.7 < outcomes.count("refused") < calls / WRONG_EACH * 1.3


def test_two_thousand_interleaved_calls_never_cross():
    check(2000)


@pytest.mark.slow
def test_a_hundred_thousand_interleaved_calls_never_cross():
    check(CALLS)
