"""WebSockets forbidden at the ingress, and allowed again, under a tunnel that carries requests."""

import time
from pathlib import Path

import timeline
from context import milliseconds, table
from explain import Excerpts
from scene import LimitedHAProxy, LimitedNginx, Scene, Visits, proxies, raw, usual

CLIMB_SECONDS = 2  # --climb-after; by default 5 minutes
FORBIDDEN_SECONDS = 4.5  # long enough for one try in vain
BACK_SECONDS = 20.0

KINDS = (
	("nginx", "nginx", LimitedNginx, "its lines for Upgrade taken out, `nginx -s reload`"),
	("haproxy-h1", "HAProxy", LimitedHAProxy, "a rule that denies Upgrade and CONNECT, reload"),
)


def take(folder, kind, way):
	"""The whole story: (what the traces tell, the visitors' rows)."""
	with Scene(folder, way=way, flags=("--climb-after", f"{CLIMB_SECONDS}s"), size=1) as scene:
		with Visits(scene.visit, every=0.04) as visits:
			time.sleep(1)
			scene.mark("WebSockets forbidden")
			scene.between.reload(proxies.NO_WEBSOCKETS[kind])
			scene.adit.wait_event("moved", carrier="poll", timeout=BACK_SECONDS)
			time.sleep(FORBIDDEN_SECONDS)
			scene.mark("allowed again")
			scene.between.reload()
			scene.adit.wait_record(lambda r, _: r.get("event") == "moved" and r["carrier"] != "poll", "the way back",
				timeout=BACK_SECONDS)
			time.sleep(1)
		return scene.told(), visits.rows


def failures(visits):
	return sum(row[2] != 200 for row in visits)


class Steps:
	"""When what happened, in milliseconds of the trace."""

	def __init__(self, told):
		self.forbidden, self.allowed = (at for at, _ in told.marks)
		self.best = told.first("welcome", program="adit")["carrier"]
		fell = told.first("attached", after=self.forbidden, program="adit", carrier="poll")
		self.poll, self.away = fell["at_ms"], fell.get("away_ms", 0)
		# the carrier is cut, or its ingress says beforehand (GOAWAY) that it will be
		self.announced = not self.away and told.has("leaving", self.forbidden)
		self.cut = told.first("leaving", self.forbidden)["at_ms"] if self.announced else self.poll - self.away
		rises = [e for e in told.events if e["event"] == "attached" and e["program"] == "adit" and
			e["at_ms"] > self.allowed and e["carrier"] != "poll"]
		self.back, self.back_away = rises[0]["at_ms"], rises[0].get("away_ms", 0)
		self.carrier = rises[0]["carrier"]
		self.tries = [e["at_ms"] for e in told.events if e["event"] == "dial" and e["aim"] == "climb" and
			e["at_ms"] > self.poll]

	def rows(self, told, visits):
		def between(begin, end):
			return milliseconds(usual([row for row in visits if begin <= told.at(row[0]) < end]))
		last = max(at for at in self.tries if at < self.back)
		return [
			("carrier before", self.best),
			("after the reload the ingress", f"{'announces its end (GOAWAY)' if self.announced else 'cuts it'} after "
				+ milliseconds(self.cut - self.forbidden)),
			("from then until the tunnel runs over `poll`", milliseconds(self.poll - self.cut)),
			("of these without any carrier", milliseconds(self.away) if self.away else "0 ms: the old one carries on"),
			("tries of something better while it is forbidden, beside `poll`", sum(at < self.allowed for at in self.tries)),
			("allowed again, until the next try (`--climb-after`)", milliseconds(max(0, last - self.allowed))),
			(f"from that try until the tunnel runs over `{self.carrier}`", milliseconds(self.back - last)),
			("without a carrier while it moves back", milliseconds(self.back_away) if self.back_away
				else "0 ms: the next stands before the old one goes"),
			("visitors: failed or answered wrong", f"{failures(visits)} of {len(visits)}"),
			("their usual time before, over `poll`, afterwards", ", ".join((between(0, self.forbidden),
				between(self.poll + 100, self.back), between(self.back + 100, 1e12)))),
			("the longest that one of them waited", milliseconds(max(row[1] for row in visits))),
		]


def picture(context, name, told, visits, title):
	zero = told.marks[0][0]
	drawing = timeline.Timeline(title, zero - 800, told.at(visits[-1][0]), zero)
	drawing.bars("link", timeline.states(told))
	drawing.bars("carrier", timeline.carriers(told))
	drawing.bars("attempts", timeline.attempts(told))
	drawing.points("requests", timeline.visits(told, visits))
	for at, words in told.marks:
		drawing.mark(at, words)
	return context.svg(name, drawing,
		"By time: the link's state, its carrier, the attempts, and each request; the table has the figures")


def story(context, name, title, taken, excerpts):
	told, visits = taken
	steps = Steps(told)
	lines = excerpts.of(told, steps.cut - 5, steps.poll + 20)
	between = excerpts.of(told, steps.poll + 20, steps.allowed)
	risen = excerpts.of(told, steps.allowed, steps.back + 50)
	return steps, f"""### {title}

{picture(context, name, told, visits, title + ": WebSockets forbidden, and allowed again")}

The fall:

{lines}
While it is forbidden it tries now and then, beside `poll`, which goes on carrying:

{between}
The way back:

{risen}
{raw(context, name, told, visits)}"""


def run(context):
	context.want("nginx", "haproxy")
	kinds, excerpts, columns, stories = KINDS[:1] if context.quick else KINDS, Excerpts(), [], []
	failed = 0
	for kind, title, way, _ in kinds:
		context.say(title)
		told, visits = take(Path(context.work) / kind, kind, way)
		steps, text = story(context, f"fallback-{kind}", title, (told, visits), excerpts)
		columns.append(steps.rows(told, visits))
		failed += failures(visits)
		stories.append(text)
	rows = [(lines[0][0], *(line[1] for line in lines)) for lines in zip(*columns)]
	if failed:
		context.fault(f"{failed} requests failed")
	context.summary("WebSockets forbidden at the ingress, and allowed again: goes on over `poll`, and comes back", "–",
		f"{failed} requests failed", not failed)
	how = "; ".join(f"{title}: {words}" for _, title, _, words in kinds)
	return f"""\
A tunnel runs through an ingress, over WebSocket. The ingress is changed under it so that no WebSocket passes any
more ({how}), and is told to cut after a second what its old process still has. `adit` finds out by itself what is
left, goes on with the same link over plain requests that are held (`poll`), and comes back when WebSockets pass
again. A visitor comes through the same ingress every 40 ms on a connection of his own, every second one with a POST;
each answer is checked.

`adit` runs with `--climb-after {CLIMB_SECONDS}s` here, so that the way back is seen soon: by default it tries after 5
minutes, and after twice as long each time it finds nothing, up to an hour. What is chosen at each start, and why not
better, is in [doc/carriers.md](../carriers.md).

{table(("", *(title for _, title, _, _ in kinds)), rows, words=3)}
{timeline.LEGEND}

""" + "\n".join(stories)
