"""SIGKILL of web, dicom and worker while images arrive: nothing acknowledged is lost, nothing is done twice.

The full figure (50 kills) is `python -m benchmarks.crash`; this is the same run, smaller.
"""

import pytest

from benchmarks.crash import run
from record_store.testing import postgres_absent

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_killing_processes_at_random_loses_and_doubles_nothing(database: str) -> None:
    if database == "postgresql" and (absent := postgres_absent()):
        pytest.skip(absent)
    report = run(kills=6, studies=8, postgres=database == "postgresql")
    assert sum(report.kills.values()) == 6
    assert report.well, report
