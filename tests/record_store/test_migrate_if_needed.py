"""Start-up asks the database for its version without loading Alembic."""

from alembic.script import ScriptDirectory

from record_store.database import open_database
from record_store.migrate import HEAD, _config, migrate_if_needed, pending_migrations


def test_the_head_named_in_code_is_the_newest_script() -> None:
    assert ScriptDirectory.from_config(_config()).get_current_head() == HEAD


def test_an_empty_database_is_migrated_once(tmp_path) -> None:
    db = open_database(f"sqlite:///{tmp_path / 'consilium.db'}")
    assert pending_migrations(db)
    assert migrate_if_needed(db)
    assert migrate_if_needed(db) == ()
    assert pending_migrations(db) == ()
    db.dispose()
