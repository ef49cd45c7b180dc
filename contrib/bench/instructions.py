#!/usr/bin/env python3
"""How many instructions, outside the kernel, a small request costs the programs in the middle.

    python3 contrib/bench/instructions.py --build-dir build

cachegrind counts them, once for FEW requests and once for MANY more: what is told is the difference, divided. So
start and end do not count, and neither does what else the machine does: unlike time, this may be compared between
runs and on a busy machine. It knows nothing of the kernel's part, nor of how long an instruction takes.
"""
import argparse
import glob
import os
import re
import sys

sys.dont_write_bytecode = True

import load
import procs
import subjects

FEW, MANY = 1000, 5000
BOUND = 300  # seconds for one load: valgrind is thirty times as slow, on a machine that may be busy
# what is asked, its path, HTTP/1.1 visitors or one HTTP/2 visitor's streams, how many of them
ROWS = {
	"get-1": ("shop", "/13b", True, 1),
	"get-10": ("shop", "/13b", True, 10),
	"get-100": ("shop", "/13b", True, 100),
	"h2-100": ("shop", "/13b", False, 100),
	"h2c-100": ("h2c", "/13b", False, 100),
	"grpc-100": ("grpc", load.CALL_PATH, False, 100),
}
SUBJECTS = ("nghttpx", "adit")


def counted(bench, log):
	"""Instructions of a program from its start to its end; the file is taken away."""
	total = 0
	for path in glob.glob(glob.escape(bench.counts(log)) + ".*"):
		with open(path, encoding="utf-8", errors="replace") as f:
			found = re.search(r"^summary: (\d+)", f.read(), re.M)
		os.unlink(path)
		total += int(found.group(1)) if found else 0
	if not total:
		raise procs.Failed(f"valgrind has counted nothing for {log}")
	return total


def once(bench, subject, row, requests):
	"""(server side, client side) in instructions, from the start to the end."""
	name, path, h1, streams = ROWS[row]
	subject.start()
	logs = [os.path.basename(side[0].log).removesuffix(".log") for side in (subject.servers, subject.clients)]
	try:
		port = subject.h2_port if name == "shop" else subject.h2c_port(name)
		load.h2load(bench.tools, port, path, streams, BOUND, host=subjects.host_of(name),
			call=bench.callee.message if name == "grpc" else None, requests=requests, h1=h1)
	finally:
		subject.stop()
	return [counted(bench, log) for log in logs]


def table(bench, rows, names):
	print("Instructions outside the kernel for each request (h2load).\n\n"
		"| row | subject | server side | client side | both |\n|---|---|---|---|---|", flush=True)
	for row in rows:
		base = None
		for name in names:
			subject = subjects.ALL[name](bench)
			few, more = (once(bench, subject, row, n) for n in (FEW, FEW + MANY))
			server, client = ((b - a) / MANY for a, b in zip(few, more))
			both = server + client
			base = base or both
			print(f"| {row} | {name} | {server:.0f} | {client:.0f} | {both:.0f}"
				+ (f" ×{both / base:.2f} |" if both != base else " |"), flush=True)


def count(work, args):
	bench = subjects.Bench(work, work, args.build_dir, procs.Ports())
	if bench.lacks("instructions.py",
			("valgrind", "h2load", "nghttpx", "nghttpd", "nginx", "curl", "openssl", "aditd", "adit")):
		return 77
	with bench.origins():
		bench.counting = True
		table(bench, args.rows, args.subjects)
	return 0


def main():
	p = argparse.ArgumentParser(description="Counts the instructions of a small request.")
	p.add_argument("--build-dir", metavar="DIR", help="where aditd and adit were built (default: PATH)")
	p.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), help="which of them (default: all)")
	p.add_argument("--subjects", nargs="+", choices=SUBJECTS, default=SUBJECTS, help="of which programs (default: both)")
	args = p.parse_args()
	subjects.START_SECONDS, procs.STOP_SECONDS = 60, 30  # valgrind starts slowly, and writes its file at the end
	return procs.whole_run("instructions.py", lambda work: count(work, args))


if __name__ == "__main__":
	sys.exit(main())
