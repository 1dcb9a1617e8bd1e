"""Web processes that are killed while cards go out: every card that arrived takes feedback afterwards, once."""

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest
from sqlalchemy import func, select

from record_store.database import open_database
from record_store.tables import feedback, sent_card
from record_store.testing import database, postgres_url
from tests.ports import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

SERVICE = "cds-services/bench-static"
CALLERS = 4


@contextmanager
def _web(folder: Path, database_url: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """`consilium web` with two workers in a process group of its own; killed at the end if it still runs."""
    port = free_port()
    environ = {name: value for name, value in os.environ.items() if not name.startswith("CONSILIUM_")}
    (folder / "models").mkdir(exist_ok=True)  # none is needed, and none is loaded at the start
    settings = {
        "CONSILIUM_MODELS_DIR": str(folder / "models"),
        "CONSILIUM_REQUIRED_MODELS": "[]",
        "CONSILIUM_DATABASE_URL": database_url,
        "CONSILIUM_HTTP_PORT": str(port),
        "CONSILIUM_WEB_WORKERS": "2",
        "CONSILIUM_BENCHMARK_SERVICES": "1",
        "CONSILIUM_HOOK_BUDGET_MS": "10000",
        "CONSILIUM_LOW_WATER_MB": "0",
    }
    with (folder / "web.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "consilium", "web", "--data-dir", str(folder)],
            env=environ | settings,
            stderr=log,
            stdout=log,
            start_new_session=True,
        )
    base = f"http://127.0.0.1:{port}"
    try:
        _until(lambda: httpx.get(f"{base}/livez", trust_env=False, timeout=60).status_code == 200)
        yield base, process
    finally:
        _kill(process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _until(true, within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            if true():
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError("it did not happen in time")


def _cards_until_killed(base: str, cards: list[str], enough: threading.Event) -> None:
    """Call the service again and again, remember each card that arrived, end when the server is gone."""
    with httpx.Client(trust_env=False, timeout=20) as client:
        while True:
            context = {"userId": "Practitioner/1", "patientId": "p1"}
            body = {"hook": "patient-view", "hookInstance": str(uuid.uuid4()), "context": context}
            try:
                answer = client.post(f"{base}/{SERVICE}", json=body)
            except httpx.TransportError:
                return
            assert answer.status_code == 200, answer.text
            cards.extend(card["uuid"] for card in answer.json()["cards"])
            if len(cards) >= 60:
                enough.set()


def _report(card: str) -> dict[str, str]:
    return {"card": card, "outcome": "overridden", "outcomeTimestamp": "2026-11-22T09:00:00Z"}


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        database(tmp_path).dispose()
        yield f"sqlite:///{tmp_path / 'consilium.db'}"
        return
    with postgres_url(request.getfixturevalue("postgres_template")) as made:
        yield made


def test_every_card_that_arrived_takes_feedback_after_kill_9_and_takes_it_once(url: str, tmp_path: Path) -> None:
    cards: list[str] = []
    enough = threading.Event()
    with _web(tmp_path, url) as (base, process), ThreadPoolExecutor(CALLERS) as callers:
        calls = [callers.submit(_cards_until_killed, base, cards, enough) for _ in range(CALLERS)]
        assert enough.wait(60)
        _kill(process)
        for call in calls:
            call.result()
    with _web(tmp_path, url) as (base, _), ThreadPoolExecutor(CALLERS) as senders:
        body = {"feedback": [_report(card) for card in cards]}
        answers = senders.map(
            lambda _: httpx.post(f"{base}/{SERVICE}/feedback", json=body, trust_env=False, timeout=30),
            range(CALLERS),
        )
        assert [answer.status_code for answer in answers] == [200] * CALLERS
    db = open_database(url)
    with db.read() as conn:
        stored, reported = (
            conn.execute(select(func.count()).select_from(table)).scalar_one() for table in (sent_card, feedback)
        )
    db.dispose()
    assert reported == len(cards)
    # A card may be recorded whose answer the kill cut off; each caller had one call under way.
    assert len(cards) <= stored <= len(cards) + CALLERS
