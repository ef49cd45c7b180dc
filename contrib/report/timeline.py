"""timeline: a stretch of a trace as a picture: lanes of bars and points above one axis of time."""

import math

import svg

LEFT, RIGHT, TOP = 118, 18, 64
BAR, GAP = 24, 10
POINTS = 110  # the height of a lane of points
SMALL = 11
GOOD, BAD = svg.COLOURS[0], svg.COLOURS[1]

# Pale, so that dark words can stand on them.
FILLS = {"up": "#cfe8dc", "detached": "#f5c9ad", "waiting": "#f5c9ad", "dialling": "#dbe6f5", "greeting": "#dbe6f5",
	"idle": "#eeeeee", "direct": "#cfe8dc", "ws-h1": "#cfe8dc", "ws-h2": "#cfe8dc", "poll": "#f7e3a8",
	"silent": "#f5c9ad", "failed": "#f5c9ad", "stood": "#cfe8dc", "wait": "#eeeeee", "runs": "#dbe6f5"}
# What is too short for a bar, and must be seen all the same.
STROKES = {"failed": svg.COLOURS[1], "stood": svg.COLOURS[2]}
LEGEND = """In the pictures grey bars are waits of the backoff, an orange stroke is an attempt that failed, a
green one an attempt that stood. Orange is also a link without a carrier, and a pause of the download. Each dot is a
request: when it came, and how long it took; a cross is one that failed."""


class Timeline:
	"""From `begin` to `end`, milliseconds of a trace; the axis counts from `zero`."""

	def __init__(self, title, begin, end, zero, width=900):
		self.title, self.begin, self.end, self.zero, self.width = title, begin, end, zero, width
		self.lanes, self.marks, self.words = [], [], []

	def bars(self, label, bars):
		"""A lane: (from, to, kind of FILLS, words) each."""
		self.lanes.append((label, BAR, lambda sheet, top: self._bars(sheet, top, bars)))

	def points(self, label, rows):
		"""A lane: (when, milliseconds it took, whether it was right) each; by a logarithmic scale."""
		self.lanes.append((label, POINTS, lambda sheet, top: self._points(sheet, top, rows)))

	def mark(self, at, words):
		self.marks.append((at, words))

	def x(self, at):
		share = (min(max(at, self.begin), self.end) - self.begin) / (self.end - self.begin)
		return LEFT + share * (self.width - LEFT - RIGHT)

	def _bars(self, sheet, top, bars):
		for begin, end, kind, words in bars:
			if end <= self.begin or begin >= self.end:
				continue
			left, right = self.x(begin), self.x(end)
			if kind in STROKES and right - left < 4:
				sheet.line(left, top - 2, left, top + BAR + 2, STROKES[kind], 3)
				continue
			sheet.box(left, top, max(right - left, 1.5), BAR, FILLS[kind], svg.GREY)
			if len(words) * SMALL * svg.LETTER + 10 <= right - left:
				self.words.append(((left + right) / 2, top + 16, words, FILLS[kind]))

	def _points(self, sheet, top, rows):
		rows = [row for row in rows if self.begin <= row[0] <= self.end]
		most = max([row[1] for row in rows if row[2]] + [100])
		axis = svg.Axis("", 0.5, 10 ** math.ceil(math.log10(most)), log=True, ticks=())

		def y(value):
			return top + POINTS - axis.share(value) * POINTS
		sheet.box(LEFT, top, self.width - LEFT - RIGHT, POINTS, "none", svg.FAINT)
		for power in range(0, round(math.log10(axis.high)) + 1):
			sheet.line(LEFT, y(10 ** power), self.width - RIGHT, y(10 ** power), svg.FAINT)
			words = f"{10 ** power} ms" if power < 3 else f"{10 ** (power - 3)} s"
			sheet.text(LEFT - 6, y(10 ** power) + 4, words, anchor="end", size=SMALL, colour=svg.GREY)
		for at, took, right in rows:
			if right:
				sheet.dot(self.x(at), y(took), GOOD, 2)
			else:
				self._cross(sheet, self.x(at), top + POINTS - 6)

	@staticmethod
	def _cross(sheet, x, y):
		for turn in (3, -3):
			sheet.line(x - 3, y - turn, x + 3, y + turn, BAD, 1.5)

	def _axis(self, sheet, bottom):
		span = (self.end - self.begin) / 1000
		axis = svg.Axis("", (self.begin - self.zero) / 1000, (self.begin - self.zero) / 1000 + span)
		for tick in axis.ticks:
			across = self.x(self.zero + tick * 1000)
			sheet.line(across, TOP - 6, across, bottom, svg.FAINT)
			words = f"{tick:.0f} s" if span > 4 else f"{tick * 1000:.0f} ms" if span < 1.5 else f"{tick:.1f} s"
			sheet.text(across, bottom + 16, words, anchor="middle", size=SMALL, colour=svg.GREY)

	def svg(self):
		self.words = []  # of the bars: above the marks, which go through bars
		bottom = TOP + sum(height + GAP for _, height, _ in self.lanes)
		sheet = svg.Sheet(self.width, bottom + 28, self.title)
		self._axis(sheet, bottom)
		top = TOP
		for label, height, draw in self.lanes:
			lines = label.count("\n")
			middle = top + 16 - lines * 8 if height == BAR else top + 12
			across, anchor = (LEFT - 8, "end") if height == BAR else (8, "start")
			sheet.text(across, middle, label, anchor=anchor, size=12)
			draw(sheet, top)
			top += height + GAP
		for i, (at, words) in enumerate(sorted(self.marks)):
			across, up = self.x(at), 42 + 14 * (i % 2)
			sheet.line(across, up + 4, across, bottom, svg.INK, dash="4 3")
			beyond = across + len(words) * SMALL * svg.LETTER > self.width - RIGHT
			sheet.text(across - 3 if beyond else across + 3, up + 2, words, anchor="end" if beyond else "start", size=SMALL)
		for x, y, words, fill in self.words:
			sheet.text(x, y, words, anchor="middle", size=SMALL, halo=fill)
		return sheet.svg()


# ---- lanes from a trace (scene.Told)

def states(told):
	"""What adit says of its link."""
	rows = [(e["at_ms"], e["state"]) for e in told.events if e["event"] == "state" and e["program"] == "adit"]
	ends = [at for at, _ in rows[1:]] + [told.events[-1]["at_ms"]]
	return [(at, end, state, state) for (at, state), end in zip(rows, ends)]


def carriers(told):
	"""The carrier that the link runs over, as adit knows it."""
	bars, now = [], None
	for e in told.events:
		if e["program"] != "adit" or e["event"] not in ("welcome", "attached", "detached", "lost"):
			continue
		if now:
			bars.append((now[0], e["at_ms"], now[1], now[1]))
		now = (e["at_ms"], e["carrier"]) if e["event"] in ("welcome", "attached") else None
	return bars


def attempts(told):
	"""What adit tries: each dial until it has come to something, and the waits between."""
	bars, begun = [], None
	for e in told.events:
		if e["program"] != "adit":
			continue
		if e["event"] == "dial":
			begun = e["at_ms"]
		elif e["event"] in ("attempt.failed", "welcome", "attached", "close") and begun is not None:
			good = e["event"] in ("welcome", "attached")
			bars.append((begun, e["at_ms"], "stood" if good else "failed", ""))
			begun = None
		elif e["event"] == "wait":
			bars.append((e["at_ms"], e["at_ms"] + e["ms"], "wait", f"{e['ms']} ms"))
	return bars


def silences(told, program):
	"""For how long nothing was heard when that end became suspicious, and until that was over."""
	bars, begun = [], None
	for e in told.events:
		if e["program"] != program:
			continue
		if e["event"] == "suspect":
			begun = e["at_ms"] - e["silent_ms"]
		elif e["event"] in ("trusted", "attached", "detached") and begun is not None:
			bars.append((begun, e["at_ms"], "silent", f"silent for {(e['at_ms'] - begun) / 1000:.1f} s"))
			begun = None
	return bars


def download(told, one):
	"""A scene.Download: bars where bytes came, with its pauses between."""
	bars, at = [], one.arrivals[0]
	for begin, end in one.pauses:
		bars.append((told.at(at), told.at(begin), "runs", "bytes come"))
		bars.append((told.at(begin), told.at(end), "silent", f"pause {(end - begin) * 1000:.0f} ms"))
		at = end
	bars.append((told.at(at), told.at(one.arrivals[-1]), "runs", "bytes come"))
	if not one.whole:
		bars.append((told.at(one.arrivals[-1]), told.at(one.arrivals[-1]) + 1, "failed", ""))
	return bars


def visits(told, rows):
	return [(told.at(when), took, what == 200) for when, took, what in rows]
