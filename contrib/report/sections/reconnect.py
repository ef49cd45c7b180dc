"""Reconnecting: aditd killed, the connection cut or silent, the ingress reloaded; each under load, and traced."""

import time
from pathlib import Path

import timeline
from context import milliseconds, table
from explain import Excerpts
from scene import Download, LimitedNginx, Scene, Visits, proxies, raw, usual

KILLED_SECONDS = 2.5  # aditd is away
SETTLE_SECONDS = 1.5  # afterwards
BACK_LIMIT_MS = 10000
NOTICED_MS = 5000  # a silent connection in use
LISTENS_MS = 500  # from aditd's first event until it certainly listens


class Taken:
	"""A scene that is over: its trace, visitors and download."""

	def __init__(self, told, rows, download):
		self.told, self.rows, self.download = told, rows, download
		self.zero = told.marks[0][0]

	def count(self, what=None):
		return sum(row[2] == what if what else row[2] != 200 for row in self.rows)

	def slowest(self):
		"""The longest wait of a visitor who got his answer."""
		return max(row[1] for row in self.rows if row[2] == 200)

	def usual(self):
		"""Before anything was done."""
		return usual([row for row in self.rows if self.told.at(row[0]) < self.zero - 50])


def take(folder, act, **options):
	"""Runs a scene: visitors every 20 ms and a download; act(scene) when a third of it has come."""
	with Scene(folder, **options) as scene:
		with Visits(scene.visit) as visits:
			download = Download(scene.visit, scene.origin.data)
			download.reached(0.3)
			act(scene)
			download.result()
		return Taken(scene.told(), visits.rows, download)


# ---- what is done

def kill(scene):
	scene.mark("aditd: kill -9")
	scene.server.program.kill()
	time.sleep(KILLED_SECONDS)
	scene.mark("aditd is started again")
	scene.server.start()
	time.sleep(SETTLE_SECONDS)


def cut(how, words, seconds):
	def act(scene):
		scene.mark(words)
		scene.between.cut(how)
		time.sleep(seconds)
	return act


def reload(words):
	def act(scene):
		scene.mark(words)
		scene.between.reload()
		time.sleep(2.2)
	return act


# ---- what is told

def picture(context, name, title, taken, begin, end, alt, silent=()):
	"""Lanes of everything between `begin` and `end`, milliseconds from the first thing that was done."""
	told = taken.told
	drawing = timeline.Timeline(title, taken.zero + begin, taken.zero + end, taken.zero)
	drawing.bars("link", timeline.states(told))
	drawing.bars("carrier", timeline.carriers(told))
	drawing.bars("attempts", timeline.attempts(told))
	for program in silent:
		drawing.bars(f"{program} hears", timeline.silences(told, program))
	drawing.bars("download", timeline.download(told, taken.download))
	drawing.points("requests", timeline.visits(told, taken.rows))
	for at, words in told.marks:
		drawing.mark(at, words)
	return context.svg(name, drawing, alt)


def killed(context, folder, excerpts):
	taken = take(folder, kill, way="none")
	told = taken.told
	start = told.first("start", after=taken.zero + 1, program="aditd")["at_ms"]
	up = told.first("welcome", after=taken.zero, program="adit")["at_ms"]
	back = up - start
	waits = [e["ms"] for e in told.events if e["event"] == "wait" and e["at_ms"] < start]
	context.summary(f"Server killed and started again: the tunnel is back within {BACK_LIMIT_MS // 1000} s", "–",
		milliseconds(back), back < BACK_LIMIT_MS)
	if back >= BACK_LIMIT_MS:
		context.fault(f"adit was back only {milliseconds(back)} after aditd")
	late = [row for row in taken.rows if told.at(row[0]) > start + LISTENS_MS and row[2] != 200]
	if late:
		context.fault(f"{len(late)} requests failed after aditd was back")
	drawn = picture(context, "reconnect-killed", "aditd killed and started again", taken, -300, up - taken.zero + 400,
		"By time: the link's state, the attempts with the waits between them, the download, and each request: when it "
		"came, how long it took, whether it failed")
	return f"""\
### The server is killed

`aditd` gets SIGKILL while a visitor downloads 24 MiB and another one comes every 20 ms; {KILLED_SECONDS} s later it
is started again. Nothing of a killed process can be kept: what was under way in it ends. What counts is how soon all
is well again, and that nobody has to do anything for it.

{table(("", ""), [
	("`adit` back, from the start of the new `aditd`", milliseconds(back)),
	("waits between attempts while nobody listened", ", ".join(str(w) for w in waits) + " ms"),
	("requests under way in the killed process, cut", taken.count("cut")),
	("requests while nobody listened, refused by the system", taken.count("refused")),
	("others that were not answered as they should be, until it listened", taken.count() - len(late)
		- sum(row[2] in ("cut", "refused") and row not in late for row in taken.rows)),
	("requests from then on that failed", len(late)),
	("the longest wait of a request that came before `adit` was back", milliseconds(taken.slowest())),
	("the download", "whole" if taken.download.whole else "cut: its visitor sees that it is not complete"),
], words=2)}
{drawn}

{excerpts.of(told, taken.zero - 5, up + 5)}
Behind an ingress the refused visitors see its 502 or 503 instead.
{raw(context, "reconnect-killed", told, taken.rows)}"""


def whole(context, taken):
	"""Was nothing lost?"""
	if not taken.download.whole:
		context.fault(f"a download is not whole: {taken.download.error or 'other bytes came'}")
	if taken.count():
		context.fault(f"{taken.count()} of {len(taken.rows)} requests failed")
	return taken.download.whole and not taken.count()


def figures(taken, seen):
	return table(("", ""), [
		("the download", "whole: its SHA-256 is the origin's" if taken.download.whole else "**not whole**"),
		("the longest pause in it", milliseconds(taken.download.longest_ms)),
		(f"other requests: failed, of {len(taken.rows)}", taken.count()),
		("usual time of such a request", milliseconds(taken.usual())),
		("the longest", milliseconds(taken.slowest())),
		*seen], words=2)


def reset(context, folder, excerpts):
	taken = take(folder, cut("reset", "the connection is reset", 0.8))
	told, good = taken.told, whole(context, taken)
	resumed = told.first("attached", after=taken.zero, program="adit")
	context.summary("Connection cut in the middle of a download: nothing is lost", "–",
		f"a pause of {milliseconds(taken.download.longest_ms)}", good)
	drawn = picture(context, "reconnect-cut", "The connection is reset in the middle of a download", taken, -60, 260,
		"By time: the link's state, the attempts, the download with its pause, and each request; the table has the figures")
	return f"""\
### The connection is cut

A relay between `adit` and `aditd` resets their connection in the middle of the download, as firewalls and load
balancers do.

{figures(taken, [("sent again", f"{resumed['replayed']:,} B")])}
{drawn}

{excerpts.of(told, taken.zero - 5, resumed["at_ms"] + 20)}
{raw(context, "reconnect-cut", told, taken.rows)}"""


def hole(context, folder, excerpts):
	taken = take(folder, cut("hole", "nothing passes any more", 3.2), size=32 << 20)
	told, good = taken.told, whole(context, taken)
	resumed = told.first("attached", after=taken.zero, program="adit")
	context.summary("Connection silent (a black hole) during a download: nothing is lost", "–",
		f"a pause of {milliseconds(taken.download.longest_ms)}", good and taken.download.longest_ms < NOTICED_MS)
	drawn = picture(context, "reconnect-hole", "The connection goes silent during a download", taken, -400, 3000,
		"By time: the link's state, what each end hears, the attempts, the download with its pause, and each request",
		silent=("adit", "aditd"))
	return f"""\
### The connection goes silent

The relay passes nothing on any more and says nothing: a NAT that has forgotten the connection, a cable that was
pulled. No error tells of it, so the heartbeat has to. New connections get through.

{figures(taken, [("sent again by `adit`", f"{resumed['replayed']:,} B")])}
{drawn}

{excerpts.of(told, taken.zero - 5, resumed["at_ms"] + 20)}
The time until then is max(2 s, 4 round trips) from when something was last heard.
{raw(context, "reconnect-hole", told, taken.rows)}"""


RELOADS = (
	("nginx", "nginx -s reload", "nginx", proxies.Nginx, False),
	("haproxy", "HAProxy: reload", "HAProxy", proxies.HAProxyH1, False),
	("nginx-limited", "nginx -s reload", "nginx with `worker_shutdown_timeout 1s`", LimitedNginx, True),
)


def reloaded(context, folder, excerpts):
	rows, files, good = [], [], True
	for name, words, title, way, straight in RELOADS[2 if context.quick else 0:]:
		taken = take(folder / name, reload(words), way=way, straight=straight)
		told, good = taken.told, whole(context, taken) and good
		carrier = told.first("welcome", program="adit")["carrier"]
		moved = [e for e in told.events if e["event"] == "attached" and e["program"] == "adit"]
		if not moved:
			became = "nothing: it runs on in the old process"
		elif told.has("detached", taken.zero) and moved[0].get("away_ms"):
			became = f"cut by the ingress, back after {moved[0]['away_ms']} ms"
		else:
			became = "moved to a new connection before the old one ended"
		rows.append((title, carrier, became, f"{taken.count()} of {len(taken.rows)}",
			milliseconds(taken.download.longest_ms), milliseconds(taken.slowest())))
		files.append(f"- {title}. {raw(context, f'reconnect-reload-{name}', told, taken.rows)}")
	# the last one is told in full: there the ingress cuts the tunnel
	context.summary("Ingress reloaded during a download: nothing is lost", "–",
		f"{sum(int(row[3].split()[0]) for row in rows)} requests failed", good)
	cut_at = taken.told.first("detached", after=taken.zero)["at_ms"]
	drawn = picture(context, "reconnect-reload", "nginx, reloaded, cuts its old workers after a second", taken,
		-300, 2000, "By time: the link's state, its carrier, the attempts, the download with its pauses, and each request")
	return f"""\
### The ingress is reloaded

`nginx -s reload`, and HAProxy's reload, while the download and the requests run. Both keep the old process for the
connections that it has; in the last row nginx is told to cut them after a second. (There visitors come straight to
`aditd`: those of the old worker would be cut as well, by nginx.)

{table(("ingress", "carrier", "the tunnel's connection", "requests failed", "longest pause of the download",
	"longest request"), rows, words=3)}
{drawn}

{excerpts.of(taken.told, cut_at - 5, cut_at + 400)}
{"".join(files)}"""


def run(context):
	context.want("nginx", "haproxy")
	excerpts, folder, parts = Excerpts(), Path(context.work), []
	scenes = (killed, reset, hole, reloaded)
	for part in scenes:
		context.say(part.__name__)
		parts.append(part(context, folder / part.__name__, excerpts))
	return """\
Each of these is a run of both programs with `--trace`; the lines are what `adit trace` prints of the two files,
merged. [doc/reconnect.md](../reconnect.md) explains a whole transcript, and what to do about each kind of line.
""" + timeline.LEGEND + "\n\n" + "\n".join(parts)
