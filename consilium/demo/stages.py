"""What the demonstration does, stage by stage, through the doors that everybody else uses."""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import httpx
from pydicom.dataset import Dataset

from consilium.demo.material import Json, Material
from consilium.demo.server import DemoFailed, RunningServer
from dicom_node.testing import ReceivedByAe, send_files

WAIT_S = 60.0
POLL_S = 0.05
FHIR_JSON = {"Accept": "application/fhir+json", "Content-Type": "application/fhir+json"}

Say = Callable[[str], None]


@dataclass(slots=True)
class Outcome:
    """What came out. timings_ms: stage -> milliseconds."""

    study_uid: str
    patient_id: str = ""
    imaging_study: Json = field(default_factory=dict)
    report: Json = field(default_factory=dict)
    observations: list[Json] = field(default_factory=list)
    risks: list[Json] = field(default_factory=list)
    seg: Dataset | None = None
    sr: Dataset | None = None
    cards: list[Json] = field(default_factory=list)
    timings_ms: dict[str, int] = field(default_factory=dict)


class Stages:
    """Carries out the stages in order; each says a line and is timed."""

    def __init__(self, server: RunningServer, archive: ReceivedByAe, material: Material, say: Say) -> None:
        self._server = server
        self._archive = archive
        self._material = material
        self._say = say
        self._http = httpx.Client(base_url=server.base_url, timeout=30.0, trust_env=False)
        self.outcome = Outcome(material.study_uid)

    def run(self) -> Outcome:
        """Run every stage and return what came out. Raises DemoFailed naming the stage that failed."""
        with self._http:
            for name, stage in (
                ("patient and record created by FHIR", self._create_record),
                ("image sent by C-STORE", self._push),
                ("study quiet, read by the model, results written", self._wait_for_report),
                ("results read by FHIR", self._read_results),
                ("SEG and SR received by the archive", self._wait_for_objects),
                ("patient-view hooks called", self._call_hooks),
            ):
                began = time.monotonic()
                said = stage()
                took_ms = round((time.monotonic() - began) * 1000)
                self.outcome.timings_ms[name] = took_ms
                self._say(f"{name}: {said} ({took_ms} ms)")
        return self.outcome

    def _create_record(self) -> str:
        patient = {key: value for key, value in self._material.patient.items() if key not in {"id", "meta"}}
        created = self._answer(self._http.post("/fhir/Patient", json=patient, headers=FHIR_JSON))
        self.outcome.patient_id = created["id"]
        subject = {"subject": {"reference": f"Patient/{created['id']}"}}
        said = [{key: value for key, value in one.items() if key != "id"} for one in self._observed()]
        for one in said:
            self._answer(self._http.post("/fhir/Observation", json=one | subject, headers=FHIR_JSON))
        return f"Patient/{created['id'][:12]}…, {len(said)} Observations"

    def _observed(self) -> list[Json]:
        """Return the record's Observations that are about the patient."""
        return [one for one in self._material.resources("Observation") if "subject" in one]

    def _push(self) -> str:
        try:
            statuses = send_files([self._material.file], self._server.dicom_port, calling="MODALITY")
        except ConnectionRefusedError:
            raise DemoFailed("the DICOM node refused the association") from None
        if statuses != [0]:
            raise DemoFailed(f"the C-STORE was answered with 0x{statuses[0]:04X}")
        return f"{self._material.described}, answered 0x0000 when it was durable"

    def _wait_for_report(self) -> str:
        identifier = f"urn:dicom:uid|urn:oid:{self._material.study_uid}"
        found = self._until(lambda: self._search("ImagingStudy", identifier=identifier), "no result appeared")
        self.outcome.imaging_study = found[0]
        return f"{found[0]['numberOfSeries']} series in the ImagingStudy"

    def _read_results(self) -> str:
        subject = f"Patient/{self.outcome.patient_id}"
        reports = self._search("DiagnosticReport", patient=subject)
        if len(reports) != 1:
            raise DemoFailed(f"expected one DiagnosticReport of the patient, found {len(reports)}")
        self.outcome.report = reports[0]
        self.outcome.observations = self._search("Observation", patient=subject, category="imaging")
        self.outcome.risks = self._search("RiskAssessment", patient=subject)
        found = f"{len(self.outcome.observations)} Observations, {len(self.outcome.risks)} RiskAssessments"
        return f"{found}, report {reports[0]['status']}"

    def _wait_for_objects(self) -> str:
        wanted = {"SR", "SEG"} if self.outcome.observations else {"SR"}
        self._until(
            lambda: wanted <= {ds.Modality for ds in self._archive.objects}, "the archive did not get them"
        )
        by_modality = {ds.Modality: ds for ds in self._archive.objects}
        self.outcome.seg, self.outcome.sr = by_modality.get("SEG"), by_modality.get("SR")
        return " and ".join(sorted(by_modality))

    def _call_hooks(self) -> str:
        offered = self._answer(self._http.get("/cds-services"))["services"]
        services = [service for service in offered if service["hook"] == "patient-view"]
        said = ""
        for service in services:
            answer = self._http.post(f"/cds-services/{service['id']}", json=self._hook_call(service))
            # Somebody's record may lack what a model needs.
            if answer.status_code == HTTPStatus.PRECONDITION_FAILED:
                said += f"; {service['id']}: {answer.json()['issue'][0]['details']['text']}"
                continue
            self.outcome.cards += self._answer(answer)["cards"]
        return f"{len(self.outcome.cards)} cards from {len(services)} services{said}"

    def _hook_call(self, service: Json) -> Json:
        # The demonstration plays the EHR: it fills each prefetch template from the record it holds.
        record = self._material
        patient = record.patient
        context_id = patient.get("id") or "demo"
        prefetch = {key: _filled(template, record, patient) for key, template in service["prefetch"].items()}
        return {
            "hook": "patient-view",
            "hookInstance": str(uuid.uuid4()),
            "context": {"userId": "Practitioner/demo", "patientId": context_id},
            "prefetch": prefetch,
        }

    def _search(self, kind: str, **parameters: str) -> list[Json]:
        bundle = self._answer(self._http.get(f"/fhir/{kind}", params=parameters, headers=FHIR_JSON))
        return [entry["resource"] for entry in bundle.get("entry", [])]

    def _until(self, found: Callable[[], Any], problem: str) -> Any:  # noqa: ANN401  (whatever was found)
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            if result := found():
                return result
            time.sleep(POLL_S)
        raise DemoFailed(
            f"{problem} within {WAIT_S:.0f} s; the server's log ends with:\n{self._server.said_last()}"
        )

    def _answer(self, response: httpx.Response) -> Json:
        if response.is_success:
            body: Json = response.json()
            return body
        raise DemoFailed(f"{response.request.url.path} answered {response.status_code}: {response.text[:500]}")


def _filled(template: str, record: Material, patient: Json) -> Json:
    """Answer one prefetch template as an EHR would: the patient, or the searchset of what the query names."""
    kind = template.split("?", maxsplit=1)[0].split("/", maxsplit=1)[0]
    if kind == "Patient":
        return patient
    codes = [part.split("|")[-1] for part in _query(template).get("code", "").split(",") if part]
    found = [resource for resource in record.resources(kind) if not codes or _has_code(resource, codes)]
    return {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": resource} for resource in found]}


def _query(template: str) -> dict[str, str]:
    query = template.partition("?")[2]
    return dict(part.split("=", 1) for part in query.split("&") if "=" in part)


def _has_code(resource: Json, codes: list[str]) -> bool:
    codings = [coding.get("code") for coding in resource.get("code", {}).get("coding", [])]
    return any(code in codings for code in codes)
