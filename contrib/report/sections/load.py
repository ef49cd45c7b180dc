"""Many visitors at once, and large bodies, over each carrier: all answers are compared with what they ought to be."""

import contextlib
import os
import statistics
import sys

import compared
import subjects
import svg
import visitors
from context import milliseconds, table
from procs import Failed

ORIGIN = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "origin.py")
NAME = "load"
MB = 1000 * 1000
START_SECONDS = 10
CROWDS = (10, 100, 1000)
CROWD_BODY = 2000
CROWD_SECONDS = 120
# How often each visitor asks when they do not wait for each other.
EACH = 5
# Percentiles in the CSV file.
SHARES = (0, 1, 5, 10, 25, 50, 75, 90, 95, 99, 100)
SIZES = {1: "1 MB", 100: "100 MB", 1000: "1 GB"}
BODY_SECONDS = 330
# How often: a short one is over before a processor has woken up.
TIMES = {1: 10, 100: 3, 1000: 1}
# What the old tunnel moves in half a second is bounded, so that more would take hours.
OLD_MOST_MB = 1
QUICK_MOST_MB = 1
QUICK_CROWDS = 2


@contextlib.contextmanager
def origin(context):
	"""origin.py, published as NAME by each adit that is started meanwhile; gives its port."""
	port = context.bench.ports.take()
	program = context.bench.program("load.origin", [sys.executable, "-B", ORIGIN, port])
	with context.running(program):
		program.wait_listening(port, START_SECONDS)
		context.bench.more_origins[NAME] = f"http://127.0.0.1:{port}"
		try:
			yield port
		finally:
			del context.bench.more_origins[NAME]


def tried(context, what, go):
	"""What it gives, or None; then the section has a fault."""
	try:
		return go()
	except Failed as e:
		context.fault(f"{what}: {e}")
		context.say(f"{what}: {e}")
		return None


def crowd(context, label, n, port, host):
	"""[(label, visitors, together, result of visitor.py; without `seconds` where it had none)]"""
	found = []
	for together in (True, False):
		if not together and context.quick and label == compared.OLD.label:
			continue
		each, what = 1 if together else EACH, f"{label}, {n} visitors {'at once' if together else 'in turn'}"
		r = tried(context, what, lambda: visitors.one(CROWD_SECONDS, "crowd", port, host, n, each, int(together),
			CROWD_BODY))
		r = r or {"seconds": None, "times": [], "wrong": []}
		found.append((label, n, together, r))
		for reason in sorted(set(r["wrong"])):
			context.fault(f"{what}: {r['wrong'].count(reason)} times {reason}")
	return found


def bodies(context, label, size, direction, port, host):
	"""[(label, MB, direction, nth, seconds, SHA-256)]; seconds are None for what did not arrive as it was sent"""
	found = []
	for nth in range(1, 1 + (1 if context.quick or label == compared.OLD.label else TIMES[size])):
		r = tried(context, f"{label}, {SIZES[size]} {direction}",
			lambda: visitors.one(BODY_SECONDS, direction, port, host, 1000 * size + nth, size * MB))
		found.append((label, size, direction, nth, *((r["seconds"], r["sha256"]) if r else (None, "wrong"))))
		if not r:
			break
	return found


def crowds(context):
	return CROWDS[:QUICK_CROWDS] if context.quick else CROWDS


def sizes(context, label):
	old = label == compared.OLD.label
	most = (0 if old else QUICK_MOST_MB) if context.quick else OLD_MOST_MB if old else max(SIZES)
	return [size for size in SIZES if size <= most]


def measure(context):
	crowd_results, body_results = [], []
	with origin(context) as own_port:
		for way in compared.ALL:
			with context.way(way.kind) as subject:
				port = own_port if way is compared.NONE else subject.port
				where = (port, subjects.host_of(NAME))
				for n in crowds(context):
					crowd_results += context.quietly(lambda: crowd(context, way.label, n, *where))
				for size in sizes(context, way.label):
					for direction in ("down", "up"):
						body_results += context.quietly(lambda: bodies(context, way.label, size, direction, *where))
			context.say(way.label)
	return crowd_results, body_results


def at(times, share):
	"""Of sorted nanoseconds, the nearest rank in ms."""
	return times[min(len(times) - 1, int(share * len(times)))] / 1e6


def all_right(r):
	return r["seconds"] is not None and not r["wrong"]


def crowd_part(context, found):
	"""(table, picture, link)"""
	rows, raw = [], []
	for label, n, together, r in found:
		times, wanted, whole = sorted(r["times"]), n * (1 if together else EACH), all_right(r)
		name = "at once" if together else f"{EACH} each, in turn"
		rows.append([label, n, name, f"{len(times)} of {wanted}",
			*(milliseconds(at(times, share)) if times else "–" for share in (0.5, 0.99)),
			milliseconds(1000 * r["seconds"]) if whole else "–", f"{len(times) / r['seconds']:.0f}" if whole else "–"])
		raw.append([label, n, name, wanted, len(times), f"{1000 * r['seconds']:.3f}" if whole else "",
			*(f"{at(times, share / 100):.3f}" if times else "" for share in SHARES)])
	done = {(label, n): 1000 * r["seconds"] for label, n, together, r in found
		if together and all_right(r)}
	values = [[done.get((way.label, n)) for n in crowds(context)] for way in compared.ALL]
	chart = svg.Bars("Until all of so many visitors at once had their answers", "ms (logarithmic)",
		[way.label for way in compared.ALL], [f"{n} visitors" for n in crowds(context)], values, log=True)
	summarize_crowds(context, found)
	return (table(["way", "visitors", "requests", "right answers", "p50", "p99", "all done", "requests/s"], rows,
		words=3),
		context.svg("load-visitors", chart, "Time until all had their answers, by way; the table has the figures"),
		context.csv("load-visitors", ["way", "visitors", "requests", "wanted", "right", "all_done_ms",
			*(f"p{share}_ms" for share in SHARES)], raw))


def summarize_crowds(context, found):
	"""The largest crowd that was asked for, at once: who got the right answer, and when all had theirs."""
	most = max(crowds(context))
	largest = {label: r for label, n, together, r in found if n == most and together}

	def told(way):
		r = largest.get(way.label)
		if not r:
			return "–"
		return f"{len(r['times'])} of {most}, {milliseconds(1000 * r['seconds']) if all_right(r) else 'not all'}"
	met = all(way.label in largest and len(largest[way.label]["times"]) == most for way in compared.ALL)
	context.summary(f"{most} visitors at once: right answers, until all had theirs", told(compared.OLD),
		"; ".join(f"{way.label} {told(way)}" for way in compared.ADITS), met)


def body_part(context, found):
	"""(table, pictures, link)"""
	rates, tries = {}, {}
	for label, size, direction, _, seconds, _ in found:
		tries[label, size] = tries.get((label, size), 0) + 1
		if seconds:
			rates.setdefault((label, size, direction), []).append(size / seconds)
	rows = []
	for label, size in tries:
		both = [rates.get((label, size, direction), []) for direction in ("down", "up")]
		rows.append([label, SIZES[size], *(svg.number(statistics.median(v)) if v else "–" for v in both),
			f"{sum(map(len, both))} of {tries[label, size]}"])
	pictures, moved = [], [size for size in SIZES if size in {size for _, size in tries}]
	for direction, words in (("down", "to the visitor"), ("up", "to the origin")):
		medians = {(label, size): statistics.median(v) for (label, size, way), v in rates.items() if way == direction}
		values = [[medians.get((way.label, size)) for size in moved] for way in compared.ALL]
		chart = svg.Bars(f"One body {words}", "MB/s (logarithmic)", [way.label for way in compared.ALL],
			[SIZES[size] for size in moved], values, log=True)
		pictures.append(context.svg(f"load-{direction}", chart,
			f"Rate of one body {words}, by way; the table has the figures"))
	summarize_bodies(context, rates, all(seconds for *_, seconds, _ in found))
	return (table(["way", "body", "down, MB/s", "up, MB/s", "SHA-256 right"], rows, words=2), "\n\n".join(pictures),
		context.csv("load-bodies", ("way", "MB", "direction", "nth", "seconds", "sha256"),
			[(*which, seconds and f"{seconds:.6f}", sha) for *which, seconds, sha in found]))


def summarize_bodies(context, rates, met):
	"""The largest body that there was of each, down and up."""
	def told(label):
		most = max((size for name, size, _ in rates if name == label), default=None)
		return most and f"{SIZES[most]}: " + " / ".join(svg.number(statistics.median(rates[label, most, direction]))
			if (label, most, direction) in rates else "–" for direction in ("down", "up"))
	new = [f"{way.label} {told(way.label)}" for way in compared.ADITS if told(way.label)]
	context.summary("One body down / up, MB/s, SHA-256 compared", told(compared.OLD.label) or "–", "; ".join(new),
		met)


def listed(values):
	*most, last = map(str, values)
	return f"{', '.join(most)} and {last}"


def how_often(context):
	if context.quick:
		return "once"
	return f"median of {listed(TIMES.values())} times for {listed(SIZES.values())}, of the old tunnel once"


def old_words(found):
	"""How long the old tunnel would need for what it is not asked for."""
	rates = [size / seconds for label, size, direction, _, seconds, _ in found
		if (label, direction) == (compared.OLD.label, "down") and seconds]
	if not rates:
		return ""
	hours = max(SIZES) / statistics.median(rates) / 3600
	return (f"The old tunnel is asked for {SIZES[OLD_MOST_MB]} only: at that rate, {SIZES[max(SIZES)]} down takes "
		f"{hours:.1f} hours.")


def run(context):
	context.want("haproxy", "nginx")
	crowd_results, body_results = measure(context)
	crowd_table, crowd_picture, crowd_link = crowd_part(context, crowd_results)
	body_table, body_pictures, body_link = body_part(context, body_results)
	return f"""The ways are those of [latency](#latency).

### Visitors at once

Each visitor has a connection and posts {CROWD_BODY} random bytes that nobody else posts; the answer must be those
bytes. *At once*: the origin answers nobody before the requests of all are there, so all are under way at the same
time, and that is done once: what the old tunnel needs depends on when its next poll comes, up to 500 ms later.
*In turn*: each visitor asks {EACH} times, one after another. All visitors are one Python program, and the
origin is another: what those cost by themselves is in the first rows.

{crowd_table}
{crowd_picture}

Raw: {crowd_link}.

### Large bodies

One visitor, one body on a new connection; {how_often(context)}.
The bytes look random and are made on the way. Sender and receiver compare SHA-256, and the time includes the
receiver's hashing. {old_words(body_results)}

{body_table}
{body_pictures}

Raw: {body_link}.
"""
