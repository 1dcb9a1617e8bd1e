"""Recordings hold nothing of whom they are about, and are the same call all the same."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds.recording import vocabulary
from cds.recording.deidentify import LONGEST_SHIFT_DAYS, disguise
from cds.recording.recorder import CallRecorder
from cds.recording.replay import recordings, replay
from cds.recording.tape import Heard, said, tape
from cds.wire_schema import hooks, schema
from cds.wire_schema.testing import problems
from clinical.errors import IncorrectInput, PreconditionMissing
from fhir_adapters.client import Fetched, FetchFailed, Reason

KEY = b"k" * 32
NOW = datetime(2026, 11, 26, 9, 0, tzinfo=UTC)
LOINC = "http://loinc.org"


def observation(**more):
    return {
        "resourceType": "Observation",
        "id": "obs-4711",
        "status": "final",
        "code": {"text": "Zzcanary BMI", "coding": [{"system": LOINC, "code": "39156-5", "display": "Zzcanary"}]},
        "subject": {"reference": "Patient/mrn-4711", "display": "Quillon Zzcanary"},
        "effectiveDateTime": "2026-03-04T10:11:12+01:00",
        "valueQuantity": {
            "value": 31.2,
            "unit": "Zzcanary",
            "system": "http://unitsofmeasure.org",
            "code": "kg/m2",
        },
        "note": [{"text": "Zzcanary was here"}],
        **more,
    }


PATIENT = {
    "resourceType": "Patient",
    "id": "mrn-4711",
    "identifier": [{"system": "urn:oid:1.2.3", "value": "ZZCANARY-4711", "assigner": {"display": "Zz Hospital"}}],
    "name": [{"family": "Zzcanary", "given": ["Quillon"]}],
    "telecom": [{"system": "phone", "value": "+41 79 555 47 11"}],
    "address": [{"line": ["Zzcanary street 1"], "postalCode": "8001"}],
    "gender": "male",
    "birthDate": "1969-05-01",
    "extension": [{"url": "http://ehr.example/vip", "valueString": "Zzcanary"}],
    "text": {"div": "<div>Zzcanary</div>"},
}
BODY = {
    "hook": "patient-view",
    "hookInstance": "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea",
    "fhirServer": "https://zz-hospital.example/fhir",
    "fhirAuthorization": {"access_token": "zz-secret", "subject": "zz-service"},
    "context": {"userId": "Practitioner/dr-zz", "patientId": "mrn-4711", "encounterId": "enc-zz"},
    "extension": {"com.zz": "Zzcanary"},
    "prefetch": {
        "patient": PATIENT,
        "bmi": {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": observation()}]},
        "Zzcanary": PATIENT,
    },
}
CARD = {
    "uuid": "4e0a3a1e-3283-4575-ab82-028d55fe2719",
    "summary": "Zzcanary is at risk",
    "indicator": "warning",
    "source": {"label": "Zz", "topic": {"system": "http://snomed.info/sct", "code": "44054006"}},
    "detail": "Zzcanary",
}


def taped(body=BODY, answer=None, keys=("patient", "bmi")):
    who = disguise(KEY, body["context"]["patientId"])
    return tape(Heard("diabetes-risk", body), answer or said({"cards": [CARD]}, who), keys, NOW, who)


def strings(value):
    """Every text in a message, names of members left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)


# What a recording may share with its source, text by text: public codes and FHIR's own words.
PUBLIC = vocabulary.WORDS | vocabulary.TYPES | {"39156-5", "kg/m2", "44054006", "patient-view", LOINC}
PUBLIC |= {"http://unitsofmeasure.org", "http://snomed.info/sct"}


def test_no_text_of_the_source_is_in_the_recording_but_public_codes_and_fhir_s_own_words():
    written = json.dumps(taped())
    source = {text for text in strings([BODY, CARD]) if text not in PUBLIC}
    assert len(source) > 25
    assert [text for text in source if text in written] == []
    assert not re.search(r"zz|canary|4711|quillon|1969-05-01|8001", written, re.IGNORECASE)


def test_what_a_model_reads_is_kept():
    request = taped()["request"]
    kept = request["prefetch"]["bmi"]["entry"][0]["resource"]
    assert kept["code"]["coding"] == [{"system": LOINC, "code": "39156-5"}]
    assert kept["valueQuantity"] == {"value": 31.2, "system": "http://unitsofmeasure.org", "code": "kg/m2"}
    assert kept["status"] == "final"
    assert request["prefetch"]["patient"]["gender"] == "male"


def test_a_recorded_call_is_still_a_legal_one_about_one_patient():
    request = taped()["request"]
    assert problems("request", request) == []
    patient = request["context"]["patientId"]
    assert request["prefetch"]["patient"]["id"] == patient
    assert request["prefetch"]["bmi"]["entry"][0]["resource"]["subject"] == {"reference": f"Patient/{patient}"}


def test_the_time_between_things_stays_and_the_true_dates_go():
    made = taped()
    at = datetime.fromisoformat(made["at"])
    born = datetime.fromisoformat(made["request"]["prefetch"]["patient"]["birthDate"]).replace(tzinfo=UTC)
    taken = datetime.fromisoformat(made["request"]["prefetch"]["bmi"]["entry"][0]["resource"]["effectiveDateTime"])
    assert at - taken == NOW - datetime.fromisoformat("2026-03-04T10:11:12+01:00")
    assert at - born == NOW - datetime(1969, 5, 1, tzinfo=UTC)
    assert timedelta(days=7) <= abs(at - NOW) <= timedelta(days=LONGEST_SHIFT_DAYS)


def test_two_recordings_of_one_patient_are_of_one_pseudonym_and_another_server_makes_another():
    one, again = taped()["request"]["context"], taped()["request"]["context"]
    assert one == again
    assert disguise(b"j" * 32, "mrn-4711").name("mrn-4711") != one["patientId"]


@pytest.mark.parametrize("hook", hooks())
def test_the_context_of_every_hook_is_still_legal(hook):
    context = schema("contexts")["$defs"][hook]["examples"][0]
    kept = disguise(KEY, "1288992").resource(context)
    assert problems("contexts", kept, hook) == []
    assert "1288992" not in json.dumps(kept)


json_values = st.recursive(
    st.text(min_size=3) | st.integers(10_000, 10**9) | st.sampled_from(["Zzcanary", "Dr. Quillon", "1969-05-01"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                sorted(vocabulary.STRUCTURE | vocabulary.WORDED | vocabulary.IDS | {"name", "x", "display"})
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(
    value=st.dictionaries(st.sampled_from(["code", "subject", "entry", "resource", "status", "id"]), json_values)
)
def test_whatever_the_shape_no_text_comes_through(value):
    kept = disguise(KEY, "p1").resource(value)
    allowed = vocabulary.WORDS | vocabulary.TYPES
    source = set(strings(value))
    assert {text for text in strings(kept) if text in source} <= allowed


@pytest.mark.parametrize(
    ("text", "precision"), [("1969", 4), ("1969-05", 7), ("1969-05-01", 10), ("1969-05-01T10:00:00Z", 20)]
)
def test_a_date_keeps_its_precision(text, precision):
    moved = disguise(KEY, "p1").moved(text)
    assert len(moved) == precision
    assert precision < 10 or moved != text


@pytest.mark.parametrize("text", ["1969-05-01 Zzcanary", "1969-13-01", "1969-05-01Tnoon", "yesterday", "19690501"])
def test_what_is_no_date_is_dropped(text):
    assert disguise(KEY, "p1").moved(text) is None


class Reader:
    """Fetches one key and fails at another."""

    def allows(self, _base):
        return True

    def fetch_all(self, _grant, wanted, *, ends_at):
        return {key: Fetched(PATIENT) if key == "patient" else FetchFailed(Reason.FORBIDDEN) for key in wanted}


@pytest.fixture
def recorder(tmp_path):
    return CallRecorder(tmp_path / "tapes", KEY, lambda: NOW, {"diabetes-risk": ("patient", "bmi")})


def only(recorder):
    ((_, made),) = recordings(recorder.folder)
    return made


def test_what_was_fetched_is_kept_with_what_could_not_be_had(recorder):
    def answer(read, reader_of):
        read()
        reader_of(None).fetch_all(None, {"patient": "Patient/mrn-4711", "bmi": "Observation?x"}, ends_at=0)
        return {"cards": [CARD]}

    body = {name: value for name, value in BODY.items() if name != "prefetch"}
    assert recorder.record("diabetes-risk", lambda: body, lambda _: Reader(), answer) == {"cards": [CARD]}
    made = only(recorder)
    assert made["request"]["prefetch"]["patient"]["gender"] == "male"
    assert made["failed"] == {"bmi": Reason.FORBIDDEN.value}
    assert (recorder.folder.stat().st_mode & 0o777, len(list(recorder.folder.iterdir()))) == (0o700, 1)


def test_an_error_goes_on_as_it_was_and_is_kept(recorder):
    def answer(read, _reader_of):
        read()
        raise PreconditionMissing("no", expression=["prefetch.bmi.entry[3].resource"])

    with pytest.raises(PreconditionMissing):
        recorder.record("diabetes-risk", lambda: BODY, lambda _: None, answer)
    assert only(recorder)["answer"] == {"status": "precondition", "expression": ["prefetch.bmi.entry"]}


def test_a_folder_that_cannot_be_written_disturbs_no_call(tmp_path, caplog):
    (tmp_path / "tapes").write_text("a file")
    recorder = CallRecorder(tmp_path / "tapes", KEY, lambda: NOW, {})
    assert recorder.record("s", lambda: BODY, lambda _: None, lambda read, _: read() and {"cards": []}) == {
        "cards": []
    }
    assert "call not recorded" in caplog.text


def played(answer_now, recording=None):
    return replay("one.json", recording or taped(), lambda *_: answer_now, disguise(KEY, "")).changed


@pytest.mark.parametrize(
    ("now", "said_of_it"),
    [
        ((200, {"cards": [CARD]}), ()),
        ((200, {"cards": []}), ("0 cards in place of 1",)),
        ((412, {}), ("answered precondition in place of cards",)),
        ((500, {}), ("answered fault in place of cards",)),
        ((200, {"cards": [CARD | {"indicator": "info"}]}), ("card 1: indicator info in place of warning",)),
        ((200, {"cards": [CARD | {"summary": "Something else"}]}), ("card 1: summary differs",)),
        ((200, {"cards": [CARD | {"links": [{"label": "x"}]}]}), ("card 1: links 1 in place of 0",)),
    ],
)
def test_a_replay_says_what_is_answered_differently(now, said_of_it):
    assert played(now) == said_of_it


def test_a_replay_asks_the_same_service_at_the_same_time():
    asked = []
    replay("x", taped(), lambda *how: asked.append(how) or (200, {"cards": [CARD]}), disguise(KEY, ""))
    ((service, body, at),) = asked
    assert (service, body["context"]["patientId"]) == ("diabetes-risk", disguise(KEY, "").name("mrn-4711"))
    assert at == NOW + disguise(KEY, "mrn-4711").shift


def test_a_file_that_is_no_recording_is_named(tmp_path):
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(IncorrectInput, match=r"other\.json"):
        list(recordings(tmp_path))
