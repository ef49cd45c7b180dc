"""Round trips of small requests: the polling tunnel, and adit over each carrier."""

import load
import subjects
import svg
from context import table

OLD = "poll-500ms"
WAYS = (
	subjects.Direct,
	subjects.Adit,
	subjects.over("poll", "nginx", OLD, "poll_interval: 500ms\npoll_hold: 0\n"),
)


def run(context):
	rows = []
	for kind in WAYS:
		with context.way(kind) as way:
			rows.append((way.name, load.small_get(way.port, 5) / 1000))
	link = context.csv("latency", ("way", "ms"), rows)
	plot = svg.Bars("Round trip", "ms", [name for name, _ in rows], ["ms"], [[ms] for _, ms in rows], log=True)
	return "\n\n".join([table(["way", "ms"], rows), context.svg("latency", plot, "round trips"), link])
