"""Round trips of small requests: the polling tunnel, and adit over each carrier."""

import contextlib
import statistics

import compared
import load
import svg
import visitors
from context import milliseconds, table

# What a round trip may take, and what `direct` may add to the origin's own, in ms.
BOUND_MS = 100
ADDED_MS = 1
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
	samples = {(way.label, n): [] for way in compared.ALL for n in VISITORS}
	rounds = 1 if context.quick else ROUNDS
	with contextlib.ExitStack() as stack:
		up = [(way, stack.enter_context(context.way(way.kind)).port) for way in compared.ALL]
		for round_ in range(1, rounds + 1):
			for way, port in up:
				for n in VISITORS:
					count, pace, spread = (SLOW if way is compared.OLD else FAST)[n]
					got = context.quietly(lambda: visitors.trips(port, load.HOST, n, count, pace, spread, round_))
					samples[way.label, n] += [(round_, ms) for ms in got]
			context.say(f"round {round_} of {rounds}")
	return samples


def curves(context, sorted_, n):
	"""The share of round trips that took no longer than so much."""
	everything = [ms for (_, m), values in sorted_.items() if m == n for ms in values]
	who = "1 visitor" if n == 1 else f"{n} visitors"
	plot = svg.Plot(f"Round trips of a small request, {who}", svg.Axis.around("ms (logarithmic)", everything, log=True),
		svg.Axis("% of the round trips that took no longer", 0, 100))
	for way in compared.ALL:
		values = sorted_[way.label, n]
		step = max(1, len(values) // CURVE_POINTS)
		picked = [(values[i], 100 * (i + 1) / len(values)) for i in range(0, len(values), step)]
		plot.steps([(values[0], 0), *picked, (values[-1], 100)], way.label)
	plot.mark(BOUND_MS, f"{BOUND_MS} ms")
	return context.svg(f"latency-{n}", plot, f"Round trips, {who}: every way of adit stays far left of the polling tunnel; "
		"the table has the figures")


def judge(context, sorted_):
	"""What was expected, and was it met; told from the figures, and put into the summary."""
	lines = []
	for n in VISITORS:
		old, new = sorted_[compared.OLD.label, n], {way.label: sorted_[way.label, n] for way in compared.ADITS}
		worst = max(new, key=lambda label: percentile(new[label], 0.99))
		p99 = percentile(new[worst], 0.99)
		slow, count = sum(ms >= BOUND_MS for v in new.values() for ms in v), sum(map(len, new.values()))
		met = p99 < BOUND_MS
		who = "1 visitor" if n == 1 else f"{n} visitors"
		context.summary(f"Round trip, {who}: p50 / p99", f"{milliseconds(statistics.median(old))} / "
			f"{milliseconds(percentile(old, 0.99))}", "; ".join(f"{label} {milliseconds(statistics.median(values))} / "
			f"{milliseconds(percentile(values, 0.99))}" for label, values in new.items()), met)
		lines.append(f"- {who}, every way but the old one below {BOUND_MS} ms: **{'met' if met else 'not met'}**. The "
			f"greatest p99 is {milliseconds(p99)} ({worst}); {slow} of {count} round trips took {BOUND_MS} ms or more.")
		base, direct = sorted_[compared.NONE.label, n], sorted_[compared.DIRECT.label, n]
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
	return f"""A small request, `GET /echo`, and its answer, which is compared with what was asked for, on a kept connection. Visitors
speak to aditd without an ingress of their own, in all rows but the first: what differs is the way between aditd and adit.

{compared.described()}

{judge(context, sorted_)}

{table(["way", "visitors", "samples", "min", *(name for name, _ in shares), "max"], rows)}
{curves(context, sorted_, 1)}

{curves(context, sorted_, 10)}

How: {len({r for values in samples.values() for r, _ in values})} round(s), each through all the ways, one at a time. A visitor is a process with one connection (TCP_NODELAY);
ten begin a tenth of their pace after each other, so that they do not queue by accident. The old tunnel's visitors ask at
any point between two polls. Raw: {link}.
"""
