"""Rows about what goes wrong on the way: a long path, a server that crashes, connections that are cut or go silent;
and what a tunnel costs that nobody uses. Each sets up another one of the subject, beside it."""

import contextlib
import signal
import statistics
import time

import load
import measure
from procs import Failed

FAR_DELAY_MS = 25
FAR_SECONDS = 5
IDLE_TUNNELS = 20
# What a memory allocator or a collector still does after the last one connected.
IDLE_SETTLE_SECONDS = 1.5
DOWN_SECONDS = 0.5
CUT_AT_BYTES = 100 * load.MB
# Beyond that it is "not within"; a visitor would have gone long before.
BACK_SECONDS = 30
HOLE_SECONDS = 20
TRY_SECONDS = 1
TRY_PAUSE_SECONDS = 0.02


class Skipped(Exception):
	"""This row has no meaning for this subject; the text says why."""


@contextlib.contextmanager
def apart(subject, **settings):
	if not subject.dials:
		raise Skipped("has no end that dials another" if subject.programs() else "has nothing in the middle")
	with started(subject, **settings) as other:
		yield other


@contextlib.contextmanager
def started(subject, **settings):
	other = subject.apart(**settings)
	try:
		other.start()
		yield other
	finally:
		other.stop()


def far(bench, subject, _seconds):
	"""One body down, one up, over 50 ms of round trip; left off after FAR_SECONDS each."""
	if not subject.programs():
		raise Skipped("has nothing in the middle")
	_want_relay(bench)
	with started(subject, relay_delay_ms=FAR_DELAY_MS) as other:
		down, down_seconds = load.download(bench.tools, other.port, "/1g", load.GB, FAR_SECONDS)
		up, up_seconds = load.upload(bench.tools, other.port, bench.origin.long_up_file, load.GB, FAR_SECONDS)
	return {"down_mb_per_s": down / down_seconds / load.MB, "up_mb_per_s": up / up_seconds / load.MB}


def _want_relay(bench):
	if not bench.tools["cc"]:
		raise Skipped("not installed: cc, for relay.c")


def idle_tunnels(_bench, subject, _seconds):
	"""What each more costs the server, and what its client takes."""
	with apart(subject, others=IDLE_TUNNELS) as other:
		time.sleep(IDLE_SETTLE_SECONDS)
		servers = [p.pid for p in other.servers]
		before, _ = measure.memory(servers)
		for i in range(1, IDLE_TUNNELS + 1):
			other.clients.append(other.client(i))
		time.sleep(IDLE_SETTLE_SECONDS)
		after, _ = measure.memory(servers)
		each = statistics.median(measure.memory([p.pid])[0] for p in other.clients[1:])
	return {"each_server_kb": (after - before) / IDLE_TUNNELS / 1000, "each_client_mb": each / load.MB}


def _back(other, limit):
	"""Seconds until a visitor is answered again, None when not within `limit`."""
	begin = time.monotonic()
	while time.monotonic() < begin + limit:
		if load.small_get(other.port, TRY_SECONDS) is not None:
			return time.monotonic() - begin
		time.sleep(TRY_PAUSE_SECONDS)
	return None


def _told(seconds, limit):
	return {"not_back_s": limit} if seconds is None else {"back_ms": seconds * 1000}


def _break(other, signum, done):
	other.relay.signal(signum)
	other.relay.wait_for(done, TRY_SECONDS)


def restart(_bench, subject, _seconds):
	"""The server is killed, and started again DOWN_SECONDS later; from there until a visitor is answered."""
	with apart(subject, keep_up=True) as other:
		server = other.servers[0]
		server.kill()
		time.sleep(DOWN_SECONDS)
		server.start()
		return _told(_back(other, BACK_SECONDS), BACK_SECONDS)


def cut(bench, subject, _seconds):
	"""The tunnel's connections are reset in the middle of a download."""
	_want_relay(bench)
	with apart(subject, relay_delay_ms=0, keep_up=True) as other:
		with load.Bulk(bench.tools, other.port, path="/1g") as bulk:
			bulk.wait(CUT_AT_BYTES)
			_break(other, signal.SIGUSR1, "cut")
			received = bulk.end(BACK_SECONDS)
		figures = {"whole": int(received == load.GB), "received_mb": received / load.MB}
		if received != load.GB:
			figures.update(_told(_back(other, BACK_SECONDS), BACK_SECONDS))
	return figures


def hole(bench, subject, _seconds):
	"""The tunnel's connections go silent while visitors come; new ones would pass."""
	_want_relay(bench)
	with apart(subject, relay_delay_ms=0, keep_up=True) as other:
		for _ in range(3):
			if load.small_get(other.port, TRY_SECONDS) is None:
				raise Failed("a small GET was not served while all was well")
		_break(other, signal.SIGUSR2, "hole")
		return _told(_back(other, HOLE_SECONDS), HOLE_SECONDS)
