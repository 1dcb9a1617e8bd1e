"""Section 1.7 of the checklist: cards, suggestions, actions, links."""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from cds.conformance.bench import Bench, JsonObject
from cds.conformance.model import Check, Level, NotApplicable, Skipped, must

CLAUSE = "CDS Service Response"
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_RELATIVE = re.compile(r"[A-Z][A-Za-z]+/[A-Za-z0-9.-]{1,64}")
_HTML = re.compile(r"<(script|iframe|object|embed|style|form)\b|\son\w+=|\]\(\s*javascript:", re.IGNORECASE)
LONGEST_SUMMARY = 139


def _cards(bench: Bench) -> Iterator[JsonObject]:
    return (card for _, card in bench.cards())


def _having(bench: Bench, name: str) -> list[JsonObject]:
    found = [card for card in _cards(bench) if card.get(name)]
    if not found:
        raise NotApplicable(f"no card has {name}")
    return found


def _suggestions(bench: Bench) -> list[JsonObject]:
    return [one for card in _having(bench, "suggestions") for one in card["suggestions"]]


def _actions(bench: Bench) -> list[JsonObject]:
    found = [
        action
        for _, card in bench.cards()
        for one in card.get("suggestions", [])
        for action in one.get("actions", [])
    ]
    found += [action for _, answer in bench.answering() for action in answer.json().get("systemActions", [])]
    if not found:
        raise NotApplicable("no action was seen")
    return found


def _summary(bench: Bench) -> None:
    for card in _cards(bench):
        text = card.get("summary", "")
        must(isinstance(text, str) and text.strip(), "a card has no summary")
        must(len(text) <= LONGEST_SUMMARY, f"a summary has {len(text)} characters")


def _indicator_and_source(bench: Bench) -> None:
    for card in _cards(bench):
        must(card.get("indicator") in {"info", "warning", "critical"}, "an indicator is not one of the three")
        source = card.get("source", {})
        must(isinstance(source, dict) and source.get("label"), "a card has no source.label")
        for name in ("url", "icon"):
            must(name not in source or _absolute(source[name]), f"source.{name} is not absolute")


def _absolute(url: object) -> bool:
    parts = urlsplit(url) if isinstance(url, str) else None
    return parts is not None and parts.scheme in {"http", "https"} and bool(parts.netloc)


def _topic(bench: Bench) -> None:
    for card in _cards(bench):
        topic = card.get("source", {}).get("topic")
        must(isinstance(topic, dict) and topic.get("code") and topic.get("system"), "a source has no coded topic")


def _detail(bench: Bench) -> None:
    for card in _having(bench, "detail"):
        must(isinstance(card["detail"], str) and not _HTML.search(card["detail"]), "a detail holds active HTML")


def _uuids(bench: Bench) -> None:
    found = [card.get("uuid") for card in _cards(bench)]
    found += [one.get("uuid") for card in _cards(bench) for one in card.get("suggestions", [])]
    must(all(isinstance(one, str) and _UUID.fullmatch(one) for one in found), "a card or suggestion has no UUID")
    must(len(set(found)) == len(found), "a UUID was used twice")


def _choice(bench: Bench) -> None:
    for card in _having(bench, "suggestions"):
        rule = card.get("selectionBehavior")
        must(rule in {"at-most-one", "any"}, "suggestions come without a selectionBehavior")
        must(all(one.get("label") for one in card["suggestions"]), "a suggestion has no label")
        favourites = sum(one.get("isRecommended") is True for one in card["suggestions"])
        must(rule == "any" or favourites <= 1, "at-most-one, and several are recommended")


def _action(bench: Bench) -> None:
    for action in _actions(bench):
        must(action.get("type") in {"create", "update", "delete"}, "an action is none of create, update, delete")
        if action["type"] == "delete":
            ident = action.get("resourceId") or f"Any/{action.get('resource')}"  # a string id is deprecated
            must(isinstance(ident, str) and _RELATIVE.fullmatch(ident), "a delete names no relative reference")
        else:
            resource = action.get("resource")
            must(isinstance(resource, dict) and resource.get("resourceType"), "no whole resource to write")


def _described(bench: Bench) -> None:
    must(all(action.get("description") for action in _actions(bench)), "an action has no description")


def _action_choice(bench: Bench) -> None:
    if bench.options.knows_action_choice:
        raise NotApplicable("we are known as a client that supports it")
    must(not any("actionSelectionBehavior" in one for one in _suggestions(bench)), "it is used towards anybody")


def _reasons(bench: Bench) -> None:
    for card in _having(bench, "overrideReasons"):
        for reason in card["overrideReasons"]:
            must(all(reason.get(name) for name in ("code", "system", "display")), "a reason lacks a part")


def _links(bench: Bench) -> None:
    for card in _having(bench, "links"):
        for link in card["links"]:
            must(link.get("label") and _absolute(link.get("url")), "a link has no label or no absolute url")
            must(link.get("type") in {"absolute", "smart"}, "a link is neither absolute nor smart")
            must(link["type"] == "smart" or "appContext" not in link, "appContext stands on an absolute link")
            must(not {"autoLaunchable", "autolaunch"} & link.keys(), "autolaunchable is misspelt")


def _system_actions(bench: Bench) -> None:
    bodies = [answer.json() for _, answer in bench.answering()]
    must(all(body.get("systemActions") != [] for body in bodies), "systemActions is there and empty")
    if not bench.options.takes_system_actions:
        must(not any("systemActions" in body for body in bodies), "systemActions without pre-coordination")


def _never_empty(bench: Bench) -> None:
    must(all(one.get("actions", ["some"]) for one in _suggestions(bench)), "`actions` is there and empty")


def _about_the_patient(bench: Bench) -> None:
    ours = f"Patient/{bench.patient_id}"
    written = [action["resource"] for action in _actions(bench) if isinstance(action.get("resource"), dict)]
    if not written:
        raise Skipped("no action writes a resource")
    for resource in written:
        who = resource.get("subject") or resource.get("patient") or {}
        must(who.get("reference") == ours, "an action writes something that is not about the patient")


CHECKS = (
    Check("K1.1", Level.MUST, CLAUSE, "a summary is one sentence of fewer than 140 characters", _summary),
    Check("K2.1", Level.MUST, CLAUSE, "a card has an indicator and a labelled source", _indicator_and_source),
    Check("K2.2", Level.MAY, "Inferno CRD", "a source has a coded topic", _topic),
    Check("K3.1", Level.MUST, CLAUSE, "detail is Markdown without active HTML", _detail),
    Check("K4.1", Level.MAY, CLAUSE, "cards and suggestions have UUIDs of their own", _uuids),
    Check("K5.1", Level.MUST, CLAUSE, "suggestions come with a rule of choice", _choice),
    Check("K6.1", Level.MUST, CLAUSE, "an action is whole", _action),
    Check("K6.2", Level.MAY, "Inferno CRD", "an action is described", _described),
    Check(
        "K7.1", Level.MUST, CLAUSE, "actionSelectionBehavior is for clients known to support it", _action_choice
    ),
    Check("K8.1", Level.MUST, CLAUSE, "override reasons have code, system and display", _reasons),
    Check(
        "K9.1", Level.MUST, CLAUSE, "links are labelled, absolute and typed; appContext only with smart", _links
    ),
    Check("K10.1", Level.MUST, CLAUSE, "systemActions only when agreed, and never empty", _system_actions),
    Check("K11.1", Level.MAY, "Inferno CRD", "`actions` is never empty", _never_empty),
    Check("K12.1", Level.MUST, CLAUSE, "actions are about the patient of the call", _about_the_patient),
)
