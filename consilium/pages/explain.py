"""`/studies/<study>/explain`: what happened to a study, for people; `explain.json`: the same for programs.

Behind the bearer token, like the status page. A study is named by its UID or digest; the answer shows the digest.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import orjson
from flask import Blueprint, Response, render_template

from clinical.errors import ClinicalError
from fhir_adapters import outcome

if TYPE_CHECKING:
    from consilium.explain.reader import Explainer


def add_explain(pages: Blueprint, explainer: "Callable[[], Explainer]") -> None:
    """Add the two routes. explainer: made at the first question, which most web workers never hear."""

    @pages.get("/studies/<study>/explain")
    def explain(study: str) -> str:
        return render_template("explain.html", told=explainer().explain(study))

    @pages.get("/studies/<study>/explain.json")
    def explain_json(study: str) -> Response:
        try:
            told = explainer().explain(study)
        except ClinicalError as error:
            return outcome.response(error)
        return Response(orjson.dumps(told), mimetype="application/json")
