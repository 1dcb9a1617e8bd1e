"""The peer: HealthChain (PyPI `healthchain`) with its own default server, and the same two services.

Run by an interpreter that has it: `python healthchain_peer.py PORT`. Nothing of ours is imported.
"""

import sys
import time

from healthchain.gateway import CDSHooksService, HealthChainAPI
from healthchain.models.responses.cdsresponse import Card, CDSResponse, Source

RUN_S = 0.05
hooks = CDSHooksService()


def one_card(summary: str) -> CDSResponse:
    """Return an answer of one card."""
    return CDSResponse(cards=[Card(summary=summary, indicator="info", source=Source(label="Benchmark"))])


@hooks.hook("patient-view", id="bench-static")
def static(_request):
    """Answer one fixed card."""
    return one_card("One fixed card")


@hooks.hook("order-sign", id="bench-slow50")
def slow(_request):
    """Answer after 50 ms, as a handler that calls a model does."""
    time.sleep(RUN_S)
    return one_card("A model of 50 ms answered")


if __name__ == "__main__":
    app = HealthChainAPI()
    app.register_service(hooks)
    app.run(host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False)
