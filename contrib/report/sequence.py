"""sequence: who says what to whom, in the order of time, from a text file to a picture.

(graphviz places nodes, not time; mscgen writes an arrow's words across the arrow.)

	title: Words above it all
	actors: visitor, tunnel server, tunnel client, local web server
	visitor -> tunnel server: something asked or said, from the left name to the right one
	visitor <- tunnel server: an answer, dashed
	tunnel server == tunnel client: a stretch over these, such as a connection that stands
	note tunnel server: words in a box beside its line
	gap: words across all, in the middle of nothing
	# a comment
"""

import re

import svg

STEP, TOP, SIDE = 40, 88, 96
BOXES = ("#dbe6f5", "#cfe8dc", "#cfe8dc", "#f7e3a8")
SMALL = 12


class Sequence:
	"""A drawing, as context.svg() takes it. Errors name the line."""

	def __init__(self, text, width=900):
		self.width, self.title, self.actors, self.steps = width, "", [], []
		for number, line in enumerate(text.splitlines(), 1):
			line = line.strip()
			if line and not line.startswith("#"):
				self._read(line, number)

	def _read(self, line, number):
		head, colon, words = (part.strip() for part in line.partition(":"))
		if not colon:
			raise ValueError(f"line {number}: found {line!r}, wanted WHO: WORDS")
		arrow = re.fullmatch(r"(.+?) (->|<-|==) (.+)", head)
		if head == "title":
			self.title = words
		elif head == "actors":
			self.actors = [name.strip() for name in words.split(",")]
		elif head == "gap":
			self.steps.append(("gap", None, None, words))
		elif head.startswith("note "):
			self.steps.append(("note", self._actor(head[5:], number), None, words))
		elif arrow:
			left, kind, right = arrow.groups()
			self.steps.append((kind, self._actor(left, number), self._actor(right, number), words))
		else:
			raise ValueError(f"line {number}: found {head!r}, wanted title, actors, gap, note WHO, or WHO -> WHO")

	def _actor(self, name, number):
		if name not in self.actors:
			raise ValueError(f"line {number}: found {name!r}, wanted one of: {', '.join(self.actors)}")
		return self.actors.index(name)

	def _x(self, actor):
		return SIDE + actor * (self.width - 2 * SIDE) / max(1, len(self.actors) - 1)

	def svg(self):
		bottom = TOP + len(self.steps) * STEP + 10
		sheet = svg.Sheet(self.width, bottom + 12, self.title)
		for i, name in enumerate(self.actors):
			sheet.line(self._x(i), 72, self._x(i), bottom, svg.GREY)
			sheet.labelled(self._x(i) - 76, 40, 152, 32, name, BOXES[i % len(BOXES)])
		for i, step in enumerate(self.steps):
			self._draw(sheet, TOP + (i + 0.7) * STEP, *step)
		return sheet.svg()

	def _draw(self, sheet, y, kind, one, other, words):
		if kind == "gap":
			sheet.box(8, y - 20, self.width - 16, 26, svg.PAPER, svg.GREY, dash="4 3")
			sheet.text(self.width / 2, y - 3, words, anchor="middle", size=SMALL)
			return
		if kind == "note":
			wide = len(words) * SMALL * svg.LETTER + 16
			left = min(max(self._x(one) - wide / 2, 4), self.width - wide - 4)
			sheet.labelled(left, y - 20, wide, 26, words, "#fff7dd", svg.GREY, 3, SMALL)
			return
		left, right = sorted((self._x(one), self._x(other)))
		if kind == "==":
			sheet.labelled(left, y - 20, right - left, 26, words, "#cfe8dc", svg.GREY, 12, SMALL)
			return
		begin, end = (self._x(one), self._x(other)) if kind == "->" else (self._x(other), self._x(one))
		wide = len(words) * SMALL * svg.LETTER
		sheet.box((left + right - wide) / 2 - 2, y - 20, wide + 4, 16, svg.PAPER, "none")
		sheet.text((left + right) / 2, y - 7, words, anchor="middle", size=SMALL)
		sheet.line(begin, y, end, y, svg.INK, 1.4, "" if kind == "->" else "6 3", arrow=True)
