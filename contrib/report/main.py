#!/usr/bin/env python3
"""Writes the report for somebody who thinks of moving away from a polling tunnel: `make report`, see README.md.

The map:
  main.py      flags, the sections one after another, ending everything
  context.py   what a section gets
  page.py      the report's page: summary, machine, sections
  svg.py       pictures
  scene.py     aditd, adit and visitors, traced, for sections that break something; tests/e2e starts them
  explain.py   excerpts of transcripts, with what an operator needs to know of their lines
  timeline.py  a stretch of a trace as a picture
  sequence.py  who says what to whom, from a text of diagrams/ to a picture
  protocol.md  the text of the section on protocols
  sections/    one module each, with run(context), which gives its Markdown
  ../bench     programs, ways to the origin, ingresses, the machine's CPU: procs, subjects, ingress, load, measure
"""

import argparse
import importlib
import os
import platform
import shutil
import sys
import tempfile
import time
import traceback

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
# After our own: what is found here first must not hide what bench has. Of tests/e2e `ingress` is bench's, then.
sys.path += [os.path.join(TOP, "contrib", "bench"), os.path.join(TOP, "tests", "e2e")]

import measure  # noqa: E402
import page  # noqa: E402
import procs  # noqa: E402
import run as bench_run  # noqa: E402
import subjects  # noqa: E402
from context import Context, Skipped, say  # noqa: E402
from sections import SECTIONS  # noqa: E402


# Without these there is no section at all.
ALWAYS = ("nginx", "curl", "openssl", "adit", "aditd")


def names(text):
	wanted = [w for w in text.split(",") if w]
	if not wanted or any(w not in SECTIONS for w in wanted):
		raise argparse.ArgumentTypeError(f"found {text!r}, wanted some of: {', '.join(SECTIONS)}")
	return [s for s in SECTIONS if s in wanted]


def arguments(argv):
	p = argparse.ArgumentParser(prog="report", description="Writes the report: a polling tunnel and adit.")
	p.add_argument("--build-dir", default=".", metavar="DIR", help="where src/aditd and src/adit were built (here)")
	p.add_argument("--out", metavar="DIR", help="for README.md, *.csv, *.svg (default: a new folder in /tmp)")
	p.add_argument("--only", type=names, default=list(SECTIONS), metavar="SECTION,…", help=", ".join(SECTIONS))
	p.add_argument("--quick", action="store_true", help="a minute, few samples: only to see that all works")
	p.add_argument("--full", action="store_true", help="more rounds beside other tunnels: about an hour")
	args = p.parse_args(argv)
	wrong = args.out and unfit(args.out)
	if wrong:
		p.error(f"argument --out: {wrong}")
	return args


def clean(context, reason):
	"""In one line, without paths: the page is for everybody."""
	for path in (context.bench.work, os.path.abspath(context.build), TOP):
		reason = reason.replace(path, "…")
	return " ".join(reason.split())


def one_section(name, context):
	"""How it went: everything that page.py tells of it."""
	begin, foreign = time.monotonic(), measure.Foreign()
	result = {"name": name, "title": SECTIONS[name], "status": "ok", "text": "", "reason": None}
	try:
		result["text"] = importlib.import_module(f"sections.{name}").run(context)
	except Skipped as e:
		result.update(status="skipped", reason=str(e))
	except procs.Failed as e:
		result.update(status="failed", reason=clean(context, str(e)))
	except ModuleNotFoundError as e:
		result.update(status="failed", reason=f"not installed: Python's {e.name}; wanted `sh contrib/deps.sh report`")
	except Exception as e:  # whatever it is, the others go on
		traceback.print_exc()
		result.update(status="failed", reason=clean(context, f"{type(e).__name__}: {e}"))
	if context.faults and result["status"] == "ok":
		result.update(status="failed", reason=clean(context, "; ".join(context.faults)))
	result.update(summaries=context.summaries, used=context.used, shares=context.shares,
		seconds=time.monotonic() - begin, foreign=foreign.share())
	say(f"{name}: {result['status']}{': ' + result['reason'] if result['reason'] else ''}, {result['seconds']:.0f} s")
	return result


def prepare(bench):
	"""The origin that all sections share, and throw-away keys."""
	gone = [t for t in ALWAYS if not bench.tools[t]]
	if gone:
		raise procs.Failed(f"not found: {', '.join(gone)}; wanted `make`, and `sh contrib/deps.sh report`")
	bench.origin, bench.callee = subjects.Origin(bench), subjects.Callee(bench)
	bench.make_certificates()
	bench.origin.start()


def all_sections(args, bench, out):
	results = []
	try:
		prepare(bench)
		for name in args.only:
			say(f"{name}: {SECTIONS[name]}")
			results.append(one_section(name, Context(name, bench, bench.build_dir, out, args.quick, args.full)))
	finally:
		if bench.origin:
			bench.origin.stop()
	return results


def unfit(out):
	"""Why the report cannot be written there: a folder with somebody else's README.md is not ours to tidy."""
	readme = os.path.join(out, "README.md")
	if os.path.exists(out) and not os.path.isdir(out):
		return f"found {out}, which is no folder"
	if os.path.exists(readme):
		with open(readme, encoding="utf-8", errors="replace") as f:
			if f.readline().strip() != page.TITLE:
				return f"found {readme}, which is no report's, wanted a folder of its own"
	return None


def publish(made, out):
	"""The new report's files in place of the old one's."""
	os.makedirs(out, exist_ok=True)
	if os.path.exists(os.path.join(out, "README.md")):
		for name in os.listdir(out):
			if name.endswith((".csv", ".svg", ".txt", ".jsonl", ".md")):
				os.unlink(os.path.join(out, name))
	for name in os.listdir(made):
		shutil.copyfile(os.path.join(made, name), os.path.join(out, name))
	say(f"report: {out}/README.md")


def conclude(results):
	"""The exit status, and in one line what is not there."""
	lacking = [f"{r['name']} {r['status']}" for r in results if r["status"] != "ok"]
	if lacking:
		say(f"report: it is not complete: {', '.join(lacking)}; the page says why")
	return 1 if any(r["status"] == "failed" for r in results) else 0


def report_in(work, args, build):
	logs, made = os.path.join(work, "logs"), os.path.join(work, "report")
	os.mkdir(logs)
	os.mkdir(made)
	meta = page.meta(args)
	bench = subjects.Bench(work, logs, build, procs.Ports())
	results = all_sections(args, bench, made)
	used = set(ALWAYS).union(*(r["used"] for r in results))
	meta["versions"] = {**{t: said for t, said in bench_run.versions(bench.tools, bench.peers).items() if t in used},
		"python": platform.python_version()}
	with open(os.path.join(made, "README.md"), "w", encoding="utf-8") as f:
		f.write(page.page(meta, results))
	publish(made, os.path.abspath(args.out or tempfile.mkdtemp(prefix="adit-report-")))
	return conclude(results)


def main(argv):
	args = arguments(argv)
	build = os.path.abspath(args.build_dir)
	os.environ["ADIT_BUILD"] = build  # tests/e2e/harness.py looks there
	return procs.whole_run("report", lambda work: report_in(work, args, build))


if __name__ == "__main__":
	sys.exit(main(sys.argv[1:]))
