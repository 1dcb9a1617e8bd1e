"""Other FHIR servers, under an identity of our own: reading, and writing with care.

`exchange` is one guarded request, `identity` signs, `tokens` keeps an access token, `server` reads, creates and
updates with patience: what may have arrived is never sent twice unless twice is as good as once.
"""
