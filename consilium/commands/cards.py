"""An answer of a CDS service as a person reads it in a terminal."""

import re
from collections.abc import Mapping
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.markdown import Markdown
from rich.panel import Panel
from rich.text import Text

COLOUR = {"info": "cyan", "warning": "yellow", "critical": "bold red"}


# Escape sequences of a terminal are not for a stranger's answer to send.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def show(console: Console, status: int, body: Any, took_ms: float) -> None:  # noqa: ANN401 - JSON as it came
    """Print what was answered: cards, or why there are none."""
    body = _printable(body)
    if status != 200 or not isinstance(body, dict):
        show_problem(console, status, body)
        return
    cards = body.get("cards", [])
    for card in cards:
        console.print(_panel(card))
    actions = body.get("systemActions", [])
    for action in actions:
        console.print(f"system action: {action.get('type')} {action.get('description', '')}", markup=False)
    said = f"{len(cards)} card{'' if len(cards) == 1 else 's'}" if cards else "Nothing to say"
    console.print(f"{said}, in {took_ms:.0f} ms", markup=False, style="dim")


def show_problem(console: Console, status: int, body: Any) -> None:  # noqa: ANN401 - JSON as it came
    """Print an answer that is not 200, in the words of its OperationOutcome."""
    console.print(f"HTTP {status}", style="bold red")
    issues = body.get("issue", []) if isinstance(body, dict) else []
    for issue in issues:
        console.print(str(issue.get("details", {}).get("text", "")), markup=False)
        for name in ("expression", "diagnostics"):
            if issue.get(name):
                console.print(f"  {name}: {issue[name]}", markup=False, style="dim")
    if not issues:
        console.print(
            "It does not say why. A 401 never does: ask the operator (consilium cds doctor).", style="dim"
        )


def _printable(value: Any) -> Any:  # noqa: ANN401 - JSON as it came
    if isinstance(value, str):
        return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", value)
    if isinstance(value, dict):
        return {_printable(name): _printable(item) for name, item in value.items()}
    return [_printable(item) for item in value] if isinstance(value, list) else value


def _panel(card: Mapping[str, Any]) -> Panel:
    colour = COLOUR.get(str(card.get("indicator")), "white")
    parts: list[RenderableType] = [Text(str(card.get("summary", "")), style="bold")]
    if card.get("detail"):
        parts.append(Markdown(str(card["detail"])))
    for suggestion in card.get("suggestions", []):
        star = "★" if suggestion.get("isRecommended") else "•"
        parts.append(Text(f"{star} suggestion: {suggestion.get('label')}", style="green"))
        parts.extend(Text(f"    {_action(action)}", style="dim") for action in suggestion.get("actions", []))
    parts.extend(Text(f"↗ {link.get('label')}: {link.get('url')}") for link in card.get("links", []))
    if card.get("overrideReasons"):
        reasons = ", ".join(str(reason.get("display")) for reason in card["overrideReasons"])
        parts.append(Text(f"override reasons: {reasons}", style="dim"))
    source = card.get("source", {})
    title = Text(f" {card.get('indicator')} · {source.get('label', 'no source')} ")
    return Panel(Group(*parts), title=title, subtitle=Text(str(card.get("uuid", ""))), border_style=colour)


def _action(action: Mapping[str, Any]) -> str:
    what = action.get("resourceId") or action.get("resource", {}).get("resourceType", "")
    return f"{action.get('type')} {what}: {action.get('description', '')}"
