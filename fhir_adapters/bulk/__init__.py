"""Bulk Data Access (HL7 Bulk Data IG 2.0, R4): `$export` of the system, of patients, of a group."""
