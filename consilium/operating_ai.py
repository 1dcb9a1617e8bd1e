"""The FHIR server's collaborators for an operator's commands about AI results: no HTTP, no door."""

import uuid

from consilium.recalling import RecallDesk
from consilium.wiring import House
from fhir_adapters.rest.fhir import Fhir
from model_runtime.engine import LocalEngine


def operator_fhir(house: House) -> Fhir:
    """Return what the operations work with."""
    return Fhir(
        db=house.db,
        now=house.now,
        new_id=lambda: str(uuid.uuid4()),
        page_key=b"",
        base_url=f"{house.base_url}/fhir",
        desk=RecallDesk(LocalEngine(house.library), house.now),
    )
