"""Everything durable: FHIR resources, DICOM objects, readings, jobs, deliveries and the audit.

SQLAlchemy Core over SQLite (embedded) or PostgreSQL (scaled), chosen by URL alone. Callers open one
transaction with `Database.write()` and pass the connection on, so that what belongs together commits together.
"""
