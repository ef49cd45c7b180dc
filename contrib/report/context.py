"""What a section gets: folders, programs, ways through a tunnel, and where its results go."""

import contextlib
import csv
import os
import sys
import time

import measure
import report
from procs import Failed

# How often a disturbed measurement is made again; the last one stands, however it was.
REPEATS = 2
# What a section may spend on that: on a machine that is never quiet the report ends all the same.
REPEAT_SECONDS = 150


class Skipped(Exception):
	"""A section has no meaning here; the text says why."""


def say(text):
	print(text, file=sys.stderr, flush=True)


def milliseconds(value):
	"""Three digits that count, in the unit that reads best; the value is in ms."""
	size = abs(value)
	if size < 1:
		return f"{value * 1000:.0f} µs"
	return f"{value:.{2 if size < 10 else 1 if size < 100 else 0}f} ms"


def table(head, rows, words=1):
	"""As Markdown; so many columns are words, the rest are figures."""
	lines = [head, ["---"] * words + ["--:"] * (len(head) - words), *rows]
	return "\n".join("| " + " | ".join(str(c) for c in line) + " |" for line in lines) + "\n"


class Context:
	"""One for each section.

	build    where src/adit and src/aditd are
	out      where the report is written; use csv(), svg() and write()
	work     a folder for whatever the section needs meanwhile
	quick    only to see that all works: a few seconds, few samples
	full     time does not matter
	bench    contrib/bench's Bench: .tools (name → path or None), .program(), .file(), .ports.take(), .more_origins, and
	         .origin, the nginx that is everybody's origin (see subjects.py); make_certificates() has run
	"""

	def __init__(self, section, bench, build, out, quick, full=False):
		self.section, self.bench, self.build, self.out, self.quick = section, bench, build, out, quick
		self.full = full
		self.work = bench.file(f"section-{section}")
		os.makedirs(self.work, exist_ok=True)
		self.summaries = []
		self.shares = []
		self.faults = []
		self.used = set()
		self.patience = 0 if quick else REPEAT_SECONDS

	def skip(self, reason):
		raise Skipped(reason)

	def want(self, *tools):
		"""Skips the section unless these of bench.tools are there; the page tells their versions."""
		self.used.update(tools)
		gone = [t for t in tools if not self.bench.tools.get(t)]
		if gone:
			self.skip(f"not installed: {', '.join(gone)}")

	def fault(self, reason):
		"""The section goes on and is shown, and counts as failed."""
		self.faults.append(reason)

	def say(self, text):
		"""Progress, for who waits."""
		say(f"  {text}")

	# ---- results

	def write(self, name, text):
		with open(os.path.join(self.out, name), "w", encoding="utf-8") as f:
			f.write(text)

	def csv(self, name, head, rows):
		"""Writes the raw figures; gives a Markdown link to them."""
		with open(os.path.join(self.out, name + ".csv"), "w", encoding="utf-8", newline="") as f:
			out = csv.writer(f, lineterminator="\n")
			out.writerow(head)
			out.writerows(rows)
		return f"[{name}.csv]({name}.csv)"

	def svg(self, name, drawing, alt):
		"""Writes what has svg() (see svg.py); gives the Markdown that shows it."""
		self.write(name + ".svg", drawing.svg())
		return f"![{alt}]({name}.svg)"

	def summary(self, question, before, now, met=None):
		"""A line of the table at the report's head: what was asked, the polling tunnel, adit; was it what is expected
		(True, False; None: nothing was)? `before` may be a dash."""
		self.summaries.append((question, before, now, met))

	# ---- measuring

	def quietly(self, measure_once):
		"""What measure_once() gives; made again while others take more than a little of the CPU. What is chosen by is
		the others' CPU, never the result."""
		for left in range(REPEATS, -1, -1):
			foreign = measure.Foreign()
			result = measure_once()
			share = foreign.share()
			if share <= report.QUIET_SHARE or not left or self.patience <= 0:
				self.shares.append(share)
				return result
			self.patience -= time.monotonic() - foreign.begin

	@contextlib.contextmanager
	def way(self, kind):
		"""A Subject of contrib/bench/subjects.py, started, whose visitors come to its `port`; ended afterwards. At the
		end it must still have the one link over the one carrier that it began with."""
		subject = kind(self.bench)
		reason = subject.missing()
		if reason:
			raise Failed(f"{subject.name}: {reason}")
		try:
			subject.start()
			yield subject
			subject.check()
		finally:
			subject.stop()

	@contextlib.contextmanager
	def running(self, *programs):
		"""Programs of bench.program(), started; ended afterwards."""
		try:
			for p in programs:
				p.start()
			yield programs
		finally:
			for p in reversed(programs):
				p.stop()
