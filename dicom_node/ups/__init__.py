"""Unified Procedure Step (PS3.4 annex CC): steps of worklists elsewhere performed here, and steps of our own."""
