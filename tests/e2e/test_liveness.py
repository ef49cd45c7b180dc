"""How a dead or dying connection is noticed when nothing is said about it."""
import json
import shutil
import subprocess
import time

import pytest

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


def test_machine_slept(own):
    """The wall clock runs ahead of the monotonic one: adit asks at once whether its server is still there."""
    if not shutil.which("cc") or b"__asan_init" in harness.ADIT.read_bytes():
        pytest.skip("needs a C compiler, and a build without sanitizers")
    shim = own.folder / "clock_shim.so"
    shim.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", shim, harness.TOP / "tests" / "e2e" / "clock_shim.c"], check=True,
                   timeout=60)
    server, origin, jump = own.server(), own.origin(), own.folder / "jump"
    adit = own.keep(harness.adit_http(
        server, own.folder / "adit", origin.address, "--name", "shop", "--trace", "trace.json",
        wrap=["env", f"LD_PRELOAD={shim}", f"CLOCK_JUMP={jump}"]))
    adit.wait_event("published")
    jump.touch()
    eventually(lambda: "trusted" in [r["event"] for r in trace_of(own)], "it asks and is answered", timeout=10)
    events = [r["event"] for r in trace_of(own)]
    assert events.index("clock") < events.index("suspect") < events.index("trusted"), events
    assert not adit.events("down") and server.fetch().status == 200
