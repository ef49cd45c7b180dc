"""Round trips of small requests: the polling tunnel, and adit over each carrier."""

import contextlib
import math

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
QUICK_SLOW = {1: (4, 0, 0.5), 10: (1, 0, 0.5)}
CURVE_POINTS = 150


def percentile(values, share):
	"""Of sorted values, the nearest rank."""
	return values[max(0, math.ceil(share * len(values)) - 1)]


def who(n):
	return "1 visitor" if n == 1 else f"{n} visitors"


def measure(context):
	"""(label, visitors) → [(round, ms)]"""
	samples = {(way.label, n): [] for way in compared.ALL for n in VISITORS}
	rounds, slow = (1, QUICK_SLOW) if context.quick else (ROUNDS, SLOW)
	with contextlib.ExitStack() as stack:
		up = [(way, stack.enter_context(context.way(way.kind)).port) for way in compared.ALL]
		for round_ in range(1, rounds + 1):
			for way, port in up:
				for n in VISITORS:
					count, pace, spread = (slow if way is compared.OLD else FAST)[n]
					got = context.quietly(lambda: visitors.trips(port, load.HOST, n, count, pace, spread, round_))
					samples[way.label, n] += [(round_, ms) for ms in got]
			context.say(f"round {round_} of {rounds}")
	return samples


def curves(context, sorted_, n):
	"""The share of round trips that took no longer than so much."""
	everything = [ms for (_, m), values in sorted_.items() if m == n for ms in values]
	plot = svg.Plot(f"Round trips of a small request, {who(n)}",
		svg.Axis.around("ms (logarithmic)", everything, log=True),
		svg.Axis("% of the round trips that took no longer", 0, 100))
	for way in compared.ALL:
		values = sorted_[way.label, n]
		step = max(1, len(values) // CURVE_POINTS)
		picked = [(values[i], 100 * (i + 1) / len(values)) for i in range(0, len(values), step)]
		plot.steps([(values[0], 0), *picked, (values[-1], 100)], way.label)
	plot.mark(BOUND_MS, f"{BOUND_MS} ms")
	return context.svg(f"latency-{n}", plot, f"Round trips, {who(n)}: which share took no longer than so much, "
		"by way; the table has the figures")


def both(values):
	return f"{milliseconds(percentile(values, 0.5))} / {milliseconds(percentile(values, 0.99))}"


def verdict(met):
	return "**met**" if met else "**not met**"


def judge_bound(context, n, old, new):
	"""Do all ways but the old one stay below BOUND_MS?"""
	worst = max(new, key=lambda label: percentile(new[label], 0.99))
	p99 = percentile(new[worst], 0.99)
	slow, count = sum(ms >= BOUND_MS for v in new.values() for ms in v), sum(map(len, new.values()))
	context.summary(f"Round trip of a small request, {who(n)}: p50 / p99", both(old),
		"; ".join(f"{label} {both(values)}" for label, values in new.items()), p99 < BOUND_MS)
	return (f"- {who(n)}, every way but the old one below {BOUND_MS} ms: {verdict(p99 < BOUND_MS)}. The greatest p99 is "
		f"{milliseconds(p99)} ({worst}); {slow} of {count} round trips took {BOUND_MS} ms or more.")


def judge_added(context, n, base, direct):
	"""Does `direct` add less than ADDED_MS to what the origin takes by itself?"""
	p50, p99 = (percentile(direct, share) - percentile(base, share) for share in (0.5, 0.99))
	context.summary(f"Added by `direct` to the origin's own time, {who(n)}: p50 / p99", "–",
		f"{milliseconds(p50)} / {milliseconds(p99)}", p50 < ADDED_MS)
	return (f"- {who(n)}, `direct` adds less than {ADDED_MS} ms, by the medians: {verdict(p50 < ADDED_MS)}, "
		f"{milliseconds(p50)}; their p99 differ by {milliseconds(p99)}.")


def judge(context, sorted_):
	"""What was expected, and was it met; told from the figures, and put into the summary."""
	lines = []
	for n in VISITORS:
		base, direct, old = (sorted_[way.label, n] for way in (compared.NONE, compared.DIRECT, compared.OLD))
		lines.append(judge_bound(context, n, old, {way.label: sorted_[way.label, n] for way in compared.ADITS}))
		lines.append(judge_added(context, n, base, direct))
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
	count = len({round_ for values in samples.values() for round_, _ in values})
	return f"""A small request, `GET /echo`, and its answer, which is compared with what was asked for, on a kept
connection. Visitors speak to aditd without an ingress of their own, in all rows but the first: what differs is the
way between aditd and adit.

{compared.described()}

What the old tunnel needs is the rest of the time until its next poll, so anything up to 500 ms, for answers go back
at once. A tunnel whose answers wait as well needs more than is shown here.

{judge(context, sorted_)}

{table(["way", "visitors", "samples", "min", *(name for name, _ in shares), "max"], rows)}
{curves(context, sorted_, 1)}

{curves(context, sorted_, 10)}

How: {count} round(s), each through all the ways, one at a time. A visitor is a process with one connection
(TCP_NODELAY); ten begin a tenth of their pace after each other, so that they do not queue by accident. The old
tunnel's visitors ask at any point between two polls. Raw: {link}.
"""
