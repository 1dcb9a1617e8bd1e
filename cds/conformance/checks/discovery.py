"""Section 1.2 of the checklist: discovery."""

import re
from urllib.parse import urljoin

from cds.conformance.bench import Bench, JsonObject, json_of
from cds.conformance.model import Check, Level, NotApplicable, Skipped, must
from cds.prefetch import PrefetchTemplate, parse_query, waves
from cds.prefetch.restrictions import check as check_restrictions
from clinical.errors import ClinicalError

CLAUSE = "Discovery"
_SEGMENT = re.compile(r"[A-Za-z0-9._~-]+")
_SEMVER = re.compile(r"\d+\.\d+(\.\d+)?(-[0-9A-Za-z.-]+)?")
# hook -> versions that were published (HL7/cds-hooks-library).
PUBLISHED = {
    "patient-view": {"1.0"},
    "order-select": {"1.0", "1.0.1"},
    "order-sign": {"1.0", "1.0.1", "1.1", "1.1.0"},
    "order-dispatch": {"1.0", "1.1"},
    "appointment-book": {"1.0"},
    "encounter-start": {"1.0"},
    "encounter-discharge": {"1.0"},
    "problem-list-item-create": {"0.1.0"},
    "allergyintolerance-create": {"0.1.0"},
    "medication-refill": {"0.1.0"},
    "medication-verify": {"0.1.0"},
}


def _announced(bench: Bench) -> list[JsonObject]:
    answer = bench.discover()
    must(answer.status_code == 200, f"GET /cds-services answered {answer.status_code}")
    body = json_of(answer)
    must(isinstance(body, dict) and isinstance(body.get("services"), list), "the answer has no `services` array")
    return list(body["services"])


def _is_there(bench: Bench) -> None:
    _announced(bench)


def _some(bench: Bench) -> list[JsonObject]:
    services = _announced(bench)
    if not services:
        raise NotApplicable("no services are announced")
    return services


def _each_is_described(bench: Bench) -> None:
    for service in _some(bench):
        must(isinstance(service, dict), "a service is no object")
        for name in ("hook", "description", "id"):
            must(isinstance(service.get(name), str) and service[name], f"a service has no `{name}`")
        must(_SEGMENT.fullmatch(service["id"]), "an id is not one segment of a URL")


def _each_has_a_title(bench: Bench) -> None:
    without = [one.get("id") for one in _some(bench) if not one.get("title")]
    must(not without, f"no title: {without}")


def _prefetch_is_text(bench: Bench) -> None:
    for service in _some(bench):
        prefetch = service.get("prefetch", {})
        good = isinstance(prefetch, dict) and all(isinstance(value, str) and value for value in prefetch.values())
        must(good, f"{service.get('id')}: prefetch is not an object of texts")


def _versions(bench: Bench) -> None:
    for service in _some(bench):
        ident = service.get("id")
        must(_SEMVER.fullmatch(str(service.get("version", ""))), f"{ident}: `version` is no semantic version")
        published = PUBLISHED.get(str(service.get("hook")))
        if published and "hookVersion" in service:
            must(service["hookVersion"] in published, f"{ident}: `hookVersion` was never published")


def _same_id_on_other_hooks(bench: Bench) -> None:
    services = bench.services()
    ids = [one["id"] for one in services]
    twice = [one for one in services if ids.count(one["id"]) > 1]
    if not twice:
        raise NotApplicable("no id is announced for two hooks")
    statuses = {bench.call(one, bench.body(one)).status_code for one in twice}
    must(statuses <= {200, 412}, f"one of the hooks of an id answered {sorted(statuses)}")


def _templates(bench: Bench) -> list[tuple[str, str, str]]:
    found = [(s["id"], key, query) for s in bench.services() for key, query in s.get("prefetch", {}).items()]
    if not found:
        raise NotApplicable("no service asks for prefetch")
    return found


def _order_of_keys(bench: Bench) -> None:
    _templates(bench)
    for service in bench.services():
        prefetch = service.get("prefetch", {})
        known: set[str] = set()
        for key, query in prefetch.items():
            needs = {name for name in re.findall(r"%([A-Za-z][A-Za-z0-9-]*)", query) if name in prefetch}
            must(needs <= known, f"{service['id']}: {key} stands before a key that it uses, or uses itself")
            known.add(key)
        try:
            waves([PrefetchTemplate(key, query) for key, query in prefetch.items()])
        except ClinicalError as problem:
            must(False, f"{service['id']}: {problem.message}")


def _only_what_clients_know(bench: Bench) -> None:
    for ident, key, query in _templates(bench):
        try:
            check_restrictions(query, parse_query(query))
        except ClinicalError as problem:
            must(False, f"{ident}.{key}: {problem.message}")


def _asks_for_a_token(bench: Bench) -> None:
    if bench.remote.client is None:
        raise Skipped("no issuer's key was given, so whether authentication is required is not known")
    service = bench.service()
    if bench.send("POST", f"/cds-services/{service['id']}", body=bench.body(service)).status_code != 401:
        raise NotApplicable("calls are answered without a token")
    must(bench.send("GET", "/cds-services").status_code == 401, "discovery is open although calls are not")
    must(bench.discover().status_code == 200, "discovery refuses a token whose aud is its own URL")


def _is_documented(bench: Bench) -> None:
    answer = bench.discover()
    link = re.search(r'<([^>]+)>;\s*rel="?service-doc', answer.headers.get("Link", ""))
    address = bench.options.documentation or (link and urljoin(str(answer.url), link.group(1)))
    if not address:
        raise Skipped("no page is linked (RFC 8631 service-doc) or was named with --documentation: ask for it")
    page = bench.remote.page(address)
    readable = page.headers.get("Content-Type", "").startswith("text/")
    must(page.status_code == 200 and readable, f"the documentation answered {page.status_code}")


CHECKS = (
    Check("D1.1", Level.MUST, CLAUSE, "GET {base}/cds-services answers 200 and an array of services",
          _is_there),
    Check("D2.1", Level.MUST, CLAUSE, "every service has hook, description and an id fit for a URL",
          _each_is_described),
    Check("D2.2", Level.SHOULD, CLAUSE, "every service has a title", _each_has_a_title),
    Check("D2.3", Level.MUST, CLAUSE, "prefetch is an object of texts", _prefetch_is_text),
    Check("D3.1", Level.SHOULD, CLAUSE, "every service says which CDS Hooks version it speaks", _versions),
    Check("D4.1", Level.MAY, CLAUSE, "one id on several hooks is routed by id and hook", _same_id_on_other_hooks),
    Check("D5.1", Level.MUST, "Prefetch Template", "a key that uses another stands after it", _order_of_keys),
    Check("D6.1", Level.MUST, "Prefetch query restrictions", "templates are reads and type-level searches within "
          "the restrictions", _only_what_clients_know),
    Check("D7.1", Level.MUST, "Trusting CDS Clients", "where calls need a token, discovery does too, with its own "
          "URL as aud", _asks_for_a_token),
    Check("D8.1", Level.SHOULD, "Capability Documentation", "what is supported is described for people",
          _is_documented),
)  # fmt: skip
