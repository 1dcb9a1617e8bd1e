"""`consilium cds conformance URL`: the checklist against any CDS Hooks server."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from clinical.errors import IncorrectInput
from consilium.commands.cds_call import (
    DEFAULT_ISS,
    BearerFile,
    Iss,
    KeyFile,
    PublicUrl,
    Tenant,
    connect,
    read_json,
)

if TYPE_CHECKING:
    from cds.client.record import Record
    from cds.conformance.bench import Bench
    from cds.conformance.model import Result

out = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)


def conformance(
    url: Annotated[str, typer.Argument(help="Base URL, before /cds-services.")],
    key: KeyFile = None,
    iss: Iss = DEFAULT_ISS,
    tenant: Tenant = None,
    public_url: PublicUrl = None,
    bearer_file: BearerFile = None,
    record: Annotated[Path | None, typer.Option(help="FHIR Bundle of a test patient, instead of ours.")] = None,
    user: Annotated[str, typer.Option(help="context.userId.")] = "Practitioner/example",
    fhir_port: Annotated[int, typer.Option(help="Port of our FHIR server: let the target call it.")] = 0,
    fhir: Annotated[bool, typer.Option(help="Whether the target can and may call our FHIR server.")] = True,
    origin: Annotated[str | None, typer.Option(help="A browser origin that the target lists.")] = None,
    service: Annotated[list[str] | None, typer.Option(help="id:hook to call where discovery fails.")] = None,
    documentation: Annotated[str | None, typer.Option(help="The target's page for people.")] = None,
    system_actions: Annotated[bool, typer.Option(help="We are known as a client that applies them.")] = False,
    open_door: Annotated[bool, typer.Option("--open", help="The target lets in who shows no token.")] = False,
    name: Annotated[str | None, typer.Option(help="What the report calls the target; the URL without it.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the report here.")] = None,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML here.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="A SHOULD that fails counts as well.")] = False,
) -> None:
    """Check a server row by row: exit 0 when no SHALL fails, 1 when one does. Synthetic patients only."""
    from cds.conformance.bench import Options  # noqa: PLC0415
    from cds.conformance.run import bench  # noqa: PLC0415

    options = Options(
        services=[_pair(one) for one in service or ()],
        user_id=user,
        reaches_fhir=fhir,
        origin=origin,
        documentation=documentation,
        takes_system_actions=system_actions,
        open_on_purpose=open_door,
    )
    with (
        connect(url, key, iss, tenant, public_url, bearer_file) as server,
        bench(server, _record(record), options, fhir_port) as on,
    ):
        server.discover()  # whatever it answers: a server that is away is not a server that fails
        errors.print(f"our FHIR server: {on.fhir.base}", markup=False, style="dim")
        results = _run(on)
    _write(results, name or url, markdown, junit)
    _show(results)
    raise typer.Exit(_exit_code(results, strict=strict))


def _run(on: "Bench") -> "list[Result]":
    from cds.conformance.checks import CHECKS  # noqa: PLC0415
    from cds.conformance.run import run  # noqa: PLC0415

    with Progress(console=errors, transient=True) as bar:
        task = bar.add_task("checking", total=len(CHECKS))
        return run(on, CHECKS, lambda _check: bar.advance(task))


def _record(file: Path | None) -> "Record":
    from cds.client.record import record_of  # noqa: PLC0415
    from cds.conformance.record import invented_record  # noqa: PLC0415
    from clinical.clock import utc_now  # noqa: PLC0415

    return invented_record(utc_now()) if file is None else record_of(read_json(file))


def _pair(text: str) -> tuple[str, str]:
    ident, _, hook = text.partition(":")
    if not ident or not hook:
        raise IncorrectInput("--service: expected id:hook")
    return ident, hook


def _write(results: "Sequence[Result]", target: str, page: Path | None, xml: Path | None) -> None:
    from cds.conformance import report  # noqa: PLC0415
    from clinical.clock import utc_now  # noqa: PLC0415

    if page is not None:
        page.write_text(report.markdown(results, target, utc_now()), encoding="utf-8")
    if xml is not None:
        xml.write_text(report.junit(results), encoding="utf-8")


def _show(results: "Sequence[Result]") -> None:
    from cds.conformance.model import Verdict  # noqa: PLC0415
    from cds.conformance.run import counts  # noqa: PLC0415

    for one in results:
        if one.verdict is Verdict.FAIL:
            out.print(f"✗ {one.check.id} ({one.check.level.value}) {one.check.claim}: {one.reason}", markup=False)
    table = Table("level", *(verdict.value for verdict in Verdict))
    for level, found in counts(results).items():
        table.add_row(level.value, *(str(found[verdict]) for verdict in Verdict))
    out.print(table)


def _exit_code(results: "Sequence[Result]", *, strict: bool) -> int:
    from cds.conformance.model import Level, Verdict  # noqa: PLC0415
    from cds.conformance.run import counts, passes  # noqa: PLC0415

    good = passes(results) and not (strict and counts(results)[Level.SHOULD][Verdict.FAIL])
    return 0 if good else 1
