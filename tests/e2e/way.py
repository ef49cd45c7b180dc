"""way: aditd, adit behind a relay that breaks, and an origin; and a saw that breaks it all the time."""
import json
import random
import threading

import harness
from relay import Relay


class Way:
    """`relay`: makes the relay from aditd's TLS port; Relay by default. `config` goes to aditd."""

    def __init__(self, own, *flags, origin=None, carrier="auto", relay=Relay, name="shop", **config):
        self.own, self.name, self.flags = own, name, ("--carrier", carrier, *flags)
        self.server = own.server(**config)
        self.relay = own.keep(relay(self.server.tls_port))
        self.origin = origin or own.origin()
        self.adit = self.client("adit")
        self.adit.wait_event("published")

    def client(self, folder, relay=None):
        """One more adit of the name."""
        port = (relay or self.relay).port
        return self.own.keep(harness.adit_http(
            self.server, self.own.folder / folder, self.origin.address, "--name", self.name, *self.flags,
            "--trace", "trace.json", common=[
                "--server", f"https://127.0.0.1:{port}", "--server-name", harness.DOMAIN,
                "--ca", self.own.authority.ca, "--log-format", "json"]))

    def trace(self, event, folder="adit"):
        """Those records of adit's trace file."""
        lines = (self.own.folder / folder / "trace.json").read_text(errors="replace").splitlines()
        records = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
        return [r for r in records if r.get("event") == event]


class Saw:
    """Breaks all connections of a relay every `every` seconds, each at some byte, until the block ends."""

    def __init__(self, relay, every=0.2, hows=("reset", "fin", "half"), seed=1, reach=200000):
        self.relay, self.every, self.hows, self.reach = relay, every, hows, reach
        self.rng, self.over, self.cuts = random.Random(seed), threading.Event(), 0
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        while not self.over.wait(self.every):
            self.relay.cut(self.rng.choice(self.hows), after=self.rng.randrange(self.reach))
            self.cuts += 1

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()
