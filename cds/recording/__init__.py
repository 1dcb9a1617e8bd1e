"""Calls kept for looking at an incident offline: without names, texts and true dates, and played again later.

`deidentify` decides what may be kept, `recorder` writes while serving (off by default), `replay` asks again.
"""
