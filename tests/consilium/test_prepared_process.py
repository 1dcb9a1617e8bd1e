"""A process is forked with no connection to the database: a copy of one believes that it has SQLite's locks."""

import subprocess
import sys

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
