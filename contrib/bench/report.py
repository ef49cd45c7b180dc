"""From raw figures to tables: medians with their spread over the rounds, and ratios to one of the subjects."""

import csv
import json
import os
import statistics

# metric: (what it is, decimals)
METRICS = {
	"requests_per_s": ("requests/s", 0),
	"mb_per_s": ("MB/s", 0),
	"down_mb_per_s": ("MB/s down", 0),
	"up_mb_per_s": ("MB/s up", 0),
	"bulk_mb_per_s": ("bulk MB/s", 0),
	"p50_us": ("p50, µs", 0),
	"p99_us": ("p99, µs", 0),
	"mean_us": ("mean, µs", 0),
	"worst_us": ("slowest, µs", 0),
	"cpu_us_per_request": ("CPU µs per request", 1),
	"cpu_s_per_gb": ("CPU s/GB", 2),
	"ingress_cpu_us_per_request": ("ingress's CPU µs per request", 1),
	"ingress_cpu_s_per_gb": ("ingress's CPU s/GB", 2),
	"left_off_mb": ("MB moved when the time was over", 0),
	"begun": ("visitors that stalled", 0),
	"served": ("small GETs served", 0),
	"rss_server_mb": ("RSS MB, server side", 1),
	"rss_client_mb": ("RSS MB, client side", 1),
	"rss_ingress_mb": ("RSS MB, ingress", 1),
	"peak_server_mb": ("peak RSS MB, server side", 1),
	"peak_client_mb": ("peak RSS MB, client side", 1),
	"peak_ingress_mb": ("peak RSS MB, ingress", 1),
	"each_server_kb": ("server's RSS KB for each", 0),
	"each_client_mb": ("RSS MB of its client", 1),
	"whole": ("arrived whole", 0),
	"received_mb": ("MB arrived", 0),
	"back_ms": ("back after, ms", 0),
	"not_back_s": ("not back within, s", 0),
	"kernel_tcp_mb": ("kernel TCP MB added", 0),
	"errors": ("errors", 0),
}


# Above this share of foreign CPU even ratios within a run waver by more than what is worth telling apart: such a
# measurement is made again.
QUIET_SHARE = 0.05
# More subjects stand below each other: nobody reads a table of thirteen columns.
COLUMNS_MAX = 6
NOT_COMPARED = ("errors", "served", "begun", "left_off_mb", "whole", "received_mb", "not_back_s")


class Results:
	"""Every measurement of the run, in the order it was made."""

	def __init__(self):
		self.entries = []

	def add(self, round_, row, subject, status, figures=None, reason=None, foreign=None):
		self.entries.append({"round": round_, "row": row, "subject": subject, "status": status,
			"figures": figures or {}, "reason": reason, "foreign_cpu": foreign})

	def values(self, row, subject, metric):
		"""round → value"""
		return {e["round"]: e["figures"][metric] for e in self.entries
			if e["status"] == "ok" and e["row"] == row and e["subject"] == subject and metric in e["figures"]}

	def remarks(self, status):
		"""(row, subject, reason) → rounds, each once, in order"""
		found = {}
		for e in self.entries:
			if e["status"] == status:
				found.setdefault((e["row"], e["subject"], e["reason"]), []).append(e["round"])
		return found


def number(value, decimals):
	return f"{value:.{decimals}f}"


def cell(values, base, decimals):
	if not values:
		return "–"
	v = list(values.values())
	text = number(statistics.median(v), decimals)
	if len(v) > 1:
		text += f" [{number(min(v), decimals)}–{number(max(v), decimals)}]"
	# Rounds are pairs: what disturbed the machine in one round disturbed both.
	ratios = [values[r] / base[r] for r in values if base and base.get(r)]
	if ratios:
		text += f" ×{statistics.median(ratios):.2f}"
		if len(ratios) > 1:
			text += f" ({min(ratios):.2f}–{max(ratios):.2f})"
	return text


def row_table(results, row, title, subjects, base):
	head, grid = ["", *subjects], []
	for metric, (label, decimals) in METRICS.items():
		by_subject = {s: results.values(row, s, metric) for s in subjects}
		if not any(by_subject.values()) or (metric == "errors" and not any(any(v.values()) for v in by_subject.values())):
			continue
		compare = None if metric in NOT_COMPARED else by_subject.get(base)
		grid.append([label] + [cell(by_subject[s], compare if s != base else None, decimals) for s in subjects])
	if not grid:
		return [f"## {row}: {title}", "", "Nothing measured.", ""]
	if len(subjects) > COLUMNS_MAX:
		head, *grid = map(list, zip(head, *grid))
	lines = [f"## {row}: {title}", "", "| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
	return lines + ["| " + " | ".join(line) + " |" for line in grid] + [""]


def remark_lines(results, rounds):
	lines = []
	for status, heading in (("skipped", "Skipped"), ("failed", "Failed")):
		found = results.remarks(status)
		if found:
			lines += [f"## {heading}", ""]
			for (row, subject, reason), where in found.items():
				when = "" if len(where) == rounds or not where[0] else f" (round {', '.join(map(str, where))})"
				lines.append(f"- {subject}{', ' + row if row else ''}{when}: {reason}")
			lines.append("")
	return lines


def foreign_lines(results):
	"""How quiet the machine was; `idle` is over too fast for its share to mean anything."""
	entries = [e for e in results.entries if e["status"] == "ok" and e["foreign_cpu"] is not None and e["row"] != "idle"]
	if not entries:
		return []
	worst = max(entries, key=lambda e: e["foreign_cpu"])
	middle = statistics.median(e["foreign_cpu"] for e in entries)
	text = (f"Programs that were not part of this, and the hypervisor, took {middle:.0%} of the machine's CPU in the "
		f"median measurement and {worst['foreign_cpu']:.0%} in the worst "
		f"({worst['row']}, {worst['subject']}, round {worst['round']}).")
	again = sum(e["status"] == "disturbed" for e in results.entries)
	if again:
		text += f" {again} disturbed measurements were made again; they are in the raw files only."
	if middle > QUIET_SHARE:
		text += " **That is too much: repeat it on a quiet machine.**"
	return [text, ""]


def report(results, meta, rows, subjects, bases):
	"""The whole report as Markdown. `rows` and `subjects` are name → title; ratios are to the first of `bases` that was
	measured."""
	env = meta["environment"]
	measured = [s for s in subjects if any(e["subject"] == s and e["status"] == "ok" for e in results.entries)]
	base = next((b for b in bases if b in measured), None)
	ratio = f" ×ratio to {base}: median (least–greatest) of the rounds' ratios" if base else ""
	lines = ["# Bench", "", f"{meta['rounds']} round(s) of {meta['seconds']} s, {meta['date']}; {env['cpu']}, "
		f"{env['cores']} cores, Linux {env['kernel']}, load {env['load_at_start']:.2f} at the start.", "",
		f"Median [least–greatest over the rounds]{ratio}. CPU is that of the programs in the middle, both sides together, "
		f"without an ingress's. Transfers are left off after {meta['transfer_seconds']} s. MB = 10^6, GB = 10^9 bytes.",
		""]
	lines += foreign_lines(results) + (["**Interrupted: not all rounds are here.**", ""] if meta["interrupted"] else [])
	lines += [f"- {name}: {title}" for name, title in subjects.items()] + [""]
	for row, title in rows.items():
		lines += row_table(results, row, title, measured, base)
	lines += remark_lines(results, meta["rounds"])
	lines += ["## Versions", ""] + [f"- {k}: {v}" for k, v in meta["versions"].items()] + [""]
	return "\n".join(lines)


RAW_HEAD = ("round", "row", "subject", "status", "metric", "value", "foreign_cpu", "reason")


def raw_rows(results):
	"""One for each figure, and one for each reason why there is none."""
	for e in results.entries:
		start = (e["round"], e["row"], e["subject"], e["status"])
		for metric, value in e["figures"].items():
			yield (*start, metric, repr(value), e["foreign_cpu"], "")
		if e["reason"]:
			yield (*start, "", "", "", e["reason"])


def save(folder, results, meta, text):
	with open(os.path.join(folder, "raw.json"), "w", encoding="utf-8") as f:
		json.dump({**meta, "measurements": results.entries}, f, indent=1)
		f.write("\n")
	with open(os.path.join(folder, "raw.csv"), "w", encoding="utf-8", newline="") as f:
		out = csv.writer(f, lineterminator="\n")
		out.writerow(RAW_HEAD)
		out.writerows(raw_rows(results))
	with open(os.path.join(folder, "report.md"), "w", encoding="utf-8") as f:
		f.write(text)
