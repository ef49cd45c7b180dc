"""Starts visitor.py, as many as are wanted, and reads what they measured."""

import json
import os
import subprocess
import sys
import time

from procs import Failed, quit_now, spawn

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "visitor.py")
# Ten interpreters on a busy machine; they begin together afterwards.
START_SECONDS = 1.0


def _start(arguments):
	argv = [sys.executable, "-B", SCRIPT, *arguments]
	return spawn(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _result(process, seconds):
	try:
		out, err = process.communicate(timeout=seconds)
	except subprocess.TimeoutExpired:
		raise Failed(f"a visitor had not ended after {seconds:g} s") from None
	if process.returncode:
		raise Failed(err.strip().split("\n")[-1] or f"a visitor ended with status {process.returncode}")
	return json.loads(out)


def _all(argument_lists, seconds):
	processes = []
	try:
		processes = [_start(arguments) for arguments in argument_lists]
		deadline = time.monotonic() + seconds
		return [_result(p, max(0.1, deadline - time.monotonic())) for p in processes]
	finally:
		for p in processes:
			quit_now(p)


def trips(port, host, visitors, count, pace, spread, seed):
	"""Round trips in ms of so many visitors at once, `count` each. They begin a part of `pace` after each other, so
	that none stands in another's way by accident."""
	begin = time.monotonic() + START_SECONDS
	found = _all([("trips", port, host, count, begin + i * pace / visitors, pace, spread, seed * 100 + i)
		for i in range(visitors)], 30 + count * (pace + spread + 3))
	return [ns / 1e6 for times in found for ns in times]


def one(seconds, mode, port, host, *numbers):
	"""What one visitor of another mode has to tell."""
	return _all([(mode, port, host, *numbers)], seconds)[0]
