"""adit beside other tunnels: contrib/bench, in one interleaved run, with the same origin and the same visitors."""

import os
import statistics

import report
import rows
import run as bench_run
from context import table

SUBJECTS = ("direct", "nghttpx", "nghttpx-tuned", "ssh", "adit", "frp", "frp-tcp", "chisel", "rathole", "bore",
	"localtunnel", "hap-rhttp")
BASE = "nghttpx"
# Whose version tells a subject's, where it has another name.
PROGRAMS = {"direct": "nginx", "nghttpx-tuned": "nghttpx", "frp": "frps", "frp-tcp": "frps"}
# Cheap rows in every round; the others, of which each takes minutes, once (see rows.RARE).
ROWS = ("get-1", "get-10", "get-100", "h2-100", "mb-10", "down-1g", "up-256m", "small-beside-bulk", "far", "idle",
	"idle-tunnels", "restart", "cut", "hole", "stalled")
QUICK_ROWS = ("get-10", "down-1g", "small-beside-bulk", "restart", "cut")
TRANSFER_SECONDS = 4
# (row, metric, in words, decimals, factor)
LINES = (
	("get-1", "p50_us", "13 B GET, 1 visitor: p50, µs", 0, 1),
	("get-1", "cpu_us_per_request", "CPU µs", 0, 1),
	("get-10", "requests_per_s", "10 visitors: k req/s", 1, 1e-3),
	("get-10", "cpu_us_per_request", "CPU µs", 1, 1),
	("get-100", "requests_per_s", "100 visitors: k req/s", 1, 1e-3),
	("get-100", "cpu_us_per_request", "CPU µs", 1, 1),
	("h2-100", "requests_per_s", "HTTP/2, 1 × 100 streams: k req/s", 1, 1e-3),
	("h2-100", "cpu_us_per_request", "CPU µs", 1, 1),
	("mb-10", "cpu_s_per_gb", "1 MB × 10: CPU s/GB", 2, 1),
	("down-1g", "mb_per_s", "1 GB down: MB/s", 0, 1),
	("down-1g", "cpu_s_per_gb", "CPU s/GB", 2, 1),
	("up-256m", "mb_per_s", "256 MB up: MB/s", 0, 1),
	("up-256m", "cpu_s_per_gb", "CPU s/GB", 2, 1),
	("far", "down_mb_per_s", "50 ms of round trip, one stream down: MB/s", 0, 1),
	("far", "up_mb_per_s", "up: MB/s", 0, 1),
	("small-beside-bulk", "p50_us", "GETs beside a 1 GB download: p50, ms", 2, 1e-3),
	("small-beside-bulk", "p99_us", "p99, ms", 1, 1e-3),
	("small-beside-bulk", "bulk_mb_per_s", "the download: MB/s", 0, 1),
	("stalled", "served", "100 stalled readers of 1 GB: small GETs served of 30", 0, 1),
	("stalled", "peak_server_mb", "peak RSS MB, server", 0, 1),
	("stalled", "peak_client_mb", "peak RSS MB, client", 0, 1),
	("stalled", "kernel_tcp_mb", "kernel TCP MB", 0, 1),
	("idle", "rss_server_mb", "idle: RSS MB, server", 1, 1),
	("idle", "rss_client_mb", "RSS MB, client", 1, 1),
	("idle-tunnels", "each_server_kb", "each idle tunnel more: server's RSS KB", 0, 1),
	("restart", "back_ms", "server killed, started 0.5 s later: back after, ms", 0, 1),
	("cut", "whole", "cut in mid-download: arrived whole (1), or not (0)", 0, 1),
	("hole", "back_ms", "black hole: back after, ms", 0, 1),
)
# (row, metrics, what, unit, factor, bound, is it a floor): each of the metrics has to keep it.
GOALS = (
	("far", ("down_mb_per_s", "up_mb_per_s"), "One stream down / up at 50 ms of round trip", "MB/s", 1, 180, True),
	("small-beside-bulk", ("p99_us",), "Small GETs beside a 1 GB download, p99", "ms", 1e-3, 1.6, False),
	("stalled", ("peak_server_mb", "peak_client_mb"), "100 stalled readers: peak RSS of server / client", "MiB",
		1e6 / 2**20, 32, False),
	("restart", ("back_ms",), "Server killed and started again: back after", "ms", 1, 150, False),
	("cut", ("whole",), "Cut in mid-download: arrived whole", "", 1, 1, True),
	("hole", ("back_ms",), "Black hole in use: back after", "ms", 1, 4000, False),
)


def arguments(context):
	"""As for contrib/bench/run.sh."""
	some = ("--quick",) if context.quick else ("--rounds", "5", "--duration", "3", "--rare", "3") if context.full else (
		"--rounds", "3", "--duration", "1", "--rare", "1")
	return bench_run.arguments([*some, "--repeats", "0" if context.quick else "1", "--subjects", ",".join(SUBJECTS),
		"--only", ",".join(QUICK_ROWS if context.quick else ROWS)])


def transfer_seconds(context):
	return 1 if context.quick else TRANSFER_SECONDS


def measure(context, args):
	"""The bench's results; the origin runs already."""
	bench = context.bench
	bench.take_peers(os.environ.get("ADIT_PEERS") or os.path.join(context.build, "peers"))
	former, bench.transfer_seconds = bench.transfer_seconds, transfer_seconds(context)
	run = bench_run.Run(args, bench)
	run.choose()
	try:
		for round_ in range(1, args.rounds + 1):
			run.round(round_)
	finally:
		bench.transfer_seconds = former
	return run.results


def cell(values, base, decimals, factor):
	if not values:
		return "–"
	text = f"{statistics.median(values.values()) * factor:.{decimals}f}"
	ratios = [values[r] / base[r] for r in values if base and base.get(r)]
	return text + (f" ×{statistics.median(ratios):.2f}" if ratios else "")


def overview(results, measured):
	lines = []
	for row, metric, label, decimals, factor in LINES:
		by_subject = {s: results.values(row, s, metric) for s in measured}
		if any(by_subject.values()):
			base = None if metric in report.NOT_COMPARED else by_subject.get(BASE)
			lines.append([label] + [cell(v, base if s != BASE else None, decimals, factor) for s, v in by_subject.items()])
	return table(["", *measured], lines)


def goals(context, results):
	for row, metrics, what, unit, factor, bound, floor in GOALS:
		found = [results.values(row, "adit", m) for m in metrics]
		if not all(found):
			continue
		medians = [statistics.median(v.values()) * factor for v in found]
		met = all(m >= bound if floor else m <= bound for m in medians)
		told = f"{' / '.join(f'{m:.3g}' for m in medians)} {unit}".strip()
		base = [results.values(row, BASE, m) for m in metrics]
		if all(base):
			told += f" (two nghttpx: {' / '.join(f'{statistics.median(v.values()) * factor:.3g}' for v in base)})"
		context.summary(f"{what}; {'at least' if floor else 'at most'} {bound:g}", "–", told, met)


def remarks(results, status):
	"""Rows that make no sense for a subject are dashes in the table already."""
	return [f"- {subject}{', ' + row if row else ''}: {reason}"
		for (row, subject, reason), _ in results.remarks(status).items() if status == "failed" or not row]


def raw(context, results):
	"""Every measurement, also those that were made again."""
	return context.csv("tunnels", ("round", "row", "subject", "status", "metric", "value", "foreign_cpu", "reason"),
		[(e["round"], e["row"], e["subject"], e["status"], metric, value, e["foreign_cpu"], "")
			for e in results.entries for metric, value in e["figures"].items()])


def run(context):
	context.want("nginx", "wrk", "curl", "openssl")
	args = arguments(context)
	results = measure(context, args)
	measured = [s for s in SUBJECTS if any(e["subject"] == s and e["status"] == "ok" for e in results.entries)]
	base = BASE if BASE in measured else None
	spread = "\n".join(line for row in args.only
		for line in report.row_table(results, row, rows.ROWS[row][1], measured, base))
	context.write("tunnels-rows.md", f"# adit beside other tunnels: every row, with its spread\n\n{spread}")
	goals(context, results)
	versions = bench_run.versions(context.bench.tools, context.bench.peers)
	ways = [f"- `{s}`: {bench_run.SUBJECTS[s].title}: {versions.get(PROGRAMS.get(s, s), 'version unknown')}"
		for s in measured]
	parts = [f"{args.rounds} round(s) of {args.duration} s, interleaved; rows that take long in {args.rare} of them. "
		"Median, and ×ratio to two nghttpx hops, the base. CPU is that of both programs in the middle. A transfer is left "
		f"off after {transfer_seconds(context)} s.", "\n".join(ways), overview(results, measured)]
	parts += ["\n".join(report.foreign_lines(results)).strip()]
	for status, words in (("skipped", "Not measured"), ("failed", "Failed")):
		lines = remarks(results, status)
		if lines:
			parts.append(f"{words}:\n\n" + "\n".join(lines))
	parts.append("With the spread over the rounds: [tunnels-rows.md](tunnels-rows.md). "
		f"Raw: {raw(context, results)}. How each is set up: `contrib/bench/subjects.py` and `peers.py`; `peers.sh` gets "
		"and builds them.")
	return "\n\n".join(p for p in parts if p) + "\n"
