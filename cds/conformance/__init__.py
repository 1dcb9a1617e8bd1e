"""CDS Hooks as a checklist that runs: against our own server, or any other, by HTTP alone.

The rows are those of docs/conformance/cds-hooks.md. A check talks to the server like a client and judges what
comes back; what it cannot judge it says, with the reason, and never counts as passed.
"""
