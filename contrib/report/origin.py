#!/usr/bin/env python3
"""The origin of the section `load`: python3 origin.py PORT. On 127.0.0.1, until it is ended.

POST /echo              answers with the body
POST /together?N        the same, but with nobody's before N requests wait for their answers
GET  /content?SEED&N    N bytes of message.Content
PUT  /digest            the SHA-256 of the body, in hex
"""

import asyncio
import hashlib
import resource
import socket
import sys

from message import BLOCK, Content, head_of, response

# A request that waits for others which never come is answered all the same.
TOGETHER_SECONDS = 20
HEAD_MAX = 65536


class Gathering:
	"""Requests that wait for each other."""

	def __init__(self):
		self.waiting, self.event = 0, asyncio.Event()

	async def join(self, wanted):
		"""True when so many were here at once."""
		self.waiting += 1
		event = self.event
		if self.waiting >= wanted:
			event.set()
			self.waiting, self.event = 0, asyncio.Event()
			return True
		try:
			await asyncio.wait_for(event.wait(), TOGETHER_SECONDS)
			return True
		except asyncio.TimeoutError:
			self.waiting -= 1
			return False


class Connection:
	"""One connection's requests, one after another."""

	def __init__(self, loop, sock, gathering):
		self.loop, self.sock, self.gathering = loop, sock, gathering
		self.buffer = None  # of the size of a block, for those who upload

	async def head(self, data):
		while (found := head_of(data)) is None:
			more = await self.loop.sock_recv(self.sock, HEAD_MAX)
			if not more or len(data) > HEAD_MAX:
				return None
			data += more
		return found

	async def body(self, begun, length):
		while len(begun) < length:
			more = await self.loop.sock_recv(self.sock, HEAD_MAX)
			if not more:
				return None
			begun += more
		return begun

	async def digest(self, begun, length):
		sha, left = hashlib.sha256(begun), length - len(begun)
		self.buffer = self.buffer or bytearray(BLOCK)
		view = memoryview(self.buffer)
		while left:
			got = await self.loop.sock_recv_into(self.sock, view[:min(left, BLOCK)])
			if not got:
				return None
			sha.update(view[:got])
			left -= got
		return sha.hexdigest().encode()

	async def send(self, data):
		await self.loop.sock_sendall(self.sock, data)

	async def answer(self, method, path, query, begun, length):
		"""What follows the request, or None when its sender is gone."""
		if method == "PUT":
			sha = await self.digest(begun, length)
			if sha:
				await self.send(response(sha))
			return b"" if sha else None
		body = await self.body(begun, length)
		if body is None:
			return None
		if path == "/content":
			seed, size = map(int, query.split("&"))
			await self.send(response(length=size))
			for piece in Content(seed, size).pieces():
				await self.send(piece)
		elif path == "/together" and not await self.gathering.join(int(query)):
			await self.send(response(b"the others did not come\n", status="503 Service Unavailable"))
		else:
			await self.send(response(body[:length]))
		return body[length:]

	async def serve(self):
		rest = b""
		try:
			while rest is not None and (found := await self.head(rest)):
				first, fields, begun = found
				method, target, _ = first.split(" ")
				path, _, query = target.partition("?")
				rest = await self.answer(method, path, query, begun, int(fields.get("content-length", 0)))
		except OSError:
			pass
		finally:
			self.sock.close()


async def main(port):
	loop, gathering, tasks = asyncio.get_running_loop(), Gathering(), set()
	listener = socket.create_server(("127.0.0.1", port), backlog=4096)
	listener.setblocking(False)
	while True:
		sock, _ = await loop.sock_accept(listener)
		sock.setblocking(False)
		sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
		task = loop.create_task(Connection(loop, sock, gathering).serve())
		tasks.add(task)
		task.add_done_callback(tasks.discard)


if __name__ == "__main__":
	most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
	resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
	asyncio.run(main(int(sys.argv[1])))
