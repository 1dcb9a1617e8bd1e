"""Other FHIR servers, from the settings: our identity there, and the guarded way to each."""

import json
import os
import uuid
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from clinical.errors import IncorrectInput
from consilium.forwarding import Forwarding
from consilium.setting_values import FhirDestination
from consilium.settings import is_loopback
from consilium.wiring import House
from fhir_adapters.allow_list import AllowedServer, Network
from fhir_adapters.remote.exchange import Exchange
from fhir_adapters.remote.identity import Identity, SigningKey, new_key, signing_key
from fhir_adapters.remote.server import Patience, RemoteServer
from fhir_adapters.remote.tokens import AccessTokens


def remote_server(house: House, one: FhirDestination, patience: Patience | None = None) -> RemoteServer:
    """Return a configured server; nothing is opened before its first use. Raises IncorrectInput for its key."""
    exchange = Exchange(house.settings.allowed_at(one))
    tokens = None
    if one.client_id is not None and one.key_file is not None:
        identity = Identity(one.client_id, signing_key(one.key_file), one.scope, one.token_url)
        tokens = AccessTokens(exchange, one.url, identity, now=house.now, new_id=lambda: str(uuid.uuid4()))
    return RemoteServer(one.url, exchange, tokens, patience or Patience())


def remote_called(house: House, to: str) -> RemoteServer:
    """Return the server of a name in the settings, or the open one at a URL. Raises IncorrectInput."""
    found = destination_called(house, to)
    if found is not None:
        return remote_server(house, found)
    if "://" not in to:
        names = ", ".join(one.name for one in house.settings.fhir_destinations) or "none"
        raise IncorrectInput(f"--to: a URL, or a name of CONSILIUM_FHIR_DESTINATIONS ({names})")
    near = is_loopback(urlsplit(to).hostname or "")
    exchange = Exchange([AllowedServer(to.rstrip("/"), Network.LOOPBACK if near else Network.PRIVATE)])
    return RemoteServer(to.rstrip("/"), exchange)


def forwarding_of(house: House, stopping: Callable[[], bool], observe: Callable[[str, str], None]) -> Forwarding:
    """Return what writes results through; durable tries stand for patience, so each request is made once."""
    once = Patience(tries=1)
    remotes = {
        one.name: cache(partial(remote_server, house, one, once))
        for one in house.settings.fhir_destinations
        if one.results
    }
    base_url = f"{house.base_url}/fhir"
    return Forwarding(house.db, remotes, base_url, house.delivery_retry, house.now, observe, stopping)


def destination_called(house: House, name: str) -> FhirDestination | None:
    """Return the destination of a name."""
    return next((one for one in house.settings.fhir_destinations if one.name == name), None)


def public_keys(house: House, name: str) -> dict[str, Any]:
    """Return the JWK Set that is registered with a destination; its key is made when the file is not there.

    Raises IncorrectInput.
    """
    found = destination_called(house, name)
    if found is None or found.key_file is None:
        raise IncorrectInput("expected the name of one of CONSILIUM_FHIR_DESTINATIONS that has a key_file")
    if not found.key_file.exists():
        _write_key(found.key_file)
    key: SigningKey = signing_key(found.key_file)
    return {"keys": [key.public]}


def _write_key(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as problem:
        raise IncorrectInput(f"the key file cannot be made ({problem.strerror})") from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(new_key(str(uuid.uuid4())), file)
