#!/usr/bin/env python3
"""What spends the CPU time of a row in the programs in the middle: the kernel, OpenSSL, nghttp2, their own code.

    python3 contrib/bench/parts.py --build-dir build --rows get-100 down-1g --subjects nghttpx adit

perf takes samples while a row of the bench is measured; what is told is the row's CPU time, divided as the samples
are. Needs perf (on Debian: linux-perf) and the right to trace; perf itself adds some time to all of it.
"""
import argparse
import collections
import os
import re
import shutil
import signal
import statistics
import sys
import time

sys.dont_write_bytecode = True

import measure
import procs
import rows
import subjects

ROWS = {
	"get-1": ("cpu_us_per_request", "µs a request"),
	"get-10": ("cpu_us_per_request", "µs a request"),
	"get-100": ("cpu_us_per_request", "µs a request"),
	"h2-100": ("cpu_us_per_request", "µs a request"),
	"mb-10": ("cpu_s_per_gb", "s a GB"),
	"down-1g": ("cpu_s_per_gb", "s a GB"),
	"up-256m": ("cpu_s_per_gb", "s a GB"),
}
SUBJECTS = ("nghttpx", "nghttpx-tuned", "adit")
SAMPLES_A_SECOND = 4000
BOUND = 60  # seconds for perf to end, and to tell what it has
KERNEL_COPIES = {"_copy_to_iter", "_copy_from_iter", "rep_movs_alternative"}
LIBRARIES = (("libcrypto", "OpenSSL"), ("libssl", "OpenSSL"), ("libnghttp2", "nghttp2"), ("libev", "libev"))


def part_of(symbol, dso):
	if dso.startswith("[kernel"):
		return "kernel, copies" if symbol in KERNEL_COPIES else "kernel, the rest"
	for name, part in LIBRARIES:
		if name in dso:
			return part
	if "libc.so" in dso or dso == "[vdso]":
		return "C library, copies" if "memmove" in symbol or "memcpy" in symbol else "C library, the rest"
	return "the program"


class Perf:
	"""Samples of the subject's programs, from its making to parts()."""

	def __init__(self, perf, subject, path):
		self.perf, self.path = perf, path
		pids = [str(stat.pid) for stat in measure.tree([p.pid for p in subject.tunnel()])]
		self.process = procs.spawn([perf, "record", "-q", "-e", "cpu-clock", "-F", SAMPLES_A_SECOND,
			"-p", ",".join(pids), "-o", path])
		time.sleep(0.3)  # until it looks

	def parts(self):
		"""part → its share of all samples."""
		self.process.send_signal(signal.SIGINT)
		self.process.wait(BOUND)
		status, out, err = procs.run([self.perf, "script", "-i", self.path, "-F", "ip,sym,dso"], BOUND)
		counts = collections.Counter()
		for line in out.splitlines():
			found = re.match(r"\s*[0-9a-f]+ (.*) \((.*)\)$", line)
			if found:
				counts[part_of(found.group(1).split("+")[0], os.path.basename(found.group(2)))] += 1
		if not counts:
			raise procs.Failed(f"perf has no samples (status {status}): {err.strip()[:200]}")
		return {part: n / counts.total() for part, n in counts.items()}


def once(bench, args, row, name):
	"""part → CPU, in the row's unit."""
	subject = subjects.ALL[name](bench)
	subject.start()
	try:
		rows.ROWS["get-1"][0](bench, subject, 1)  # what comes first is not looked at
		perf = Perf(bench.tools["perf"], subject, bench.file("samples"))
		figures = rows.ROWS[row][0](bench, subject, args.seconds)
		return {part: share * figures[ROWS[row][0]] for part, share in perf.parts().items()}
	finally:
		subject.stop()


def table(bench, args, row):
	"""Medians of the rounds, part by part; so is the sum, which need not be that of the medians."""
	seen = {name: [] for name in args.subjects}
	for number in range(args.rounds):
		for name in args.subjects if number % 2 == 0 else reversed(args.subjects):
			seen[name].append(once(bench, args, row, name))
	parts = sorted({part for rounds in seen.values() for r in rounds for part in r})
	print(f"\n| `{row}`, {ROWS[row][1]} | " + " | ".join(args.subjects) + " |\n|---|" + "--:|" * len(args.subjects))
	for part in parts:
		cells = (statistics.median(r.get(part, 0) for r in seen[name]) for name in args.subjects)
		print(f"| {part} | " + " | ".join(f"{cell:.2f}" for cell in cells) + " |")
	sums = [statistics.median(sum(r.values()) for r in seen[name]) for name in args.subjects]
	print("| all | " + " | ".join(f"{s:.2f}" + (f" ×{s / sums[0]:.2f}" if i else "") for i, s in enumerate(sums)) + " |",
		flush=True)


def look(work, args):
	bench = subjects.Bench(work, work, args.build_dir, procs.Ports())
	bench.tools["perf"] = shutil.which(args.perf)
	if bench.lacks("parts.py",
			("perf", "h2load", "wrk", "nghttpx", "nghttpd", "nginx", "curl", "openssl", "aditd", "adit")):
		return 77
	with bench.origins():
		print(f"Medians of {args.rounds} rounds, server and client side together.")
		for row in args.rows:
			table(bench, args, row)
	return 0


def main():
	p = argparse.ArgumentParser(description="Divides the CPU time of the bench's rows by what spends it.")
	p.add_argument("--build-dir", metavar="DIR", help="where aditd and adit were built (default: PATH)")
	p.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), help="which of them (default: all)")
	p.add_argument("--subjects", nargs="+", choices=SUBJECTS, default=SUBJECTS, help="of which programs (default: all)")
	p.add_argument("--rounds", type=int, default=5, help="how often each is measured (default: 5)")
	p.add_argument("--seconds", type=int, default=2, help="for how long, where a row has no end (default: 2)")
	p.add_argument("--perf", default="perf", help="the program (default: perf, in PATH)")
	args = p.parse_args()
	return procs.whole_run("parts.py", lambda work: look(work, args))


if __name__ == "__main__":
	sys.exit(main())
