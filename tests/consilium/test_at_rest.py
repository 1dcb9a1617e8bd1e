"""What a worker asks of its database while nobody asks anything of it."""

import time
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import Engine, event

from consilium.settings import load_settings
from consilium.wiring import House, prepare_storage
from consilium.worker_role import build_worker

pytestmark = pytest.mark.usefixtures("no_settings")

WATCHED_S = 2.0
MOST_A_SECOND = 40  # each look is a transaction of four statements; before, it were 400


@pytest.fixture
def worker(tmp_path: Path):
    settings = load_settings(data_dir=tmp_path, low_water_mb=0, http_port=0, dicom_port=0)
    prepare_storage(settings)
    house = House(settings)
    worker = build_worker(house)
    for loop in worker.loops:
        loop.start()
    worker.waking.start()
    yield worker
    worker.waking.ask_to_stop()
    for loop in worker.loops:
        loop.ask_to_stop()
    for loop in worker.loops:
        loop.stop(5)
    worker.jobs.close()
    worker.decoder.close()
    house.db.dispose()


def test_a_worker_at_rest_asks_its_database_little(worker) -> None:
    until = time.monotonic() + 30
    while sum(loop.resting for loop in worker.loops) < 8:
        assert time.monotonic() < until, "the loops come to rest"
        time.sleep(0.05)
    asked: Counter[str] = Counter()

    def ask(_conn, _cursor, statement, *_more) -> None:
        asked[statement] += 1

    event.listen(Engine, "before_cursor_execute", ask)
    began = time.monotonic()
    try:
        time.sleep(WATCHED_S)
    finally:
        event.remove(Engine, "before_cursor_execute", ask)
    assert asked.total() <= MOST_A_SECOND * (time.monotonic() - began), asked.most_common(5)
