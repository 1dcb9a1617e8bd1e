"""Run the demonstration and show it."""

import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from consilium.demo.agreement import Agreement, agreement
from consilium.demo.material import Material, prepare_material
from consilium.demo.server import DemoFailed, running_server
from consilium.demo.show import as_json_object, show_cards, show_summary
from consilium.demo.stages import Outcome, Stages
from dicom_node.testing import listening_ae

QUIET_S = "1.0"


def run_demo(*, image: Path | None, patient: Path | None, as_json: bool, keep: bool, breast: bool = False) -> int:
    """Send one radiograph, or breast ultrasound, through the house; return the exit code.

    Progress goes to standard error; what came out goes to standard output, as tables or one JSON object.
    """
    progress = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        return _run(image, patient, as_json, keep, breast, progress)
    except DemoFailed as exc:
        progress.print("[bold red]The demonstration failed:[/] ", end="")
        progress.print(str(exc), markup=False)
        return 1


def _run(
    image: Path | None, patient: Path | None, as_json: bool, keep: bool, breast: bool, progress: Console
) -> int:
    with ExitStack() as stack:
        if keep:
            folder = Path(tempfile.mkdtemp(prefix="consilium-demo-"))
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="consilium-demo-")))
        material = prepare_material(folder, image, patient, breast=breast)
        archive = stack.enter_context(listening_ae(ae_title="ARCHIVE"))
        with progress.status("starting the server …") as status:
            server = stack.enter_context(running_server(folder, _settings(material, archive.port), keep=keep))
            progress.print(
                f"server ready: {server.base_url}, DICOM port {server.dicom_port} ({server.started_ms} ms)"
            )

            def say(line: str) -> None:
                progress.print(f"[green]✓[/] {line}")
                status.update("…")

            outcome = Stages(server, archive, material, say).run()
        agreed = agreement(outcome, material)
        _show(outcome, agreed, as_json=as_json)
        if keep:
            progress.print(
                f"The server goes on at {server.base_url}; its folder is {folder}; stop it with: kill {server.pid}"
            )
        return 0 if agreed.agrees else 1


def _settings(material: Material, archive_port: int) -> dict[str, str]:
    archive = {"name": "archive", "host": "127.0.0.1", "port": archive_port, "ae_title": "ARCHIVE"}
    return {
        "STUDY_QUIET_S": QUIET_S,
        "PATIENT_ISSUERS": json.dumps({material.issuer: material.system}),
        "PACS": json.dumps([archive]),
        "WEB_WORKERS": "1",
    }


def _show(outcome: Outcome, agreed: Agreement, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(as_json_object(outcome, agreed)) + "\n")
        return
    console = Console()
    show_cards(console, outcome.cards)
    show_summary(console, outcome, agreed)
