"""`consilium cds doctor`: why a caller of the hooks was not let in. For the operator; callers are told nothing."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from clinical.errors import IncorrectInput, PreconditionMissing

if TYPE_CHECKING:
    from cds.trust.advice import Advice
    from cds.trust.issuer import TrustFile

DataDir = Annotated[Path | None, typer.Option(help="Folder for the database and the images (CONSILIUM_DATA_DIR).")]


def doctor(
    token: Annotated[
        Path | None, typer.Argument(help="File with one token, - for standard input; it is not used up.")
    ] = None,
    last: Annotated[int, typer.Option(min=1, max=1000, help="Without a token: so many refusals.")] = 10,
    url: Annotated[str | None, typer.Option(help="The address that the client called.")] = None,
    fetch_keys: Annotated[bool, typer.Option("--fetch-keys", help="Fetch the issuer's published keys.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Say why callers of the hooks were refused, or what is wrong with a token, and what to do."""
    # Wide, so that addresses stay whole for copying; the words of a token are its sender's and no markup.
    console = Console(highlight=False, markup=False, soft_wrap=True)
    if token is None:
        _show_last(console, last, data_dir)
    elif not _show_token(console, _read(token), url, data_dir, fetch_keys=fetch_keys):
        raise typer.Exit(1)


def _read(file: Path) -> str:
    try:
        text = sys.stdin.read(65_536) if str(file) == "-" else file.read_text(encoding="utf-8")[:65_536]
    except (OSError, UnicodeDecodeError):
        raise IncorrectInput("the token's file cannot be read") from None
    return text.strip()


def _show_last(console: Console, count: int, data_dir: Path | None) -> None:
    from cds.trust.doctor import last_refusals  # noqa: PLC0415 - nothing heavy before it is asked for
    from consilium.cli import settings_of_a_store  # noqa: PLC0415
    from consilium.wiring import House  # noqa: PLC0415

    past = last_refusals(House(settings_of_a_store(data_dir)).db, count)
    if not past:
        console.print("Nobody has been refused.")
    for one in past:
        facts = "".join(f", {name} {value}" for name, value in one.facts)
        console.print(f"{one.at}  {one.client} at {one.called}: {one.reason}{facts}")
        if one.left_out:
            console.print(f"  and {one.left_out} more of this kind before it")
        if one.advice:
            _advise(console, one.advice)


def _show_token(console: Console, text: str, url: str | None, data_dir: Path | None, *, fetch_keys: bool) -> bool:
    from cds.trust.doctor import examine  # noqa: PLC0415
    from clinical.clock import utc_now  # noqa: PLC0415
    from fhir_adapters.trust.key_fetch import KeyFetcher  # noqa: PLC0415
    from fhir_adapters.trust.keys import KeyRing  # noqa: PLC0415

    trust, base_url = _trust(data_dir)
    keys = KeyRing(trust.issuers, KeyFetcher(trust.issuers)) if fetch_keys else None
    found = examine(text, trust, base_url=base_url, url=url, at=utc_now(), keys=keys)
    for name, value in found.facts:
        console.print(f"  {name:<20} {_shown(value)}")
    for what in found.unchecked:
        console.print(f"Not checked: {what}.")
    for reason, advice in zip(found.reasons, found.advice, strict=True):
        console.print(f"Refused: {reason.value}")
        _advise(console, advice)
    if not found.reasons:
        console.print("Nothing is wrong with this token now: it would be let in, once.")
    return not found.reasons


def _trust(data_dir: Path | None) -> "tuple[TrustFile, str]":
    from cds.trust.issuers import read  # noqa: PLC0415
    from consilium.cli import settings_of  # noqa: PLC0415
    from consilium.wiring import House  # noqa: PLC0415

    settings = settings_of(data_dir=data_dir)
    if settings.cds_issuers_file is None:
        raise PreconditionMissing("CONSILIUM_CDS_ISSUERS_FILE names no issuers file: no token can be good")
    trust = read(settings.cds_issuers_file, production=settings.profile == "production")
    return trust, House(settings).base_url


def _advise(console: Console, advice: "Advice") -> None:
    console.print(f"  {advice.what}")
    console.print(f"  To do: {advice.do}")


def _shown(value: str) -> str:
    """Return a text of a token's sender fit for a terminal: no control characters, not endless."""
    return "".join(letter if letter.isprintable() else "?" for letter in value)[:400]
