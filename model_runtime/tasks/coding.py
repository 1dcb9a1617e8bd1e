"""Coded concepts in a manifest."""

from clinical.codes import Coding
from model_runtime.json_fields import Fields


def read_coding(fields: Fields) -> Coding:
    """Read {"system", "code", "display"}."""
    coding = Coding(fields.text("system"), fields.text("code"), fields.text("display"))
    fields.end()
    return coding


def coding_document(coding: Coding) -> dict[str, str]:
    """Return a concept as a manifest writes it."""
    return {"system": coding.system, "code": coding.code, "display": coding.display}
