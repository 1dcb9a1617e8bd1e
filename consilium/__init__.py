"""Composition: settings, wiring, the study pipeline, the processes and the command line."""

__version__ = "0.1.0"
