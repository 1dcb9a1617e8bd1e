"""DICOMweb in the web process: its address, how much a request may bring, and its door, opened when first used.

The door is built by the first request below its address, or by the worker once it serves (`warm`), and not
before: a start has no use for what answers there. pydicom is here by then (`consilium.roles.run_web` says why).
"""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from flask import Blueprint, Response

if TYPE_CHECKING:
    from dicom_node.web import Archive, Door

ROOT = "/dicom-web"
MAX_BODY_BYTES = 48 << 20  # one store request; a client sends a larger study in several (PS3.18 10.5)
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


class LazyDoor:
    """The door of DICOMweb, built once."""

    def __init__(self, archive: "Callable[[], Archive]") -> None:
        self._archive = archive
        self._lock = threading.Lock()
        self._door: Door | None = None

    def warm(self) -> None:
        """Build it now."""
        self._opened()

    def answer(self, **_path: str) -> Response:
        """Answer the present request."""
        return self._opened().answer()

    def _opened(self) -> "Door":
        with self._lock:
            if self._door is None:
                from dicom_node.web import Door  # noqa: PLC0415 - see the module

                self._door = Door(self._archive(), ROOT)
            return self._door


def blueprint(door: LazyDoor) -> Blueprint:
    """Return the routes: everything below the root is the door's, its errors too."""
    routes = Blueprint("dicomweb", __name__)
    for rule in ("", "/", "/<path:rest>"):
        routes.add_url_rule(
            ROOT + rule,
            endpoint=f"door {rule}",
            view_func=door.answer,
            methods=METHODS,
            provide_automatic_options=False,
        )
    return routes
