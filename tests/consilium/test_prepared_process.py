"""A process is forked with no connection to the database: a copy of one believes that it has SQLite's locks."""

import os
import subprocess
import sys

from record_store.database import open_database
from record_store.migrate import is_current

SHOW = """
import os, sys
from consilium.roles import _prepare
from consilium.settings import load_settings
from pathlib import Path
_prepare(load_settings(data_dir=Path(sys.argv[1])), "web")
for one in Path("/proc/self/fd").iterdir():
    try:
        print(os.readlink(one))
    except OSError:
        pass
"""


def test_what_is_prepared_before_a_fork_holds_no_database_open(tmp_path):
    for _ in range(2):  # with its first migration, and without
        said = subprocess.run(
            [sys.executable, "-c", SHOW, str(tmp_path)], capture_output=True, text=True, check=True
        )
        assert "consilium.db" not in said.stdout
    assert (tmp_path / "consilium.db").exists()


def test_who_forks_for_a_server_of_another_version_leaves_its_database_as_it_is(tmp_path):
    """After an upgrade in place without a restart: what would be migrated is in use by the old server."""
    run = subprocess.run(
        [sys.executable, "-m", "consilium", "dicom"],
        env=os.environ | {"CONSILIUM_DATA_DIR": str(tmp_path), "CONSILIUM_FORKS_FD": "0"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, "start anew" in run.stderr) == (1, True), run.stderr
    db = open_database(f"sqlite:///{tmp_path / 'consilium.db'}")
    assert not is_current(db)
    db.dispose()
