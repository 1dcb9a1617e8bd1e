"""Models that read beside the live ones, or again over what is stored, and whose findings nobody is shown."""
