"""Query and retrieve (PS3.4 annex C) and what they search by: the index of the stored objects' headers."""
