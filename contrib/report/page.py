"""The report's page: the summary first, then how it was measured, then the sections."""

import re
import time

import measure
import report
from context import table

TITLE = "# From a polling tunnel to adit"
MET = {True: "met", False: "**not met**", None: "–"}


def meta(args):
	return {"date": time.strftime("%Y-%m-%d %H:%M %Z"), "quick": args.quick, "environment": measure.environment(),
		"system": _system(), "memory": _memory(), "load": measure.environment()["load_at_start"]}


def _system():
	try:
		with open("/etc/os-release", encoding="utf-8") as f:
			return next(line.split("=", 1)[1].strip().strip('"') for line in f if line.startswith("PRETTY_NAME="))
	except (OSError, StopIteration):
		return "Linux"


def _memory():
	with open("/proc/meminfo", encoding="ascii") as f:
		return int(f.readline().split()[1]) * 1024 / 1e9


def _summary(results):
	rows = [(f"[{question}](#{r['name']})", before, now, MET[met])
		for r in results for question, before, now, met in r["summaries"]]
	return [table(["", "polling every 500 ms", "adit", "expected"], rows, words=4),
		"*expected*: whether the bound that the section names was met; – where there is none."] if rows else []


def _troubles(results):
	words = {"failed": "**failed**", "skipped": "skipped"}
	return [f"- Section [{r['name']}](#{r['name']}) {words[r['status']]}: {r['reason']}" for r in results
		if r["status"] != "ok"]


def _quiet(results):
	"""How far the machine was ours; what several measurements of a section took part in is told by the worst."""
	lines = []
	for r in results:
		shares = r["shares"] or [r["foreign"]]
		measured = r["shares"] or r["summaries"] or r["status"] == "failed"
		if measured and max(shares) > report.QUIET_SHARE:
			disturbed = sum(s > report.QUIET_SHARE for s in shares)
			lines.append(f"- {r['name']}: others took up to {max(shares):.0%} of the CPU, more than "
				f"{report.QUIET_SHARE:.0%} in {disturbed} of {len(shares)} measurements.")
	if not lines:
		return [f"Nothing else ran: in no measurement did other programs, and the hypervisor, take more than "
			f"{report.QUIET_SHARE:.0%} of the CPU."]
	return ["**This machine was not quiet.** Other programs, and the hypervisor, used it meanwhile:", "", *lines]


def _version(program, said):
	"""The number alone, from what a program says of itself."""
	found = re.search(r"\d+\.\d[\w.+~-]*", said)
	return f"{program} {found.group(0) if found else said}"


def _machine(meta_):
	env = meta_["environment"]
	lines = [f"- {meta_['date']}; {env['cpu']}, {env['cores']} cores, {meta_['memory']:.0f} GB of memory; "
		f"{meta_['system']}, Linux {env['kernel']}; load {env['load_at_start']:.2f} at the start",
		"- Everything runs on this one machine, over loopback: visitors, both ends of the tunnel, ingress, origin.",
		"- Programs: " + ", ".join(_version(*v) for v in sorted(meta_["versions"].items()))]
	return lines


def page(meta_, results):
	"""All of it, as Markdown."""
	lines = [TITLE, "",
		"Written by `make report` ([how](../../contrib/report/README.md)): every figure and picture is of that run. "
		"The raw figures are in the CSV files beside this page.", ""]
	if meta_["quick"]:
		lines += ["**A quick run: few samples, only to see that all works.**", ""]
	lines += ["## In short", "", *_summary(results), "", *_troubles(results), "", *_quiet(results), "",
		"Sections: " + ", ".join(f"[{r['name']}](#{r['name']})" for r in results) + ".", "",
		"## The machine", "", *_machine(meta_), ""]
	for r in results:
		lines += [f'<a id="{r["name"]}"></a>', "", f"## {r['title']}", ""]
		lines += [] if r["status"] == "ok" else [f"**{r['status'].capitalize()}**: {r['reason']}", ""]
		lines += [r["text"].strip(), ""]
	return "\n".join(lines)
