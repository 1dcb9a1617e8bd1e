"""All resources of what a model said on a hook call (`clinical.said`): risk, Observations and their Provenance."""

from collections.abc import Mapping
from dataclasses import dataclass

from clinical.codes import PROBABILITY_OF_CANCER, UCUM
from clinical.finding import percent
from clinical.said import Said, SaidForecast, SaidRisk
from fhir_adapters.resources.device import device, made_by, method, performed_by
from fhir_adapters.resources.heart_rate import forecast_observation, forecast_risk, summary_observation
from fhir_adapters.resources.heart_rate_advice import proposal_types, proposals
from fhir_adapters.resources.ids import derived, device_id
from fhir_adapters.resources.labels import (
    NOT_REVIEWED,
    Json,
    ai_asserted,
    ai_confidence,
    concept,
    instant,
    reference,
)
from fhir_adapters.resources.model_card import AiModel, model_card
from fhir_adapters.resources.observation import DIAGNOSES
from fhir_adapters.resources.provenance import provenance
from fhir_adapters.resources.risk_assessment import risk_assessment


@dataclass(frozen=True, slots=True)
class SaidIds:
    """Ids of one result. risk: the RiskAssessment. observations: of a lesion, or of summary and forecast.

    proposals: (type, id) of what is only proposed.
    """

    device: str
    risk: str
    provenance: str
    observations: tuple[str, ...]
    proposals: tuple[tuple[str, str], ...] = ()

    @property
    def results(self) -> list[tuple[str, str]]:
        """(type, id) of what the model asserts."""
        return [
            ("RiskAssessment", self.risk),
            *(("Observation", one) for one in self.observations),
            *self.proposals,
        ]


def said_ids(said: Said, patient_id: str) -> SaidIds:
    """Return ids that follow from model, inputs and patient: the same question again is the same result."""
    own = ("said", said.model.digest, said.input_sha256, patient_id)
    parts = ("summary", "forecast") if isinstance(said.what, SaidForecast) else ("lesion",)
    proposed = proposal_types(said.what) if isinstance(said.what, SaidForecast) else ()
    observed = isinstance(said.what, SaidForecast) or said.what.terms is not None
    return SaidIds(
        device=device_id(said.model),
        risk=derived("risk", *own),
        provenance=derived("provenance", *own),
        observations=tuple(derived("observation", *own, part) for part in parts) if observed else (),
        proposals=tuple((kind, derived(kind, *own)) for kind in proposed),
    )


def said_results(said: Said, *, ids: SaidIds, patient_id: str, about: AiModel) -> list[Json]:
    """Return model card, Device, RiskAssessment and Observations, in that order; their Provenance is apart."""
    made = (
        _of_a_forecast(said, said.what, ids, patient_id)
        if isinstance(said.what, SaidForecast)
        else _of_a_risk(said, said.what, ids, patient_id)
    )
    model = device(said.model, resource_id=ids.device, kinds=about.kinds, model_card_id=about.card_id)
    return [model_card(about), model, *made]


def said_provenance(said: Said, *, ids: SaidIds, versions: Mapping[tuple[str, str], int], about: AiModel) -> Json:
    """Return the Provenance of the results. versions: as of `reading.provenance_of`."""

    def to(kind: str, ident: str) -> Json:
        return reference(kind, ident, versions.get((kind, ident)))

    return provenance(
        said.model,
        resource_id=ids.provenance,
        targets=[to(*each) for each in ids.results],
        device_id=ids.device,
        sources=[{"reference": one} for one in dict.fromkeys((*said.sources, *said.own_sources))],
        recorded=said.at,
        model_card=to("DocumentReference", about.card_id),
        input_sha256=said.input_sha256,
    )


def _of_a_risk(said: Said, what: SaidRisk, ids: SaidIds, patient_id: str) -> list[Json]:
    observed = [_lesion(said, what, what_id, patient_id) for what_id in ids.observations]
    risk = risk_assessment(
        what.risk,
        resource_id=ids.risk,
        patient_id=patient_id,
        device_id=ids.device,
        occurred=said.at,
        answer=what.answer,
        judged=what.judged,
        basis=(*(f"Observation/{one['id']}" for one in observed), *said.own_sources),
        mitigation=what.mitigation or None,
    )
    return [risk, *observed]


def _lesion(said: Said, what: SaidRisk, resource_id: str, patient_id: str) -> Json:
    """Return what was assessed: benign or malignant where the model is sure enough, and how probable it is."""
    if what.terms is None:
        raise ValueError("a lesion has terms")
    measured = {"value": percent(what.risk.probability), "unit": "%", "system": UCUM, "code": "%"}
    resource: Json = {
        "resourceType": "Observation",
        "id": resource_id,
        "meta": ai_asserted(),
        "extension": [ai_confidence(what.risk.probability)],
        "status": "preliminary",
        "code": concept(what.terms.observation, text=what.terms.label),
        "subject": reference("Patient", patient_id),
        "effectiveDateTime": instant(said.at),
        "issued": instant(said.at),
        "performer": [performed_by(said.model, device_id(said.model))],
        "bodySite": concept(what.terms.body_site),
        "method": method(said.model),
        "device": made_by(said.model, device_id(said.model)),
        "note": [{"text": f"{NOT_REVIEWED} Assessment: {what.judged}."}],
        "component": [{"code": concept(PROBABILITY_OF_CANCER), "valueQuantity": measured}],
    }
    if what.answer in DIAGNOSES:
        resource["valueCodeableConcept"] = concept(DIAGNOSES[what.answer])
    return resource


def _of_a_forecast(said: Said, what: SaidForecast, ids: SaidIds, patient_id: str) -> list[Json]:
    summary_id, forecast_id = ids.observations
    summary = summary_observation(said, what, resource_id=summary_id, patient_id=patient_id)
    forecast = forecast_observation(
        said, what, resource_id=forecast_id, patient_id=patient_id, summary_id=summary_id
    )
    risk = forecast_risk(
        said, what, resource_id=ids.risk, patient_id=patient_id, basis=(f"Observation/{summary_id}",)
    )
    return [risk, summary, forecast, *proposals(said, what, dict(ids.proposals), patient_id)]
