"""A process that uses tokens, for test_seen_tokens.py.

    python token_user.py <database url>

Answers each line "<issuer> <jti>" of standard input with "first" or "again".
"""

import sys
from datetime import UTC, datetime, timedelta

from record_store.database import open_database
from record_store.seen_tokens import SeenTokens

seen = SeenTokens(open_database(sys.argv[1]))
for line in sys.stdin:
    issuer, jti = line.split()
    at = datetime.now(UTC)
    first = seen.first_use(issuer, jti, expires_at=at + timedelta(minutes=5), now=at)
    sys.stdout.write("first\n" if first else "again\n")
    sys.stdout.flush()
