"""`/cds-hooks` says to people what our hooks do: the Capability Documentation of CDS Hooks 3.0 (D8).

It is public, as the specification asks, and made of the services themselves, so it cannot say anything else than
discovery does.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from flask import Blueprint, render_template

from cds.discovery import DOCUMENTATION
from cds.hooks import HOOKS, Hook
from cds.service import SPECIFICATION_VERSION, CdsContext, Service
from consilium.pages.views import dress

STATUSES: Mapping[int, str] = {
    200: "The cards, maybe none: then it was looked, and there is nothing to say.",
    204: "A preflight of an origin that may call from a browser.",
    304: "Discovery has not changed since the entity tag that was sent.",
    400: "The request is wrong; expression names the JSON path. Also: prefetch or context of another patient.",
    401: "No good token. There is no body and no reason; the operator's audit has it.",
    403: "The caller may not do this.",
    404: "There is no such service or address.",
    405: "The address does not take this method; Allow says which.",
    408: "The request did not arrive whole in time.",
    412: "Data that is needed was neither sent nor obtainable; diagnostics says which and why.",
    413: "The body is larger than 5 MiB.",
    414: "The address is longer than 8 kB.",
    415: "The body is not plain application/json in UTF-8.",
    417: "An expectation other than 100-continue.",
    422: "Understood, but not done here.",
    431: "A header is longer than 16 kB, all of them than 128 kB, or there are more than 64.",
    500: "We failed. There is no guidance for this call.",
    503: "Not now: too slow, too busy, or a part is away. Retry-After says when to try again.",
}


@dataclass(frozen=True, slots=True)
class Told:
    """A service as the page tells of it. budget_ms: the time that a call may take. shadow: it answers no cards."""

    service: Service
    budget_ms: int
    shadow: bool


def blueprint(services: Sequence[Service], tell: Callable[[Service], Told], root: str) -> Blueprint:
    """Return the route of the page. tell: what a site has configured for a service. root: as in PagesContext."""
    pages = Blueprint("hooks_page", __name__, template_folder="templates")
    dress(pages, root)
    served = {service.hook.name for service in services}

    @pages.get(DOCUMENTATION)
    def hooks() -> str:
        return render_template(
            "hooks.html",
            version=SPECIFICATION_VERSION,
            services=[tell(service) for service in services],
            hooks=[_fields(hook) for hook in HOOKS.values()],
            served=served,
            statuses=STATUSES,
        )

    return pages


def told_by(context: CdsContext) -> Callable[[Service], Told]:
    """Return who tells of a service what its collaborators are set to."""

    def tell(service: Service) -> Told:
        budget_ms = round(context.budget_of(service.hook.name, service.id) * 1000)
        return Told(service, budget_ms, context.shadow.covers(service.id))

    return tell


def _fields(hook: Hook) -> tuple[Hook, str, str]:
    """Return a hook with the names of what its context must and may hold."""
    required = ", ".join(rule.name for rule in hook.fields if rule.required)
    return hook, required, ", ".join(rule.name for rule in hook.fields if not rule.required)
