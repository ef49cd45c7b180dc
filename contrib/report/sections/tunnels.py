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
	("cut", "whole", "cut in mid-download: came in its whole length (1), or not (0)", 0, 1),
	("hole", "back_ms", "black hole: back after, ms", 0, 1),
)
# (row, metrics, what, unit, factor, bound, is it a floor): each of the metrics has to keep it.
GOALS = (
	("far", ("down_mb_per_s", "up_mb_per_s"), "One stream down / up at 50 ms of round trip", "MB/s", 1, 180, True),
	("small-beside-bulk", ("p99_us",), "Small GETs beside a 1 GB download, p99", "ms", 1e-3, 1.6, False),
	("stalled", ("peak_server_mb", "peak_client_mb"), "100 stalled readers: peak RSS of server / client", "MiB",
		1e6 / 2**20, 32, False),
	("restart", ("back_ms",), "Server killed and started again: back after", "ms", 1, 150, False),
	("hole", ("back_ms",), "Black hole in use: back after", "ms", 1, 4000, False),
)
# (row, metric, what, the other, what that is called, bound): the ratio of adit's to the other's, round by round.
RATIOS = (
	("get-1", "cpu_us_per_request", "CPU of a small request, 1 visitor", BASE, "two nghttpx", 0.85),
	("get-10", "cpu_us_per_request", "CPU of a small request, 10 visitors", BASE, "two nghttpx", 0.85),
	("get-100", "cpu_us_per_request", "CPU of a small request, 100 visitors", BASE, "two nghttpx", 0.7),
	("h2-100", "cpu_us_per_request", "CPU of a small request, HTTP/2 visitor", BASE, "two nghttpx", 0.85),
	("down-1g", "cpu_s_per_gb", "CPU of 1 GB down", "nghttpx-tuned", "two nghttpx with large windows", 0.7),
	("up-256m", "cpu_s_per_gb", "CPU of 256 MB up", "nghttpx-tuned", "two nghttpx with large windows", 0.6),
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


class Seen:
	"""What a row found of one subject: `values` by round, and rounds in which it found none."""

	def __init__(self, results, row, subject, metric):
		self.values = results.values(row, subject, metric)
		self.failed = sum(e["subject"] == subject and e["row"] in (row, "") and e["status"] == "failed"
			for e in results.entries)
		self.not_back = results.values(row, subject, "not_back_s") if metric == "back_ms" else {}

	def lacking(self):
		"""In words; empty when every round has a value, or the row makes no sense for it."""
		rounds = len(self.values) + self.failed + len(self.not_back)
		parts = [f"not within {max(self.not_back.values()):g} s"] if self.not_back else []
		parts += ["failed"] if self.failed else []
		missed = rounds - len(self.values)
		return " or ".join(parts) + (f" in {missed} of {rounds} rounds" if parts and rounds > 1 else "")


def cell(seen, base, decimals, factor):
	if not seen.values:
		return seen.lacking() or "–"
	text = f"{statistics.median(seen.values.values()) * factor:.{decimals}f}"
	ratios = [seen.values[r] / base[r] for r in seen.values if base and base.get(r)]
	text += f" ×{statistics.median(ratios):.2f}" if ratios else ""
	return f"{text} ({seen.lacking()})" if seen.lacking() else text


def overview(results, measured):
	lines = []
	for row, metric, label, decimals, factor in LINES:
		seen = {s: Seen(results, row, s, metric) for s in measured}
		if any(one.values or one.not_back for one in seen.values()):
			base = seen[BASE].values if BASE in seen and metric not in report.NOT_COMPARED else None
			lines.append([label] + [cell(one, base if s != BASE else None, decimals, factor) for s, one in seen.items()])
	return table(["", *measured], lines)


def reached(seen, factor, unit, bound, floor):
	"""(does each of them keep the bound, in words); a round without a value keeps none."""
	if not all(one.values for one in seen):
		return False, next(one.lacking() for one in seen if not one.values) or "no figure"
	medians = [statistics.median(one.values.values()) * factor for one in seen]
	lacking = next((one.lacking() for one in seen if one.lacking()), "")
	met = all(m >= bound if floor else m <= bound for m in medians) and not lacking
	return met, " / ".join(f"{m:.3g}" for m in medians) + f" {unit}" + (f" ({lacking})" if lacking else "")


def left_out(context, results, row, question):
	"""Was the row skipped for adit? Then the summary has the reason."""
	reason = next((e["reason"] for e in results.entries
		if e["subject"] == "adit" and e["row"] in (row, "") and e["status"] == "skipped"), None)
	if reason:
		context.summary(question, "–", f"skipped: {reason}", None)
	return reason


def goals(context, results, rows_):
	"""A line of the summary for each row that was asked for, also where adit has no figure."""
	for row, metrics, what, unit, factor, bound, floor in GOALS:
		if row not in rows_:
			continue
		question = f"{what}; {'at least' if floor else 'at most'} {bound:g} {unit}"
		if left_out(context, results, row, question):
			continue
		met, told = reached([Seen(results, row, "adit", m) for m in metrics], factor, unit, bound, floor)
		base = [Seen(results, row, BASE, m) for m in metrics]
		if all(one.values for one in base):
			told += f" (two nghttpx: {reached(base, factor, unit, bound, floor)[1]})"
		context.summary(question, "–", told, met)


def ratios(context, results, rows_):
	"""The same for what is only judged beside another: one that was not measured is no reason to call it missed."""
	for row, metric, what, other, called, bound in RATIOS:
		question = f"{what}; at most ×{bound:g} that of {called}"
		if row not in rows_ or left_out(context, results, row, question):
			continue
		mine, base = (Seen(results, row, s, metric) for s in ("adit", other))
		if not base.values:
			context.summary(question, "–", f"skipped: no figure of {called}", None)
			continue
		each = [mine.values[r] / base.values[r] for r in mine.values if base.values.get(r)]
		lacking = mine.lacking() or ("" if each else "no figure")
		told = f"×{statistics.median(each):.2f}" if each else ""
		if len(each) > 1:
			told += f" ({min(each):.2f}–{max(each):.2f})"
		context.summary(question, "–", f"{told} {lacking}".strip(),
			bool(each) and not lacking and round(statistics.median(each), 2) <= bound)


def arrivals(context, results, rows_):
	"""The download that is cut: every round of it has to arrive."""
	question = "Cut in mid-download: arrived in its whole length"
	if "cut" not in rows_ or left_out(context, results, "cut", question):
		return

	def told(subject):
		whole = Seen(results, "cut", subject, "whole")
		return f"{sum(v for v in whole.values.values()):.0f} of {len(whole.values) + whole.failed}"
	mine, base = told("adit"), told(BASE)
	good, rounds = mine.split(" of ")
	context.summary(question, "–",
		mine + ("" if base.endswith(" 0") else f" (two nghttpx: {base})"), good == rounds != "0")


def own_faults(context, results):
	"""Where adit, or the origin itself, failed; others are only told of."""
	for (row, subject, reason), rounds in results.remarks("failed").items():
		if subject in ("adit", "direct"):
			context.fault(f"{subject}, {row or 'start'} (round {', '.join(map(str, rounds))}): {reason}")


def remarks(results, status):
	"""Rows that make no sense for a subject are dashes in the table already."""
	return [f"- {subject}{', ' + row if row else ''}: {reason}"
		for (row, subject, reason), _ in results.remarks(status).items() if status == "failed" or not row]


def raw(context, results):
	"""Every measurement, also those that were made again, and what was skipped or failed."""
	return context.csv("tunnels", report.RAW_HEAD, report.raw_rows(results))


def run(context):
	context.want("nginx", "wrk", "curl", "openssl")
	args = arguments(context)
	results = measure(context, args)
	measured = [s for s in SUBJECTS if any(e["subject"] == s and e["status"] == "ok" for e in results.entries)]
	base = BASE if BASE in measured else None
	spread = "\n".join(line for row in args.only
		for line in report.row_table(results, row, rows.ROWS[row][1], measured, base))
	context.write("tunnels-rows.md", f"# adit beside other tunnels: every row, with its spread\n\n{spread}")
	ratios(context, results, args.only)
	goals(context, results, args.only)
	arrivals(context, results, args.only)
	own_faults(context, results)
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
	parts.append("What bounds the rows whose goal is missed, by profiles and counts: [bench.md](../bench.md).")
	parts.append("With the spread over the rounds: [tunnels-rows.md](tunnels-rows.md). "
		f"Raw: {raw(context, results)}. How each is set up: `contrib/bench/subjects.py` and `peers.py`; `peers.sh` gets "
		"and builds them.")
	return "\n\n".join(p for p in parts if p) + "\n"
