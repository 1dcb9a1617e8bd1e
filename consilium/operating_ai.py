"""The FHIR server's collaborators for an operator's commands about AI results: no HTTP, no door."""

from dataclasses import replace

from consilium.importing import fhir_of
from consilium.recalling import RecallDesk
from consilium.wiring import House
from fhir_adapters.rest.fhir import Fhir
from model_runtime.engine import LocalEngine


def operator_fhir(house: House) -> Fhir:
    """Return what the operations work with."""
    return replace(fhir_of(house), desk=RecallDesk(LocalEngine(house.library), house.now))
