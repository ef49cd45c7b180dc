"""scene: aditd, adit, an origin and visitors, all traced, for the sections that break something and look.

The programs are started by tests/e2e's harness; what is told afterwards comes from their traces (by `adit trace`) and
from the visitors' own clocks. Times of a scene are milliseconds since its trace's first event.
"""

import hashlib
import importlib.util
import json
import os
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import harness
from procs import Failed
from relay import Relay
from wire import Cut, Origin, Visitor, eventually, lines, reply

PIECE = 65536
# The longest silence that a visitor of a paced download does not call a pause.
PAUSE_MS = 40
TRACE_SECONDS = 30


def _proxies():
	"""tests/e2e's ingress; `import ingress` gives contrib/bench's, which reloads nothing."""
	spec = importlib.util.spec_from_file_location("proxies", os.path.join(harness.TOP, "tests", "e2e", "ingress.py"))
	module = importlib.util.module_from_spec(spec)
	spec.loader.exec_module(module)
	return module


proxies = _proxies()


def pattern(size):
	"""`size` bytes that repeat at no block's length."""
	block = b"".join(hashlib.sha256(b"%d" % i).digest() for i in range(4099))
	return (block * (size // len(block) + 1))[:size]


class PacedOrigin(Origin):
	"""/download sends `body` in pieces, one each `every` seconds; anything else is answered at once."""

	def __init__(self, size, every):
		super().__init__()
		self.data, self.every = pattern(size), every
		self.serve(self.answer)

	def answer(self, connection, request):
		body = request.read()
		if request.target != "/download":
			connection.send(reply(200, request.target.encode() + body))
			return
		connection.send(lines("HTTP/1.1 200 OK", [("Content-Length", len(self.data))]))
		due = time.monotonic()
		for at in range(0, len(self.data), PIECE):
			if not connection.send(self.data[at:at + PIECE]):
				return
			due += self.every
			time.sleep(max(0, due - time.monotonic()))


class Visits:
	"""A visitor a tick, each on a connection of his own, until the block ends; none waits for the one before him.

	`rows`: (when he came, milliseconds it took, status or what went wrong)."""

	def __init__(self, visit, every=0.02, methods=("GET", "POST")):
		self.visit, self.every, self.methods = visit, every, methods
		self.rows, self.over = [], threading.Event()
		self.pool = ThreadPoolExecutor(max_workers=256)
		self.thread = threading.Thread(target=self.run, daemon=True)

	def one(self, number):
		began, clock = time.time(), time.monotonic()
		method, target = self.methods[number % len(self.methods)], f"/visit/{number}"
		body = b"order %d" % number if method == "POST" else None
		try:
			with self.visit() as visitor:
				answer = visitor.fetch(method, target, body=body)
			right = answer.body == target.encode() + (body or b"")
			what = answer.status if answer.status != 200 or right else "wrong answer"
		except ConnectionRefusedError:
			what = "refused"
		except (Cut, OSError, AssertionError):
			what = "cut"
		except Exception as e:  # a visitor whose row is missing would have failed unseen
			what = type(e).__name__
		self.rows.append((began, (time.monotonic() - clock) * 1000, what))

	def run(self):
		due, number = time.monotonic(), 0
		while not self.over.wait(max(0, due - time.monotonic())):
			self.pool.submit(self.one, number)
			number, due = number + 1, due + self.every

	def __enter__(self):
		self.thread.start()
		return self

	def __exit__(self, *_):
		self.over.set()
		self.thread.join(10)
		self.pool.shutdown()
		self.rows.sort()

	def failed(self):
		return [row for row in self.rows if row[2] != 200]


class Download:
	"""A visitor of /download: whether every byte came as it was sent, and when none came."""

	def __init__(self, visit, data):
		self.visit, self.wanted, self.size = visit, hashlib.sha256(data).hexdigest(), len(data)
		self.got, self.count, self.error, self.arrivals = hashlib.sha256(), 0, None, []
		self.thread = threading.Thread(target=self.run, daemon=True)
		self.thread.start()

	def take(self, piece):
		self.got.update(piece)
		self.count += len(piece)
		self.arrivals.append(time.time())

	def run(self):
		try:
			with self.visit() as visitor:
				visitor.ask(target="/download")
				self.arrivals.append(time.time())
				visitor.read(sink=self.take)
		except (Cut, OSError, AssertionError) as e:
			self.error = repr(e)

	def reached(self, part):
		"""Waits until so much of it has come."""
		eventually(lambda: self.count >= part * self.size or self.error, "the download goes on", timeout=30)

	def result(self):
		self.thread.join(60)
		return self

	@property
	def whole(self):
		return not self.error and self.got.hexdigest() == self.wanted

	@property
	def pauses(self):
		"""(from, to) of each silence that a visitor could notice."""
		return [(a, b) for a, b in zip(self.arrivals, self.arrivals[1:]) if (b - a) * 1000 > PAUSE_MS]

	@property
	def longest_ms(self):
		return max((b - a) * 1000 for a, b in zip(self.arrivals, self.arrivals[1:]))


class LimitedNginx(proxies.Nginx):
	"""An nginx that, reloaded, cuts after a second what its old workers still have."""

	MAIN = "worker_shutdown_timeout 1s;\n" + proxies.Nginx.MAIN


class LimitedHAProxy(proxies.HAProxyH1):
	"""A HAProxy that, reloaded, cuts after a second what its old process still has."""

	MAIN = proxies.HAProxyH1.MAIN.replace("global\n", "global\n\thard-stop-after 1s\n")


class Scene:
	"""`way` from adit to aditd: "relay", "none", or a class of tests/e2e/ingress.py, through which visitors come as well
	unless they come `straight` to aditd."""

	def __init__(self, folder, way="relay", straight=False, size=24 << 20, every=0.008, flags=()):
		self.folder, self.marks, self.things, self.flags = folder, [], [], flags
		folder.mkdir(parents=True)
		self.authority = harness.Authority(folder / "ca")
		self.server = harness.Server(folder / "aditd", self.authority, trace=str(folder / "aditd.trace"),
			trusted_proxies=["127.0.0.1"])
		self.things.append(lambda: self.server.program.kill())
		self.origin = PacedOrigin(size, every)
		self.things.append(self.origin.stop)
		self.between = self.adit = None
		try:
			self.lay(way)
			self.start_adit()
		except BaseException:
			self.end()
			raise
		self.visitors_port = self.between.port if self.between and way != "relay" and not straight else self.server.tls_port

	def lay(self, way):
		"""What is between adit and aditd."""
		if way == "relay":
			self.between = Relay(self.server.tls_port)
		elif way != "none":
			self.between = way(self.folder / "ingress", self.server)
		if self.between:
			self.things.append(self.between.stop)

	def start_adit(self):
		port = self.between.port if self.between else self.server.tls_port
		self.adit = harness.adit_http(self.server, self.folder / "adit", self.origin.address, "--name", "shop", "--trace",
			str(self.folder / "adit.trace"), *self.flags, common=["--server", f"https://127.0.0.1:{port}",
				"--server-name", harness.DOMAIN, "--ca", self.authority.ca, "--log-format", "json"])
		self.things.append(self.adit.kill)
		self.adit.wait_event("published")

	def visit(self):
		return Visitor(self.visitors_port, f"shop.{harness.DOMAIN}", tls=self.server.tls_context, timeout=30)

	def mark(self, text):
		"""Something is done to it now."""
		self.marks.append((time.time(), text))

	def told(self):
		"""Ends the programs in order, and gives what their traces tell."""
		self.adit.stop()
		self.server.program.stop()
		return Told(self)

	def end(self):
		for end in reversed(self.things):
			end()

	def __enter__(self):
		return self

	def __exit__(self, *_):
		self.end()


def run_trace(folder, *flags):
	done = subprocess.run([harness.ADIT, "trace", *flags, "adit.trace", "aditd.trace"], cwd=folder, text=True,
						  stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=TRACE_SECONDS, check=False)
	if done.returncode > 1:
		raise Failed(f"adit trace: {done.stderr.strip()}")
	return done.stdout


class Told:
	"""What `adit trace` makes of a scene: its text, and its events for a program."""

	def __init__(self, scene):
		self.text = run_trace(scene.folder)
		self.json = run_trace(scene.folder, "--json")
		records = [json.loads(line) for line in self.json.splitlines()]
		self.summary, self.events = records[-1], records[:-1]
		first = datetime.fromisoformat(self.events[0]["time"].replace("Z", "+00:00"))
		self.begin = first.timestamp()
		self.marks = [(self.at(when), text) for when, text in scene.marks]

	def at(self, when):
		"""A time of ours (time.time()) in the trace's milliseconds."""
		return (when - self.begin) * 1000

	def first(self, name, after=0, **match):
		"""The first such event at or behind that time; Failed when there is none."""
		for event in self.events:
			if event["event"] == name and event["at_ms"] >= after and all(event.get(k) == v for k, v in match.items()):
				return event
		raise Failed(f"the trace has no {name} {match or ''} after {after:.0f} ms")

	def has(self, name, after=0):
		return any(e["event"] == name and e["at_ms"] >= after for e in self.events)

	def lines(self):
		"""(milliseconds, line) of each event of the transcript."""
		out = []
		for line in self.text.splitlines():
			if line.startswith("+"):
				hours, minutes, seconds = line[1:].split(" ")[0].split(":")
				out.append((int(hours) * 3600000 + int(minutes) * 60000 + round(float(seconds) * 1000), line))
		return out

	def excerpt(self, begin, end):
		"""The transcript's lines from `begin` to `end`, in milliseconds."""
		return [line for at, line in self.lines() if begin <= at <= end]

	def verdict(self):
		"""The transcript's last lines: each link, what was held, what was lost."""
		all_lines = self.text.splitlines()
		return all_lines[next(i for i, line in enumerate(all_lines) if line.startswith("link ")):]


def usual(rows):
	"""The median time of these visitors who got their answer, in milliseconds."""
	took = sorted(row[1] for row in rows if row[2] == 200)
	return took[len(took) // 2] if took else 0


def raw(context, name, told, rows):
	"""The whole transcript, its events and the visitors' times (counted from the first mark) as files; links to them."""
	context.write(name + ".txt", told.text)
	context.write(name + ".jsonl", told.json)
	zero = told.marks[0][0]
	visits = context.csv(name, ("came_ms", "took_ms", "status"),
		[(f"{told.at(when) - zero:.1f}", f"{took:.2f}", what) for when, took, what in rows])
	return f"Raw: [the whole transcript]({name}.txt), [its events]({name}.jsonl), {visits}.\n"
