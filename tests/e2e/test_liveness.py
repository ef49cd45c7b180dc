"""How a dead or dying connection is noticed when nothing is said about it."""
import json
import time

import harness
import nginx_ingress
from wire import eventually


def trace_of(own, name="adit"):
    path = own.folder / name / "trace.json"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_idle_budget_is_learnt(own):
    """An ingress that cuts what was silent for 4 s does so twice: then the heartbeat is shorter than that."""
    server, origin = own.server(), own.origin()
    front = nginx_ingress.Ingress(own, server, nginx_ingress.UPGRADE.replace("60s", "4s"))
    adit = own.keep(harness.adit_http(server, own.folder / "adit", origin.address, "--name", "shop", "--trace", "trace.json",
                                      common=front.flags()))
    adit.wait_event("published")

    def learnt():
        return [r for r in trace_of(own) if r["event"] == "heartbeat"]

    eventually(learnt, lambda: "the heartbeat is learnt:\n" + adit.text, timeout=20)
    assert 2000 <= learnt()[0]["ms"] <= 3000
    eventually(lambda: len(adit.events("moved")) == 2, "it is back", timeout=5)
    cuts = len(adit.events("down"))
    time.sleep(7)
    assert len(adit.events("down")) == cuts == 2, adit.text
    assert server.fetch().status == 200
