"""Debian's Orthanc as a peer on loopback, for tests: an archive that is not ours, and asks as well as answers."""

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.ports import free_port

START_WITHIN_S = 60.0
_REPLY_S = 60.0


@dataclass(frozen=True, slots=True)
class Orthanc:
    """A running Orthanc. rest: its REST address. port: its DICOM port; its AE title is ARCHIVE."""

    rest: str
    port: int

    def get(self, path: str) -> Any:
        """Return what a path answers."""
        return self._ask("GET", path, None)

    def post(self, path: str, body: bytes | Any) -> Any:
        """Post bytes as they are, anything else as JSON, and return the answer."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self._ask("POST", path, data)

    def _ask(self, method: str, path: str, data: bytes | None) -> Any:
        with httpx.Client(base_url=self.rest, trust_env=False, timeout=_REPLY_S) as http:
            answer = http.request(method, path, content=data)
        answer.raise_for_status()
        return answer.json()


def orthanc_program() -> str | None:
    """Return where Orthanc is, or None."""
    return shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin:/usr/local/sbin")


@contextmanager
def running_orthanc(
    folder: Path, program: str, modalities: Mapping[str, tuple[str, int]], *, port: int | None = None
) -> Iterator[Orthanc]:
    """Run Orthanc over a folder that it makes. modalities: name in its REST API -> AE title and loopback port."""
    http, dicom = free_port(), port or free_port()
    settings = {
        "DicomPort": dicom,
        "HttpPort": http,
        "DicomAet": "ARCHIVE",
        "DicomScuTimeout": 60,  # 10 s by default, which a busy machine can take for one answer
        "DicomScpTimeout": 60,
        "StorageDirectory": str(folder),
        "IndexDirectory": str(folder),
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "Plugins": [],
        "DicomModalities": {name: [title, "127.0.0.1", at] for name, (title, at) in modalities.items()},
    }
    folder.mkdir()
    (folder / "orthanc.json").write_text(json.dumps(settings))
    command = [program, str(folder / "orthanc.json")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + START_WITHIN_S
        while not _listens(http):
            if time.monotonic() > until or process.poll() is not None:
                raise TimeoutError("Orthanc did not start")
            time.sleep(0.05)
        yield Orthanc(f"http://127.0.0.1:{http}", dicom)
    finally:
        process.terminate()
        process.wait(20)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
