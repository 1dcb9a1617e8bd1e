"""`consilium subscriptions`: who is told of what, what is not delivered, and why."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="FHIR Subscriptions: where each stands, and to try again.")

DataDir = Annotated[Path | None, typer.Option(help="Folder for the database and the images (CONSILIUM_DATA_DIR).")]
AsJson = Annotated[bool, typer.Option("--json", help="A JSON list.")]
Named = Annotated[str, typer.Argument(help="The Subscription's id.")]


@app.command("list")
def list_(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show every subscription with its status, its events, and why one is not delivered."""
    from consilium.cli import settings_of_a_store  # noqa: PLC0415 - the command line imports this module
    from consilium.subscription_desk import list_subscriptions  # noqa: PLC0415

    _show(list_subscriptions(settings_of_a_store(data_dir)), as_json=as_json)


@app.command()
def show(subscription: Named, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show the events of one that are not delivered, with what its endpoint said."""
    from consilium.cli import settings_of_a_store  # noqa: PLC0415
    from consilium.subscription_desk import show_subscription  # noqa: PLC0415

    _show(show_subscription(settings_of_a_store(data_dir), subscription), as_json=as_json)


@app.command()
def retry(subscription: Named, data_dir: DataDir = None) -> None:
    """Send to one again at once, also when it is in error or off; what waits for it is sent first."""
    from consilium.cli import errors, settings_of_a_store  # noqa: PLC0415
    from consilium.subscription_desk import retry_subscription  # noqa: PLC0415

    count = retry_subscription(settings_of_a_store(data_dir), subscription)
    errors.print(f"It is sent to again; {count} events wait.")


def _show(rows: list[dict[str, object]], *, as_json: bool) -> None:
    from consilium.cli import show_table  # noqa: PLC0415

    if as_json:
        sys.stdout.write(json.dumps(rows) + "\n")
    else:
        show_table(rows)
