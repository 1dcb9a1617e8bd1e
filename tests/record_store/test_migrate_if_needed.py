"""Start-up asks the database for its version without loading Alembic."""

import threading

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import text

from record_store.database import BUSY_TIMEOUT_S, open_database
from record_store.migrate import _LOCK, HEAD, _config, is_current, migrate_if_needed, pending_migrations


def test_the_head_named_in_code_is_the_newest_script() -> None:
    assert ScriptDirectory.from_config(_config()).get_current_head() == HEAD


def test_an_empty_database_is_migrated_once(tmp_path) -> None:
    db = open_database(f"sqlite:///{tmp_path / 'consilium.db'}")
    assert pending_migrations(db)
    assert migrate_if_needed(db)
    assert migrate_if_needed(db) == ()
    assert pending_migrations(db) == ()
    db.dispose()


@pytest.mark.slow
def test_another_process_that_migrates_for_longer_than_a_writer_may_take_is_waited_for(empty_database):
    db, other = empty_database, open_database(empty_database.url)
    with other.write() as conn:
        if db.dialect == "postgresql":
            conn.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
        waiting = threading.Thread(target=migrate_if_needed, args=[db])
        waiting.start()
        waiting.join(BUSY_TIMEOUT_S + 1)
        assert waiting.is_alive()
    waiting.join()
    assert is_current(db)
    other.dispose()
