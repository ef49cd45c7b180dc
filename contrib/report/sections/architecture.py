"""The way of a request, before and after, as pictures made from the texts in diagrams/."""

import os
import re
import shutil

import procs
from procs import Failed
from sequence import Sequence

FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "diagrams")
DOT_SECONDS = 20


class Dot:
	"""A picture by graphviz; without its comments, which name the version that drew it."""

	def __init__(self, path):
		status, out, err = procs.run(["dot", "-Tsvg", path], DOT_SECONDS)
		if status:
			raise Failed(f"dot: {err.strip()}")
		self.text = out

	def svg(self):
		return re.sub(r"<!--.*?-->\n?", "", self.text, flags=re.DOTALL)


def sequence(context, name, alt):
	with open(os.path.join(FOLDER, name + ".seq"), encoding="utf-8") as f:
		return context.svg(f"architecture-{name}-in-time", Sequence(f.read()), alt)


def components(context, name, alt):
	return context.svg(f"architecture-{name}", Dot(os.path.join(FOLDER, f"components-{name}.dot")), alt)


def run(context):
	if not shutil.which("dot"):
		context.skip("not installed: graphviz's dot")
	before = components(context, "before", "A server with a queue, and a client that polls it and relays answers")
	after = components(context, "after", "One connection that adit dials, and on it a stream for each request")
	return f"""\
{before}

{after}

Before, the server cannot say anything: it keeps each request until the client asks for it, and the client asks every
500 ms. After, `adit` has dialled once, and `aditd` asks on that connection, as a web browser would: HTTP/2 with the
roles reversed. So a request goes on in the moment it comes, next to all others, and its body goes on as it comes.

{sequence(context, "before", "A request waits in the queue until the next poll, its whole answer is relayed")}

{sequence(context, "after", "Each request is a stream at once, and answers go back piece by piece")}

What makes a cut connection harmless is between the two: the link counts the bytes of the session in each direction,
keeps what is not acknowledged, and goes on from there over the next connection, whatever that is. The session above
it, with its requests, notices a pause.

{sequence(context, "resume", "After a cut both ends send again what the other has not received")}

The whole picture, layer by layer and function by function, is [doc/map.md](../map.md); the bytes are in
[doc/wire.md](../wire.md).
"""
