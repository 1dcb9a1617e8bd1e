"""De-identification by the profiles of PS3.15 annex E, and the way back."""
