"""The visitors: wrk, h2load and curl, and those that open a body and stop reading. Every wait has a bound."""

import contextlib
import http.client
import json
import os
import re
import select
import socket
import subprocess
import time

import measure
from procs import Failed, run, spawn

HOST = "shop.tunnel.test"
BODY_13 = b"Hello, adit!\n"
# A gRPC message: not compressed, its length, its bytes.
CALL = b"\0" + len(BODY_13).to_bytes(4, "big") + BODY_13
CALL_PATH = "/bench.Echo/Unary.grpc"
CALL_FIELDS = ("content-type: application/grpc", "te: trailers")
CALL_TRAILER = "grpc-status: 0"
MB = 1000 * 1000
GB = 1000 * MB
UP_BYTES = 256 * MB
TRANSFER_SECONDS = 120
GRACE_SECONDS = 15
CURL_TIMED_OUT = 28
# With more of its requests answered wrongly, or not at all, a load says nothing: refusals are fast.
MOST_ERRORS = 0.01

_HERE = os.path.dirname(os.path.abspath(__file__))


def _judge(program, requests, errors):
	if sum(errors.values()) > MOST_ERRORS * requests:
		told = ", ".join(f"{k} {n}" for k, n in errors.items())
		raise Failed(f"{program}: too many errors beside {requests} responses: {told}")


def wrk(tools, port, path, connections, seconds):
	"""HTTP/1.1 keep-alive visitors, one request in flight on each connection."""
	argv = [tools["wrk"], "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "5s", "-s",
		os.path.join(_HERE, "wrk.lua"), "-H", f"Host: {HOST}", f"http://127.0.0.1:{port}{path}"]
	status, out, err = run(argv, seconds + GRACE_SECONDS)
	found = re.search(r"^BENCH (\{.*\})$", out, re.M)
	if status or not found:
		raise Failed(f"wrk ended with status {status}: {(err or out).strip()[-200:]}")
	figures = json.loads(found.group(1))
	if not figures["requests"]:
		raise Failed("wrk got no response at all")
	errors = {k: figures[k] for k in ("connect", "read", "write", "status", "timeout") if figures[k]}
	_judge("wrk", figures["requests"], errors)
	return {"requests": figures["requests"], "seconds": figures["duration_us"] / 1e6, "bytes": figures["bytes"],
		"p50_us": figures["p50_us"], "p99_us": figures["p99_us"], "errors": errors}


def speaks_h2(tools, port, host=HOST):
	"""Does it answer HTTP/2 with prior knowledge on this (plain) port?"""
	_, out, _ = run([tools["curl"], "-s", "-o", os.devnull, "-w", "%{http_version} %{http_code}", "--max-time", "3",
		"--http2-prior-knowledge", "-H", f"Host: {host}", f"http://127.0.0.1:{port}/13b"], 5)
	return out == "2 200"


def _fields(fields):
	return [word for field in fields for word in ("-H", field)]


def answers_calls(tools, port, host, message):
	"""Is a unary call answered with 200, data and a good status in the trailers? `message` is a file with CALL in it."""
	fields = _fields((f":authority: {host}", ":method: POST") + CALL_FIELDS)
	_, out, _ = run([tools["nghttp"], "-v", "-t", "3", "-d", message, *fields, f"http://127.0.0.1:{port}{CALL_PATH}"], 5)
	head, _, trailers = out.partition("recv DATA")
	return " :status: 200" in head and "content-type: application/grpc" in head and CALL_TRAILER in trailers


_UNITS = {"us": 1, "ms": 1e3, "s": 1e6}


def h2load(tools, port, path, streams, seconds, host=HOST, call=None, requests=None, h1=False):
	"""One HTTP/2 connection with `streams` requests in flight, or (`h1`) as many of HTTP/1.1 with one each; POSTs of
	the file `call` where there is one; so many `requests`, then `seconds` is their bound. h2load knows a mean latency,
	no percentiles."""
	argv = [tools["h2load"], "-t1", *(("--h1", f"-c{streams}", "-m1") if h1 else ("-c1", f"-m{streams}")),
		*(("-n", requests) if requests else ("-D", seconds)),
		f"--connect-to=127.0.0.1:{port}",
		*(["-d", call, *_fields(CALL_FIELDS)] if call else []), f"http://{host}{path}"]
	status, out, err = run(argv, seconds + GRACE_SECONDS)
	counts = re.search(r"^requests: .*? (\d+) succeeded, (\d+) failed,", out, re.M)
	mean = re.search(r"^time for request:\s+\S+\s+\S+\s+([\d.]+)(us|ms|s)\s", out, re.M)
	if status or not counts or not mean:
		raise Failed(f"h2load ended with status {status}: {(err or out).strip()[-200:]}")
	succeeded, failed = int(counts.group(1)), int(counts.group(2))
	if not succeeded:
		raise Failed("h2load got no response at all")
	_judge("h2load", succeeded, {"failed": failed})
	return {"requests": succeeded, "seconds": float(seconds), "mean_us": float(mean.group(1)) * _UNITS[mean.group(2)],
		"errors": {"failed": failed} if failed else {}}


def _curl(tools, arguments, size_name, wanted, limit):
	"""(bytes, seconds) of one body, which is left off after `limit` seconds."""
	argv = [tools["curl"], "-s", "-S", "-o", os.devnull, "-w", f"%{{http_code}} %{{{size_name}}} %{{time_total}}",
		"--max-time", str(limit), "-H", f"Host: {HOST}"] + arguments
	status, out, err = run(argv, limit + 5)
	words = out.split()
	whole = status == 0 and len(words) == 3 and words[0] == "200" and int(words[1]) == wanted
	# An upload that is left off has no response yet.
	left_off = status == CURL_TIMED_OUT and len(words) == 3 and words[0] in ("200", "000") and int(words[1]) > 0
	if not whole and not left_off:
		raise Failed(f"curl ended with status {status}: {err.strip()[-200:]} (HTTP code, bytes, seconds: {out})")
	return int(words[1]), float(words[2])


def download(tools, port, path, size, limit):
	return _curl(tools, [f"http://127.0.0.1:{port}{path}"], "size_download", size, limit)


def upload(tools, port, file, size, limit):
	"""Without Expect: waiting for a 100 would measure something else. What is left off counts as far as it was sent,
	including what still lies in buffers."""
	return _curl(tools, ["-T", file, "-H", "Expect:", f"http://127.0.0.1:{port}/upload"], "size_upload", size, limit)


class Bulk:
	"""One visitor who downloads `path` while something else is measured; /1g again and again if nothing is said."""

	GOING_SECONDS = 5

	def __init__(self, tools, port, path="/1g?[1-1000]"):
		argv = [tools["curl"], "-s", "-o", os.devnull, "--max-time", str(TRANSFER_SECONDS), "-w", "%{size_download}",
			"-H", f"Host: {HOST}", f"http://127.0.0.1:{port}{path}"]
		self.process = spawn(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

	def __enter__(self):
		try:
			self.wait(MB)
		except Failed:
			self.__exit__()
			raise
		return self

	def wait(self, size):
		"""Until so many bytes have come."""
		deadline = time.monotonic() + self.GOING_SECONDS
		while self.received() < size:
			if time.monotonic() > deadline:
				raise Failed(f"the bulk download did not bring {size // MB} MB within {self.GOING_SECONDS} s")
			time.sleep(0.005)

	def received(self):
		if self.process.poll() is not None:
			raise Failed(f"the bulk download ended in between (curl status {self.process.returncode})")
		return measure.written_bytes(self.process.pid)

	def end(self, limit):
		"""How many bytes it brought, whole or not; what has not ended after `limit` seconds is left off."""
		try:
			out, _ = self.process.communicate(timeout=limit)
		except subprocess.TimeoutExpired:
			return self.received()
		return int(out or 0)

	def __exit__(self, *_):
		self.process.kill()
		self.process.wait()
		self.process.stdout.close()


def request(path):
	return f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nUser-Agent: bench\r\n\r\n".encode()


def small_get(port, seconds):
	"""One GET of /13b on a connection of its own: its latency in µs, or None when it was not served in time."""
	begin = time.monotonic()
	got = b""
	try:
		with socket.create_connection(("127.0.0.1", port), seconds) as s:
			s.sendall(request("/13b"))
			while True:
				left = begin + seconds - time.monotonic()
				if left <= 0:
					return None
				s.settimeout(left)
				piece = s.recv(65536)
				got += piece
				head, _, body = got.partition(b"\r\n\r\n")
				if BODY_13 in body:
					return (time.monotonic() - begin) * 1e6 if b" 200 " in head[:20] else None
				if not piece:
					return None
	except OSError:
		return None


class Stalled:
	"""Visitors who ask for /1g, read the first bytes and then nothing more, with their connections kept open."""

	OPEN_SECONDS = 10
	SETTLE_SECONDS = 5

	def __init__(self, port, count):
		self.port, self.count = port, count
		self.sockets, self.begun = [], 0

	def __enter__(self):
		deadline = time.monotonic() + self.OPEN_SECONDS
		for _ in range(self.count):
			with contextlib.suppress(OSError):
				s = socket.create_connection(("127.0.0.1", self.port), max(0.01, deadline - time.monotonic()))
				self.sockets.append(s)
				s.sendall(request("/1g"))
		waiting = list(self.sockets)
		deadline = time.monotonic() + 2
		while waiting and time.monotonic() < deadline:
			ready = select.select(waiting, [], [], 0.1)[0]
			for s in ready:
				waiting.remove(s)
				with contextlib.suppress(OSError):
					self.begun += s.recv(1024)[9:12] == b"200"
		return self

	def settle(self):
		"""Until the kernel's buffers stopped growing; gives the most they held, in bytes."""
		begin = time.monotonic()
		before, most, since = measure.tcp_memory(), 0, begin
		while time.monotonic() < begin + self.SETTLE_SECONDS and time.monotonic() < since + 1:
			time.sleep(0.1)
			now = measure.tcp_memory()
			most = max(most, now)
			if abs(now - before) > MB:
				before, since = now, time.monotonic()
		return most

	def __exit__(self, *_):
		for s in self.sockets:
			s.close()


def check(port):
	"""One request of each kind, answered rightly; raises Failed. What is measured must work first."""
	def ask(method, path, body=None):
		c = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
		try:
			c.request(method, path, body=body, headers={"Host": HOST})
			r = c.getresponse()
			return r.status, r.read()
		except (OSError, http.client.HTTPException) as e:
			raise Failed(f"{method} {path}: {e!r}") from None
		finally:
			c.close()
	for method, path, body, good in (
			("GET", "/13b", None, lambda b: b == BODY_13),
			("GET", "/1m", None, lambda b: len(b) == MB),
			("PUT", "/upload", b"x" * 100000, lambda b: True)):
		status, got = ask(method, path, body)
		if status != 200 or not good(got):
			raise Failed(f"{method} {path}: status {status}, {len(got)} bytes")
