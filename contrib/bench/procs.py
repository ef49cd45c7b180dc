"""Programs started, watched and ended: whatever way the run ends, nothing that it started outlives it."""

import contextlib
import ctypes
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import measure

STOP_SECONDS = 3
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

_libc = ctypes.CDLL(None, use_errno=True)
ENVIRONMENT = {"PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin", "LC_ALL": "C",
	"HOME": os.environ.get("HOME", "/")}


class Failed(Exception):
	"""Something did not work; the text is one line for people."""


def adopt_orphans():
	"""Grandchildren whose parent dies become ours, so that end_all() finds them too."""
	_libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _die_with_parent():
	_libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def spawn(argv, **kwargs):
	"""Popen in a session of its own (a Ctrl-C is ours to handle) that dies with us, even when we are killed."""
	env = dict(ENVIRONMENT, **kwargs.pop("env", {}))
	return subprocess.Popen([str(a) for a in argv], stdin=subprocess.DEVNULL, env=env, start_new_session=True,
		preexec_fn=_die_with_parent, **kwargs)


def run(argv, timeout):
	"""Runs to the end within `timeout` seconds; gives (exit status, stdout, stderr)."""
	p = spawn(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace")
	try:
		out, err = p.communicate(timeout=timeout)
	except subprocess.TimeoutExpired:
		raise Failed(f"{os.path.basename(str(argv[0]))} had not ended after {timeout:g} s") from None
	finally:
		quit_now(p)
	return p.returncode, out, err


def quit_now(p):
	"""Ends it if it runs still. A grandchild that keeps its pipes open is not waited for."""
	if p.poll() is None:
		p.kill()
		with contextlib.suppress(subprocess.TimeoutExpired):
			p.communicate(timeout=STOP_SECONDS)


def _same(stat):
	now = measure.read_stat(stat.pid)
	return now is not None and now.started == stat.started and now.state != "Z"


def _kill(stats, signum):
	for stat in stats:
		if _same(stat):
			with contextlib.suppress(ProcessLookupError, PermissionError):
				os.kill(stat.pid, signum)


def _reap():
	with contextlib.suppress(ChildProcessError):
		while os.waitpid(-1, os.WNOHANG)[0]:
			pass


def end_all():
	"""Ends every process below this one."""
	me = os.getpid()
	for signum in (signal.SIGTERM, signal.SIGKILL):
		deadline = time.monotonic() + STOP_SECONDS
		while time.monotonic() < deadline:
			_reap()
			rest = [s for s in measure.tree([me]) if s.pid != me]
			if not rest:
				return
			_kill(rest, signum)
			time.sleep(0.05)


def _on_signal(*_):
	# A second signal must not cut the cleaning up that the first one began.
	for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
		signal.signal(signum, signal.SIG_IGN)
	raise KeyboardInterrupt


def whole_run(name, go):
	"""go(work) in a new folder; that, and whatever was started, is gone afterwards, also when a signal ends it. Gives
	an exit status: go's; 1 when it Failed, which is told in one line; 130 when it was interrupted."""
	for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
		signal.signal(signum, _on_signal)
	adopt_orphans()
	work = tempfile.mkdtemp(prefix="adit-bench-")
	try:
		return go(work)
	except Failed as e:
		print(f"{name}: {e}", file=sys.stderr, flush=True)
		return 1
	except KeyboardInterrupt:
		return 130
	finally:
		end_all()
		shutil.rmtree(work, ignore_errors=True)


class Program:
	"""A long-running program with its log; `stop` ends it with all its children."""

	def __init__(self, argv, log, **kwargs):
		self.argv, self.log, self.kwargs = argv, log, kwargs
		self.name = os.path.basename(str(argv[0]))
		self.process = None
		self.log_begin = 0

	def start(self):
		# Appended: a later round must not wipe out what an earlier failure said.
		with open(self.log, "ab") as f:
			self.log_begin = f.seek(0, os.SEEK_END)
			self.process = spawn(self.argv, stdout=f, stderr=f, **self.kwargs)
		return self

	@property
	def pid(self):
		return self.process.pid

	def alive(self):
		return self.process is not None and self.process.poll() is None

	def lines(self):
		"""What it has written since its start; the last one may be cut."""
		try:
			with open(self.log, "rb") as f:
				f.seek(self.log_begin)
				return f.read().decode("utf-8", "replace").split("\n")
		except OSError:
			return []

	def last_line(self):
		return next((line.strip() for line in reversed(self.lines()) if line.strip()), "")

	def check(self):
		if not self.alive():
			raise Failed(f"{self.name} ended (status {self.process.returncode}): {self.last_line() or 'no message'}")

	def wait_for(self, word, seconds):
		"""Until `word` stands in its log."""
		deadline = time.monotonic() + seconds
		while time.monotonic() < deadline:
			if any(word in line for line in self.lines()):
				return
			self.check()
			time.sleep(0.02)
		raise Failed(f"{self.name} did not say \"{word}\" within {seconds} s: {self.last_line() or 'no message'}")

	def wait_listening(self, port, seconds, address="127.0.0.1"):
		deadline = time.monotonic() + seconds
		while not measure.listens(port, address):
			self.check()
			if time.monotonic() > deadline:
				raise Failed(f"{self.name} does not listen after {seconds} s: {self.last_line() or 'no message'}")
			time.sleep(0.02)

	def kill(self):
		"""As a crash would end it, with all its children; `start` begins it again."""
		_kill(measure.tree([self.pid]), signal.SIGKILL)
		with contextlib.suppress(subprocess.TimeoutExpired):
			self.process.wait(STOP_SECONDS)

	def signal(self, signum):
		os.kill(self.pid, signum)

	def stop(self):
		if self.process is None:
			return
		family = measure.tree([self.pid]) if self.process.poll() is None else []
		_kill(family, signal.SIGTERM)
		with contextlib.suppress(subprocess.TimeoutExpired):
			self.process.wait(STOP_SECONDS)
		_kill(family, signal.SIGKILL)
		with contextlib.suppress(subprocess.TimeoutExpired):
			self.process.wait(STOP_SECONDS)
		self.process = None


class Ports:
	"""Free ports of 127.0.0.1 below the range that outgoing connections take theirs from, each given once."""

	def __init__(self):
		try:
			with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as f:
				self.end = int(f.read().split()[0])
		except (OSError, ValueError):
			self.end = 32768
		self.begin = 10000 if self.end > 12000 else 1024
		self.given = set()

	def take(self):
		for _ in range(1000):
			port = random.randrange(self.begin, max(self.end, self.begin + 1000))
			if port in self.given:
				continue
			with socket.socket() as s, contextlib.suppress(OSError):
				s.bind(("127.0.0.1", port))
				self.given.add(port)
				return port
		raise Failed("no free port on 127.0.0.1")
