"""Composition: settings, wiring, the study pipeline, the processes and the command line."""
