"""The ways that sections compare: none, adit over each carrier, and the polling tunnel."""

import subjects


class Way:
	"""`kind` is a Subject of contrib/bench/subjects.py; `label` is what tables and pictures call it."""

	def __init__(self, kind, label, words):
		self.kind, self.label, self.words = kind, label, words


NONE = Way(subjects.Direct, "no tunnel", "the origin itself, nothing between")
DIRECT = Way(subjects.Adit, "direct", "adit's own protocol over TLS, no ingress")
WS_H2 = Way(subjects.over("ws-h2", "haproxy-h2"), "ws-h2", "a WebSocket over HTTP/2, through HAProxy")
WS_H1 = Way(subjects.over("ws-h1", "nginx"), "ws-h1", "a WebSocket over HTTP/1.1, through nginx")
POLL = Way(subjects.over("poll", "nginx"), "poll, held",
	"plain requests that the server holds until it has something to say, through nginx")
OLD = Way(subjects.over("poll", "nginx", "poll-500ms", "poll_interval: 500ms\npoll_hold: 0\n"), "old: poll, 500 ms",
	"the polling tunnel: a request every 500 ms, answered at once, through nginx")

ADITS = (DIRECT, WS_H2, WS_H1, POLL)
ALL = (NONE, *ADITS, OLD)


def described():
	"""A Markdown list of them."""
	return "\n".join(f"- **{way.label}**: {way.words}" for way in ALL)
