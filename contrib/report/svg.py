"""Pictures as small SVG files: a sheet to draw on, a plot with axes, horizontal bars.

All have a background of their own, so that they can be read on light pages and on dark ones; colours are those of
Okabe and Ito, which people who see few colours can tell apart too, and lines differ in their dashes as well.
"""

import math
from xml.sax.saxutils import escape

PAPER, INK, GREY, FAINT = "#ffffff", "#222222", "#666666", "#e2e2e2"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b07d00", "#56a0d3", "#222222", "#8c6bb1")
DASHES = ("", "7 3", "2 3", "9 3 2 3", "", "7 3", "2 3", "9 3 2 3")
WIDTH = 820
FONT = 13
# How wide a character of the font is, in its sizes, near enough to place things by.
LETTER = 0.56


def number(value):
	"""As a label, three digits that count: 0.5, 1.24, 20, 1 000."""
	if value == 0:
		return "0"
	decimals = max(0, 2 - math.floor(math.log10(abs(value))))
	text = f"{value:,.{decimals}f}".replace(",", "\u202f")
	return text.rstrip("0").rstrip(".") if decimals else text


class Sheet:
	"""A drawing: shapes by their coordinates in pixels, from the upper left."""

	def __init__(self, width, height, title=None):
		self.width, self.height = width, height
		self.parts = []
		if title:
			self.text(width / 2, 24, title, anchor="middle", size=16, bold=True)

	def add(self, tag, content=None, **attributes):
		given = {k.replace("_", "-"): self._value(v) for k, v in attributes.items() if v not in (None, "")}
		words = "".join(f' {k}="{v}"' for k, v in given.items())
		self.parts.append(f"<{tag}{words}/>" if content is None else f"<{tag}{words}>{content}</{tag}>")

	@staticmethod
	def _value(v):
		return f"{v:.1f}".removesuffix(".0") if isinstance(v, float) else escape(str(v), {'"': "&quot;"})

	def text(self, x, y, text, anchor="start", size=FONT, colour=INK, bold=False, turned=False, halo=None):
		"""anchor: start, middle or end; several lines are told apart by newlines; `halo` is a colour to stand out on."""
		for i, line in enumerate(text.split("\n")):
			at = float(y + i * size * 1.3)
			self.add("text", escape(line), x=float(x), y=at, text_anchor=None if anchor == "start" else anchor,
				font_size=None if size == FONT else size, fill=None if colour == INK else colour,
				font_weight="bold" if bold else None, stroke=halo, stroke_width=halo and 4,
				paint_order=halo and "stroke", transform=f"rotate(-90 {x:.1f} {at:.1f})" if turned else None)

	def line(self, x1, y1, x2, y2, colour=INK, width=1, dash="", arrow=False):
		self.add("line", x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2), stroke=colour, stroke_width=width,
			stroke_dasharray=dash, marker_end="url(#arrow)" if arrow else None)

	def path(self, points, colour=INK, width=1.8, dash=""):
		self.add("path", d="M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points), fill="none", stroke=colour,
			stroke_width=width, stroke_dasharray=dash, stroke_linejoin="round")

	def box(self, x, y, width, height, fill=PAPER, colour=INK, rounded=0, dash="", opacity=None):
		self.add("rect", x=float(x), y=float(y), width=float(width), height=float(height), fill=fill, stroke=colour,
			rx=rounded or None, stroke_dasharray=dash, fill_opacity=opacity)

	def dot(self, x, y, colour, radius=2.5, opacity=None):
		self.add("circle", cx=float(x), cy=float(y), r=radius, fill=colour, fill_opacity=opacity)

	def labelled(self, x, y, width, height, label, fill=PAPER, colour=INK, rounded=5, size=FONT):
		"""A box with its label in the middle, which may have several lines."""
		self.box(x, y, width, height, fill, colour, rounded)
		lines = label.count("\n")
		middle = y + height / 2 + size * 0.36 - lines * size * 0.65
		self.text(x + width / 2, middle, label, anchor="middle", size=size)

	def svg(self):
		w, h = f"{self.width:.0f}", f"{self.height:.0f}"
		head = (f'<svg xmlns="http://www.w3.org/2000/svg" width="{w}" height="{h}" viewBox="0 0 {w} {h}" '
			f'font-family="DejaVu Sans, Verdana, sans-serif" font-size="{FONT}" fill="{INK}">')
		arrow = (f'<defs><marker id="arrow" markerWidth="9" markerHeight="8" refX="8" refY="4" orient="auto" '
			f'markerUnits="userSpaceOnUse"><path d="M0 0L9 4L0 8z" fill="{INK}"/></marker></defs>')
		paper = f'<rect width="{w}" height="{h}" fill="{PAPER}"/>'
		return "\n".join([head, arrow, paper, *self.parts, "</svg>", ""])


class Axis:
	"""From `low` to `high`, linear or logarithmic; `ticks` are chosen when there are none."""

	def __init__(self, label, low, high, log=False, ticks=None):
		self.label, self.low, self.high, self.log = label, low, high, log
		self.ticks = ticks if ticks is not None else self._ticks()

	@classmethod
	def around(cls, label, values, log=False):
		"""Wide enough for all the values; a linear one begins at 0."""
		values = [v for v in values if v > 0 or not log] or [1]
		most = max(max(values), 1e-9)
		if log:
			tens = 10.0 ** math.floor(math.log10(min(values)))
			low = max(s * tens for s in (1, 2, 5) if s * tens <= min(values))
			return cls(label, low, 10.0 ** math.ceil(math.log10(most * 1.001)), True)
		step = cls._step(most)
		return cls(label, 0, math.ceil(most / step) * step)

	@staticmethod
	def _step(span):
		"""Of 1, 2 and 5, ten times as often as need be: what divides the span in four to ten."""
		tens = 10 ** math.floor(math.log10(span))
		return next(s * tens for s in (0.1, 0.2, 0.5, 1) if span / (s * tens) <= 10)

	def _ticks(self):
		if self.log:
			tens = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
			return [t for t in (10.0 ** n for n in tens) if self.low <= t * 1.0001 and t <= self.high * 1.0001]
		step = self._step(self.high - self.low)
		first = math.ceil(self.low / step - 1e-9)
		return [n * step for n in range(first, math.floor(self.high / step + 1e-9) + 1)]

	def share(self, value):
		"""Where it stands: 0 at the low end, 1 at the high one; what is beyond is at the end."""
		if self.log:
			value = max(value, self.low * 1e-6)
			part = math.log(value / self.low) / math.log(self.high / self.low)
		else:
			part = (value - self.low) / (self.high - self.low)
		return min(1.0, max(0.0, part))


class Plot:
	"""Points by two axes; what is drawn with a label stands in the legend, in the order it was drawn."""

	LEFT, TOP, BOTTOM = 64, 44, 52

	def __init__(self, title, x, y, height=380, width=WIDTH):
		self.title, self.x, self.y = title, x, y
		self.width, self.height = width, height
		self.drawn, self.labels, self.marks = [], [], []

	def _style(self, label, colour, dash=""):
		"""Its colour and dash; the same label has the same."""
		if label in [name for name, _, _ in self.labels]:
			return next((c, d) for name, c, d in self.labels if name == label)
		at = len(self.labels) % len(COLOURS)
		style = (colour or COLOURS[at], DASHES[at] if dash is None else dash)
		if label:
			self.labels.append((label, *style))
		return style

	def line(self, points, label=None, colour=None, dash=None):
		colour, dash = self._style(label, colour, dash)
		self.drawn.append(lambda sheet, at: sheet.path([at(x, y) for x, y in points], colour, dash=dash))

	def steps(self, points, label=None, colour=None, dash=None):
		"""Each value holds until the next point."""
		corners = points[:1]
		for (_, before), (x, y) in zip(points, points[1:]):
			corners += [(x, before), (x, y)]
		self.line(corners, label, colour, dash)

	def dots(self, points, label=None, colour=None, radius=2.5, opacity=None):
		colour, _ = self._style(label, colour)
		self.drawn.append(lambda sheet, at: [sheet.dot(*at(x, y), colour, radius, opacity) for x, y in points])

	def band(self, begin, end, label=None, colour="#f5d9c4"):
		"""A stretch of the x axis, such as an outage."""
		def draw(sheet, at):
			left, right = at(begin, self.y.low)[0], at(end, self.y.low)[0]
			sheet.box(left, self.TOP, right - left, self.height - self.TOP - self.BOTTOM, colour, "none")
			if label:
				sheet.text(left + 4, self.TOP + 14, label, colour=GREY, size=11)
		self.drawn.insert(0, draw)

	def mark(self, x, label):
		"""A vertical line with its words at the top."""
		self.marks.append((x, label))

	def svg(self):
		legend = 40 + max((len(name) for name, _, _ in self.labels), default=-5) * FONT * LETTER
		right = self.width - 16 - legend if self.labels else self.width - 20
		bottom = self.height - self.BOTTOM
		sheet = Sheet(self.width, self.height, self.title)

		def at(x, y):
			return (self.LEFT + self.x.share(x) * (right - self.LEFT), bottom - self.y.share(y) * (bottom - self.TOP))
		self._grid(sheet, at, right, bottom)
		for draw in self.drawn:
			draw(sheet, at)
		for x, label in self.marks:
			across = at(x, self.y.low)[0]
			sheet.line(across, self.TOP, across, bottom, GREY, dash="4 3")
			before = across > (self.LEFT + right) / 2
			sheet.text(across + (-4 if before else 4), self.TOP + 12, label, anchor="end" if before else "start",
				colour=GREY, size=11)
		for i, (name, colour, dash) in enumerate(self.labels):
			down = self.TOP + 10 + i * 20
			sheet.line(right + 14, down, right + 40, down, colour, 3, dash)
			sheet.text(right + 46, down + 4, name)
		return sheet.svg()

	def _grid(self, sheet, at, right, bottom):
		for tick in self.x.ticks:
			across = at(tick, self.y.low)[0]
			sheet.line(across, self.TOP, across, bottom, FAINT)
			sheet.text(across, bottom + 18, number(tick), anchor="middle", colour=GREY)
		for tick in self.y.ticks:
			down = at(self.x.low, tick)[1]
			sheet.line(self.LEFT, down, right, down, FAINT)
			sheet.text(self.LEFT - 6, down + 4, number(tick), anchor="end", colour=GREY)
		sheet.line(self.LEFT, bottom, right, bottom)
		sheet.line(self.LEFT, self.TOP, self.LEFT, bottom)
		sheet.text((self.LEFT + right) / 2, self.height - 12, self.x.label, anchor="middle")
		sheet.text(16, (self.TOP + bottom) / 2, self.y.label, anchor="middle", turned=True)


class Bars:
	"""Horizontal bars in groups: `values[group][series]`, None where there is none, which is a dash. Each has its value
	beside it."""

	ROW, GAP, TOP, BOTTOM = 18, 12, 64, 46

	def __init__(self, title, label, groups, series, values, log=False, width=WIDTH):
		self.title, self.groups, self.series, self.values, self.width = title, groups, series, values, width
		known = [v for row in values for v in row if v is not None]
		# The shortest bar of a logarithmic axis is still one.
		self.axis = Axis.around(label, [v / 1.5 for v in known if log] + known, log)

	def svg(self):
		left = 24 + max(len(g) for g in self.groups) * FONT * LETTER
		right = self.width - 70
		step = len(self.series) * self.ROW + self.GAP
		bottom = self.TOP + len(self.groups) * step
		sheet = Sheet(self.width, bottom + self.BOTTOM, self.title)
		for tick in self.axis.ticks:
			across = left + self.axis.share(tick) * (right - left)
			sheet.line(across, self.TOP - 4, across, bottom, FAINT)
			sheet.text(across, bottom + 16, number(tick), anchor="middle", colour=GREY)
		sheet.text((left + right) / 2, bottom + 36, self.axis.label, anchor="middle")
		across = left
		for i, name in enumerate(self.series if len(self.series) > 1 else ()):
			sheet.box(across, 38, 12, 12, COLOURS[i], "none")
			sheet.text(across + 17, 49, name)
			across += 40 + len(name) * FONT * LETTER
		for g, group in enumerate(self.groups):
			top = self.TOP + g * step + self.GAP / 2
			sheet.text(left - 8, top + len(self.series) * self.ROW / 2 + 5, group, anchor="end")
			for i, value in enumerate(self.values[g]):
				if value is None:
					sheet.text(left + 5, top + i * self.ROW + 13, "–", size=11)
					continue
				long = self.axis.share(value) * (right - left)
				sheet.box(left, top + i * self.ROW + 1, long, self.ROW - 3, COLOURS[i], "none")
				sheet.text(left + long + 5, top + i * self.ROW + 13, number(value), size=11)
		sheet.line(left, self.TOP - 4, left, bottom)
		return sheet.svg()
