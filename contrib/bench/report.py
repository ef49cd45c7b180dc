"""From raw figures to tables: medians with their spread over the rounds, and ratios to two nghttpx hops."""

import csv
import json
import os
import statistics

# metric: (what it is, decimals)
METRICS = {
	"requests_per_s": ("requests/s", 0),
	"mb_per_s": ("MB/s", 0),
	"bulk_mb_per_s": ("bulk MB/s", 0),
	"p50_us": ("p50, µs", 0),
	"p99_us": ("p99, µs", 0),
	"mean_us": ("mean, µs", 0),
	"worst_us": ("slowest, µs", 0),
	"cpu_us_per_request": ("CPU µs per request", 1),
	"cpu_s_per_gb": ("CPU s/GB", 2),
	"begun": ("visitors that stalled", 0),
	"served": ("small GETs served", 0),
	"rss_server_mb": ("RSS MB, server side", 1),
	"rss_client_mb": ("RSS MB, client side", 1),
	"peak_server_mb": ("peak RSS MB, server side", 1),
	"peak_client_mb": ("peak RSS MB, client side", 1),
	"kernel_tcp_mb": ("kernel TCP MB added", 0),
	"errors": ("errors", 0),
}


# Above this share of foreign CPU even ratios within a run waver by more than what is worth telling apart.
QUIET_SHARE = 0.05


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
			if e["row"] == row and e["subject"] == subject and metric in e["figures"]}

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
	return text


def row_table(results, row, title, subjects, base):
	lines = [f"## {row}: {title}", "", "| | " + " | ".join(subjects) + " |", "|---" * (len(subjects) + 1) + "|"]
	empty = len(lines)
	for metric, (label, decimals) in METRICS.items():
		by_subject = {s: results.values(row, s, metric) for s in subjects}
		if not any(by_subject.values()) or (metric == "errors" and not any(any(v.values()) for v in by_subject.values())):
			continue
		compare = by_subject.get(base) if metric not in ("errors", "served", "begun") else None
		cells = [cell(by_subject[s], compare if s != base else None, decimals) for s in subjects]
		lines.append(f"| {label} | " + " | ".join(cells) + " |")
	return lines + [""] if len(lines) > empty else [f"## {row}: {title}", "", "Nothing measured.", ""]


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
	entries = [e for e in results.entries if e["foreign_cpu"] is not None and e["row"] != "idle"]
	if not entries:
		return []
	worst = max(entries, key=lambda e: e["foreign_cpu"])
	middle = statistics.median(e["foreign_cpu"] for e in entries)
	text = (f"Programs that were not part of this took {middle:.0%} of the machine's CPU in the median measurement and "
		f"{worst['foreign_cpu']:.0%} in the worst ({worst['row']}, {worst['subject']}, round {worst['round']}).")
	if middle > QUIET_SHARE:
		text += " **That is too much: repeat it on a quiet machine.**"
	return [text, ""]


def report(results, meta, rows, subjects, base):
	"""The whole report as Markdown; `rows` is name → title, `subjects` name → title."""
	env = meta["environment"]
	lines = ["# Bench", "", f"{meta['rounds']} round(s) of {meta['seconds']} s, {meta['date']}; {env['cpu']}, "
		f"{env['cores']} cores, Linux {env['kernel']}, load {env['load_at_start']:.2f} at the start.", "",
		f"Median [least–greatest over the rounds] ×ratio to {base} (median of the rounds' ratios). "
		"CPU is that of the programs in the middle, both sides together. MB = 10^6, GB = 10^9 bytes.", ""]
	lines += foreign_lines(results) + (["**Interrupted: not all rounds are here.**", ""] if meta["interrupted"] else [])
	lines += [f"- {name}: {title}" for name, title in subjects.items()] + [""]
	measured = [s for s in subjects if any(e["subject"] == s and e["status"] == "ok" for e in results.entries)]
	for row, title in rows.items():
		lines += row_table(results, row, title, measured, base)
	lines += remark_lines(results, meta["rounds"])
	lines += ["## Versions", ""] + [f"- {k}: {v}" for k, v in meta["versions"].items()] + [""]
	return "\n".join(lines)


def save(folder, results, meta, text):
	with open(os.path.join(folder, "raw.json"), "w", encoding="utf-8") as f:
		json.dump({**meta, "measurements": results.entries}, f, indent=1)
		f.write("\n")
	with open(os.path.join(folder, "raw.csv"), "w", encoding="utf-8", newline="") as f:
		out = csv.writer(f, lineterminator="\n")
		out.writerow(("round", "row", "subject", "status", "metric", "value", "foreign_cpu", "reason"))
		for e in results.entries:
			start = (e["round"], e["row"], e["subject"], e["status"])
			for metric, value in e["figures"].items():
				out.writerow(start + (metric, repr(value), e["foreign_cpu"], ""))
			if e["reason"]:
				out.writerow(start + ("", "", "", e["reason"]))
	with open(os.path.join(folder, "report.md"), "w", encoding="utf-8") as f:
		f.write(text)
