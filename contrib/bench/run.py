#!/usr/bin/env python3
"""Compares adit with other ways to the same origin: every row for every subject, again in each round, in one run.

The map:
  run.py       flags, the interleaved loop, ending everything
  subjects.py  the origins, and the ways to them: direct, two nghttpx, ssh -R, adit over each carrier
  peers.py     other tunnels, which peers.sh gets and builds
  ingress.py   real proxies between adit and aditd, from the files of contrib/ingress
  rows.py      what is measured
  outages.py   rows about a long path, crashes, cuts and silence, by relay.c
  load.py      the visitors: wrk, h2load, curl, and those that stop reading
  measure.py   CPU, memory and TCP buffers from /proc
  procs.py     programs: start, watch, end
  report.py    raw files and tables
"""

import argparse
import contextlib
import os
import random
import sys
import tempfile
import time

sys.dont_write_bytecode = True

import load
import measure
import peers
import procs
import report
import rows
import subjects

VERSION_FLAGS = {"nginx": "-v", "haproxy": "-v", "nghttpx": "--version", "ssh": "-V", "wrk": "-v",
	"h2load": "--version", "nghttpd": "--version", "curl": "--version", "openssl": "version", "aditd": "--version",
	"adit": "--version"}
TCP_IDLE_BYTES = 16 * load.MB
# What a quick run lets one body take; a whole gigabyte by thirteen subjects would not be quick.
QUICK_TRANSFER_SECONDS = 1
# How often a disturbed measurement is made again; the last one stands, however it was.
REPEATS = 3
# `idle` is over too fast for a share to mean anything; `stalled` leaves full buffers behind.
ONCE = ("idle", "idle-tunnels", "restart", "cut", "hole", "stalled")
SUBJECTS = {**subjects.ALL, **{c.name: c for c in peers.ALL}}


def names(known):
	def parse(text):
		wanted = [w for w in text.split(",") if w]
		wrong = [w for w in wanted if w not in known]
		if wrong or not wanted:
			raise argparse.ArgumentTypeError(f"found {text!r}, wanted some of: {', '.join(known)}")
		return [k for k in known if k in wanted]
	return parse


def positive(text):
	if not text.isdecimal() or not 1 <= int(text) <= 1000:
		raise argparse.ArgumentTypeError(f"found {text!r}, wanted 1 to 1000")
	return int(text)


def arguments(argv):
	p = argparse.ArgumentParser(prog="run.sh", description="Compares adit with other ways to the same origin.")
	p.add_argument("--rounds", type=positive, help="how often every row is measured (5)")
	p.add_argument("--duration", type=positive, metavar="SECONDS", help="of each load by wrk and h2load (3)")
	p.add_argument("--quick", action="store_true", help="1 round of 1 s: about a minute, only to see that all works")
	p.add_argument("--carriers", action="store_true", help="adit over each carrier, without and through an ingress: "
		f"other defaults for --subjects, and for --only {','.join(rows.CARRIER_ROWS)}")
	p.add_argument("--only", type=names(rows.ROWS), metavar="ROW,…", help=", ".join(rows.ROWS))
	p.add_argument("--subjects", type=names(SUBJECTS), metavar="NAME,…",
		help=f"{', '.join(SUBJECTS)} (default: {', '.join(subjects.DEFAULT)})")
	p.add_argument("--peers", metavar="DIR", help="where peers.sh has built other tunnels: they are measured, too")
	p.add_argument("--repeats", type=int, default=REPEATS, metavar="N",
		help=f"how often a disturbed measurement is made again ({REPEATS})")
	p.add_argument("--rare", type=positive, metavar="N",
		help=f"rounds in which {', '.join(rows.RARE)} are measured (all)")
	p.add_argument("--build-dir", metavar="DIR", help="where aditd and adit were built (default: PATH)")
	p.add_argument("--out", metavar="DIR",
		help="for report.md, raw.csv, raw.json and logs (default: a new folder in /tmp)")
	a = p.parse_args(argv)
	a.rounds = a.rounds or (1 if a.quick else 5)
	a.duration = a.duration or (1 if a.quick else 3)
	a.only = a.only or list(rows.CARRIER_ROWS if a.carriers else rows.ROWS)
	a.subjects = a.subjects or default_subjects(a)
	a.rare = a.rare or a.rounds
	return a


def default_subjects(args):
	if args.carriers:
		return [c.name for c in subjects.CARRIERS]
	return [*subjects.DEFAULT, *([c.name for c in peers.ALL] if args.peers else [])]


def say(text):
	print(text, file=sys.stderr, flush=True)


def versions(tools, peers_folder=None):
	found = {}
	for tool, flag in VERSION_FLAGS.items():
		if tools[tool]:
			try:
				_, out, err = procs.run([tools[tool], flag], 5)
				found[tool] = ((out + err).strip().splitlines() or ["?"])[0]
			except procs.Failed as e:
				found[tool] = str(e)
	# Not all of them know their own: what peers.sh asked for.
	for tool in subjects.PEERS:
		if tools[tool]:
			with contextlib.suppress(OSError), open(os.path.join(peers_folder, f"{tool}.version"), encoding="utf-8") as f:
				found[tool] = f"{tool} {f.read().strip()}"
	return found


class Run:
	"""The loop: rounds × rows × subjects, fresh in each round; all are up at once, the idle ones cost nothing."""

	def __init__(self, args, bench):
		self.args, self.bench = args, bench
		self.results = report.Results()
		self.subjects = []
		self.up = set()

	def choose(self):
		for name in self.args.subjects:
			subject = SUBJECTS[name](self.bench)
			reason = subject.missing()
			if reason:
				say(f"{name}: skipped: {reason}")
				self.results.add(0, "", name, "skipped", reason=reason)
			else:
				self.subjects.append(subject)

	def begin(self, subject, round_):
		"""Starts it; on a failure it sits out until the next round."""
		try:
			subject.start()
			self.up.add(subject)
		except (procs.Failed, OSError) as e:
			subject.stop()
			say(f"{subject.name}: failed to start: {e}")
			self.results.add(round_, "", subject.name, "failed", reason=f"did not start: {e}")

	def end(self, subject):
		self.up.discard(subject)
		subject.stop()

	def measure(self, round_, row, subject, repeats):
		"""Once, and again while others disturb it: what is chosen by is the others' CPU, never the result."""
		try:
			foreign = measure.Foreign()
			figures = rows.ROWS[row][0](self.bench, subject, self.args.duration)
			share = foreign.share()
			subject.check()
		except rows.Skipped as e:
			self.results.add(round_, row, subject.name, "skipped", reason=str(e))
			say(f"  {row:18} {subject.name:16} skipped: {e}")
			return
		except (procs.Failed, OSError) as e:
			self.results.add(round_, row, subject.name, "failed", reason=str(e))
			say(f"  {row:18} {subject.name:16} failed: {e}")
			self.end(subject)
			self.begin(subject, round_)
			return
		again = repeats and share > report.QUIET_SHARE
		self.results.add(round_, row, subject.name, "disturbed" if again else "ok", figures, foreign=share)
		shown = ", ".join(f"{report.METRICS[m][0]} {report.number(v, report.METRICS[m][1])}"
			for m, v in figures.items() if m != "errors" or v)
		say(f"  {row:18} {subject.name:16} {shown}" + (f" (others: {share:.0%}; again)" if again else ""))
		if again:
			self.measure(round_, row, subject, repeats - 1)

	def row(self, round_, row, order):
		for subject in order:
			if subject not in self.up:
				continue
			self.measure(round_, row, subject, 0 if row in ONCE else self.args.repeats)
			if row == "stalled":
				# It takes its full buffers with it, so that the next one is measured against quiet sockets.
				self.end(subject)
				deadline = time.monotonic() + 3
				while measure.tcp_memory() > TCP_IDLE_BYTES and time.monotonic() < deadline:
					time.sleep(0.05)

	def round(self, round_):
		say(f"round {round_} of {self.args.rounds}")
		# Turned only, each would have the same neighbour before it in every round. The same in every run.
		order = random.Random(round_).sample(self.subjects, len(self.subjects))
		try:
			for subject in order:
				self.begin(subject, round_)
			for row in self.args.only:
				if row not in rows.RARE or round_ <= self.args.rare:
					self.row(round_, row, order)
		finally:
			for subject in order:
				self.end(subject)


def measure_all(args, bench):
	"""Gives (results, meta); `interrupted` is set in meta when a signal ended it early."""
	run = Run(args, bench)
	meta = {"date": time.strftime("%Y-%m-%d %H:%M:%S %z"), "rounds": args.rounds, "seconds": args.duration,
		"transfer_seconds": bench.transfer_seconds,
		"rows": args.only, "environment": measure.environment(), "versions": versions(bench.tools, bench.peers),
		"interrupted": False}
	run.choose()
	if not run.subjects:
		return run.results, meta
	try:
		if any("openssl" in s.needs for s in run.subjects):
			bench.make_certificates()
		bench.origin.start()
		bench.callee.start()
		for round_ in range(1, args.rounds + 1):
			run.round(round_)
	except KeyboardInterrupt:
		meta["interrupted"] = True
	finally:
		bench.callee.stop()
		bench.origin.stop()
	return run.results, meta


def bench_in(work, args, out, logs):
	bench = subjects.Bench(work, logs, args.build_dir, procs.Ports(), args.peers)
	gone = [t for t in ("nginx", "wrk", "curl") if not bench.tools[t]]
	if gone:
		say(f"run.sh: nothing can be measured without {', '.join(gone)}")
		return 77
	if args.quick:
		bench.transfer_seconds = QUICK_TRANSFER_SECONDS
	bench.origin, bench.callee = subjects.Origin(bench), subjects.Callee(bench)
	results, meta = measure_all(args, bench)
	text = report.report(results, meta, {r: rows.ROWS[r][1] for r in args.only},
		{s: SUBJECTS[s].title for s in args.subjects}, subjects.BASES)
	report.save(out, results, meta, text)
	print(text)
	say(f"results: {out}")
	if meta["interrupted"]:
		return 130
	if results.remarks("failed"):
		return 1
	return 0 if any(e["status"] == "ok" for e in results.entries) else 77


def main(argv):
	args = arguments(argv)
	out = os.path.abspath(args.out) if args.out else tempfile.mkdtemp(prefix="adit-bench-results-")
	logs = os.path.join(out, "logs")
	os.makedirs(logs, exist_ok=True)
	return procs.whole_run("run.sh", lambda work: bench_in(work, args, out, logs))


if __name__ == "__main__":
	sys.exit(main(sys.argv[1:]))
