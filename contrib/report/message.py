"""What the report's origin and visitors send each other: HTTP/1.1 heads, and bodies that nobody has to store."""

import hashlib
import random

BLOCK = 1 << 20
# Made once: it takes longer than a megabyte through a tunnel does.
RANDOM = random.Random(1).randbytes(BLOCK)


def head_of(data):
	"""(first line, fields by their names in small letters, what follows) when a whole head is there, else None."""
	head, end, rest = bytes(data).partition(b"\r\n\r\n")
	if not end:
		return None
	first, *lines = head.decode("latin-1").split("\r\n")
	fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
	return first, fields, rest


def request(method, target, host, body=b"", length=None):
	length = len(body) if length is None else length
	return f"{method} {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n".encode() + body


def response(body=b"", length=None, status="200 OK"):
	length = len(body) if length is None else length
	head = f"HTTP/1.1 {status}\r\nContent-Type: application/octet-stream\r\nContent-Length: {length}\r\n\r\n"
	return head.encode() + body


class Content:
	"""`size` bytes that look random; each block begins with `seed` and its number: none can stand for another."""

	def __init__(self, seed, size):
		self.seed, self.size = seed, size
		self.block = bytearray(RANDOM)

	def pieces(self):
		"""One after another; each is good until the next is taken."""
		view = memoryview(self.block)
		for at in range(0, self.size, BLOCK):
			self.block[:16] = self.seed.to_bytes(8, "big") + (at // BLOCK).to_bytes(8, "big")
			yield view[:min(BLOCK, self.size - at)]

	def sha256(self):
		digest = hashlib.sha256()
		for piece in self.pieces():
			digest.update(piece)
		return digest.hexdigest()
