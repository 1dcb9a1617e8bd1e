"""`consilium cds keys`: a key pair of a client, for tests and the first hour of an integration."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from clinical.errors import IncorrectInput

errors = Console(stderr=True, highlight=False, soft_wrap=True)


def keys(
    folder: Annotated[Path, typer.Argument(help="Folder for private.jwk and jwks.json.")],
    algorithm: Annotated[str, typer.Option(help="ES384, RS384, ES256 or RS256.")] = "ES384",
    kid: Annotated[str, typer.Option(help="The key's id, in the header of every token.")] = "test-1",
) -> None:
    """Make a key pair for tests: the private key signs tokens (--key), the JWK Set goes to the service."""
    from cds.client.keys import new_key, private_text, public_set  # noqa: PLC0415

    key = new_key(algorithm, kid)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Readable by nobody else from the start, and never over a key that somebody may still need.
        descriptor = os.open(folder / "private.jwk", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(private_text(key))
        (folder / "jwks.json").write_text(json.dumps(public_set([key]), indent=2) + "\n", encoding="utf-8")
    except FileExistsError:
        raise IncorrectInput("there is a private.jwk in that folder already") from None
    except OSError as problem:
        raise IncorrectInput(f"the folder cannot be written ({problem.strerror})") from None
    errors.print(f"{algorithm} key {kid}: {folder / 'private.jwk'} (keep), {folder / 'jwks.json'}", markup=False)
