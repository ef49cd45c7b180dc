"""Round trips of small requests: the polling tunnel, and adit over each carrier."""

import contextlib
import statistics

import load
import subjects
import svg
import visitors
from context import milliseconds, table

OLD = "poll-500ms"
# What the old tunnel needs at least, and what a request through the new one may take, in ms.
BOUND_MS = 100
ADDED_MS = 1
WAYS = (
	(subjects.Direct, "no tunnel", "the origin itself, nothing between"),
	(subjects.Adit, "direct", "adit's own protocol over TLS, no ingress"),
	(subjects.over("ws-h2", "haproxy-h2"), "ws-h2", "a WebSocket over HTTP/2, through HAProxy"),
	(subjects.over("ws-h1", "nginx"), "ws-h1", "a WebSocket over HTTP/1.1, through nginx"),
	(subjects.over("poll", "nginx"), "poll, held", "plain requests that the server holds until it has something to say, "
		"through nginx"),
	(subjects.over("poll", "nginx", OLD, "poll_interval: 500ms\npoll_hold: 0\n"), "old: poll, 500 ms",
		"the polling tunnel: a request every 500 ms, answered at once, through nginx"),
)
ROUNDS = 5
VISITORS = (1, 10)
# (round trips of each visitor in a round, seconds from one to the next, seconds more as chance has it). Old: at any
# point between two polls, so that it is not always the whole interval that is waited for.
FAST = {1: (80, 0.010, 0.002), 10: (10, 0.040, 0.002)}
SLOW = {1: (12, 0, 0.5), 10: (4, 0, 0.5)}
CURVE_POINTS = 150


def percentile(values, share):
	"""Of sorted values, the nearest rank."""
	return values[min(len(values) - 1, int(share * len(values)))]


def measure(context):
	"""(label, visitors) → [(round, ms)]"""
	samples = {(label, n): [] for _, label, _ in WAYS for n in VISITORS}
	rounds = 1 if context.quick else ROUNDS
	with contextlib.ExitStack() as stack:
		ways = [(stack.enter_context(context.way(kind)), kind, label) for kind, label, _ in WAYS]
		for round_ in range(1, rounds + 1):
			for way, kind, label in ways:
				for n in VISITORS:
					count, pace, spread = (SLOW if kind.name == OLD else FAST)[n]
					got = context.quietly(lambda: visitors.trips(way.port, load.HOST, n, count, pace, spread, round_))
					samples[label, n] += [(round_, ms) for ms in got]
			context.say(f"round {round_} of {rounds}")
	return samples


def curves(context, sorted_, n):
	"""The share of round trips that took no longer than so much."""
	everything = [ms for (_, m), values in sorted_.items() if m == n for ms in values]
	who = "1 visitor" if n == 1 else f"{n} visitors"
	plot = svg.Plot(f"Round trips of a small request, {who}", svg.Axis.around("ms (logarithmic)", everything, log=True),
		svg.Axis("% of the round trips that took no longer", 0, 100))
	for _, label, _ in WAYS:
		values = sorted_[label, n]
		step = max(1, len(values) // CURVE_POINTS)
		picked = [(values[i], 100 * (i + 1) / len(values)) for i in range(0, len(values), step)]
		plot.steps([(values[0], 0), *picked, (values[-1], 100)], label)
	plot.mark(BOUND_MS, f"{BOUND_MS} ms")
	return context.svg(f"latency-{n}", plot, f"Round trips, {who}: every way of adit stays far left of the polling tunnel; "
		"the table has the figures")


def judge(context, sorted_):
	"""What was expected, and was it met; told from the figures, and put into the summary."""
	old = {n: sorted_[WAYS[-1][1], n] for n in VISITORS}
	lines = []
	for n in VISITORS:
		new = {label: sorted_[label, n] for _, label, _ in WAYS[1:-1]}
		worst = max(new, key=lambda label: percentile(new[label], 0.99))
		p99 = percentile(new[worst], 0.99)
		slow, count = sum(ms >= BOUND_MS for v in new.values() for ms in v), sum(map(len, new.values()))
		met = p99 < BOUND_MS
		who = "1 visitor" if n == 1 else f"{n} visitors"
		context.summary(f"Round trip, {who}: p50 / p99", f"{milliseconds(statistics.median(old[n]))} / "
			f"{milliseconds(percentile(old[n], 0.99))}", "; ".join(f"{label} {milliseconds(statistics.median(values))} / "
			f"{milliseconds(percentile(values, 0.99))}" for label, values in new.items()), met)
		lines.append(f"- {who}, every way but the old one below {BOUND_MS} ms: **{'met' if met else 'not met'}**. The "
			f"greatest p99 is {milliseconds(p99)} ({worst}); {slow} of {count} round trips took {BOUND_MS} ms or more.")
		base, direct = sorted_[WAYS[0][1], n], sorted_[WAYS[1][1], n]
		added = [percentile(direct, share) - percentile(base, share) for share in (0.5, 0.99)]
		met = added[0] < ADDED_MS
		context.summary(f"Added to the origin's own time by `direct`, {who}: p50 / p99", "–",
			" / ".join(map(milliseconds, added)), met)
		lines.append(f"- {who}, `direct` adds less than {ADDED_MS} ms (by the medians): **{'met' if met else 'not met'}**, "
			f"{milliseconds(added[0])}; at p99 it is {milliseconds(added[1])}.")
	return "\n".join(lines)


def run(context):
	context.want("haproxy", "nginx")
	samples = measure(context)
	sorted_ = {key: sorted(ms for _, ms in values) for key, values in samples.items()}
	link = context.csv("latency", ("way", "visitors", "round", "ms"), [(label, n, round_, f"{ms:.4f}")
		for (label, n), values in samples.items() for round_, ms in values])
	shares = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))
	rows = [[label, n, len(v), milliseconds(v[0]), *(milliseconds(percentile(v, s)) for _, s in shares),
		milliseconds(v[-1])] for (label, n), v in sorted_.items()]
	ways = "\n".join(f"- **{label}**: {words}" for _, label, words in WAYS)
	return f"""A small request, `GET /echo`, and its answer, which is compared with what was asked for, on a kept connection. Visitors
speak to aditd without an ingress of their own, in all rows but the first: what differs is the way between aditd and adit.

{ways}

{judge(context, sorted_)}

{table(["way", "visitors", "samples", "min", *(name for name, _ in shares), "max"], rows)}
{curves(context, sorted_, 1)}

{curves(context, sorted_, 10)}

How: {len({r for values in samples.values() for r, _ in values})} round(s), each through all the ways, one at a time. A visitor is a process with one connection (TCP_NODELAY);
ten begin a tenth of their pace after each other, so that they do not queue by accident. The old tunnel's visitors ask at
any point between two polls. Raw: {link}.
"""
