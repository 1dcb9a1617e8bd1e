"""Subscriptions (R4 Subscription; topics by HL7's "Subscriptions R5 Backport" 1.1.0, canonical in `backport`).

`request` reads what a client asks for, `match` finds whom a version concerns, `messages` makes what is sent,
`rest_hook` sends it, `status` says in the resource where it stands. The worker's part is consilium/notifying.py.
"""
