"""explain: excerpts of a transcript, with what an operator needs to know of each kind of line in them."""

import itertools

# (program, event), or the event alone: one or two sentences.
LINES = {
	("adit", "start"):
		"`adit` has been started.",
	("aditd", "start"):
		"`aditd` has been started. A second one in the middle of a trace is a restart; everything that the "
		"one before held in memory is gone.",
	"state":
		"What `adit` is about. *is detached*: the link has no carrier, and waits for one; *is waiting*: there"
		" is no link; *is up*: requests pass.",
	"dial":
		"`adit` opens a connection. *to go on*: for the link that it has; *for a new link*; *beside the "
		"silent one*: the old connection is kept meanwhile, in case it is only slow; *for a better one*: it "
		"climbs.",
	"connected":
		"TCP and TLS stand. The ALPN tells who is there: `adit/1` is `aditd` itself, anything else an "
		"ingress.",
	"rung":
		"One way to carry the link that was tried and does not work, and why: the line to look at when the "
		"tunnel is slower than it should be.",
	"carrier":
		"A way that works; in brackets why it is not a better one.",
	"attempt.failed":
		"The whole attempt has come to nothing.",
	"wait":
		"The backoff: the time until the next attempt, a random part of at most 100, 250, 500, then 800 ms, "
		"and of 8 s once the outage is older than 30 s; random, so that not all tunnels of a server come back"
		" in the same instant.",
	"attach":
		"`adit` shows that the link is its own, and says how many bytes of it have arrived. The epoch counts "
		"the attempts: a late one of an earlier epoch is refused.",
	("aditd", "attached"):
		"`aditd` has checked that, and the link goes on from exactly there. *away*: for how long there was no"
		" carrier; *sent again*: what was under way when the connection broke.",
	("adit", "attached"):
		"The same from `adit`'s side: what it had sent and `aditd` had not received is sent again. That is "
		"why nothing is lost.",
	("adit", "detached"):
		"The connection is gone, with the reason; for how long it lived, for how long nothing had come, how "
		"many requests were under way (they wait now) and how many bytes are in doubt.",
	("aditd", "detached"):
		"`aditd` has noticed as well. From here on new requests wait for their tunnel, up to 10 s.",
	"suspect":
		"Nothing has been heard for so long although an answer is due: *heartbeat unanswered* is the PING "
		"that is sent every 2 s while a tunnel is used and every 30 s when it is not. The connection is not "
		"given up yet.",
	"trusted":
		"It was only slow.",
	"hold":
		"The first visitor who came while there was no tunnel: he waits, and is not turned away.",
	"hold.over":
		"The tunnel is back, and everybody who waited has been sent on.",
	"refused":
		"`aditd` does not know this link: it is another process than the one that made it. 410 is the "
		"ordinary end of a link after a restart.",
	("adit", "close"):
		"`adit` is told so.",
	("aditd", "close"):
		"`adit` says that it leaves.",
	"lost":
		"The link is over, with the requests that were under way on it. `adit` makes a new one at once.",
	("adit", "welcome"):
		"A new link is up and its names are published.",
	("aditd", "welcome"):
		"`aditd` has taken a new link: from where, which names, whose token.",
	"drain": "The server, or `adit`, is being ended in order: links move before it goes.",
	"retired": "The server drains: what runs goes on over the old link, new requests take a new one.",
	"stop": "The program ends, as it was told to.",
	"silent": "A carrier was asked for, and then brought no byte: something on the way holds bytes back.",
	"heartbeat": "It has learnt after how much silence the network forgets a connection, and asks sooner from now on.",
	"clock": "The machine slept: the connection is looked at at once.",
	"log": "The trace itself is not complete, for the reason given.",
	"leaving":
		"The ingress has announced (GOAWAY) that it will end this connection: `adit` moves to another one "
		"before it does.",
	"climb.wait":
		"The tunnel runs, on something worse than what might be possible: when a better one is tried next.",
	"flaps":
		"The better way was lost again soon: it is left alone for long.",
}


def explain(event):
	name = event["event"]
	return LINES.get((event["program"], name)) or LINES.get(name) or LINES.get(name.partition(".")[0])


# What an attempt that fails writes, from its dial to the wait for the next.
ROUND = ("dial", "rung", "attempt.failed", "wait")
ROUNDS_SHOWN = 2


def name_of(line):
	"""The event of a transcript's line: time, program, link, event, text."""
	return line.split()[3]


def rounds(lines):
	"""The lines, cut at each dial."""
	parts = []
	for line in lines:
		if not parts or name_of(line) == "dial":
			parts.append([])
		parts[-1].append(line)
	return parts


def folded(lines):
	"""Attempts that fail one after the other, without those in the middle."""
	out, failed = [], []

	def leave_out():
		middle = failed[ROUNDS_SHOWN:-1]
		for shown in failed[:ROUNDS_SHOWN]:
			out.extend(shown)
		if middle:
			out.append(f"      ... {sum(map(len, middle))} lines: {len(middle)} more attempts")
		for shown in failed[max(ROUNDS_SHOWN, len(failed) - 1):]:
			out.extend(shown)
		failed.clear()
	for part in rounds(lines):
		attempt = list(itertools.takewhile(lambda line: name_of(line) in ROUND, part))
		if any(name_of(line) == "attempt.failed" for line in attempt):
			failed.append(attempt)
			part = part[len(attempt):]
		if part:
			leave_out()
			out.extend(part)
	leave_out()
	return out


class Excerpts:
	"""One for a section: each kind of line is explained where it comes up first."""

	def __init__(self):
		self.seen = set()

	def of(self, told, begin, end):
		"""Markdown: the transcript's lines from `begin` to `end` (ms), then what is new in them."""
		lines = folded(told.excerpt(begin, end))
		new = []
		for event in told.events:
			text = explain(event) if begin <= event["at_ms"] <= end else None
			if text and text not in self.seen:
				self.seen.add(text)
				both = (event["program"], event["event"]) in LINES
				name = f"{event['program']}: {event['event']}" if both else event["event"]
				new.append(f"- **{name}** {text}")
		block = "```\n" + "\n".join(lines or ["(nothing: neither end noticed anything)"]) + "\n```\n"
		return block + ("\n" + "\n".join(new) + "\n" if new else "")
