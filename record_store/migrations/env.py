"""Alembic runs this file for every command; `record_store.migrate` hands it an open connection."""

from alembic import context

from record_store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
