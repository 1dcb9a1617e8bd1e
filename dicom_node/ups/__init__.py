"""Unified Procedure Step (PS3.4 annex CC): steps of a worklist elsewhere, which this node performs."""
