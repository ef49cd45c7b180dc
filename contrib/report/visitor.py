#!/usr/bin/env python3
"""The report's visitors, each run as a process of its own; what it measured is printed as JSON.

python3 visitor.py trips PORT HOST COUNT BEGIN PACE SPREAD SEED   COUNT round trips on one connection
python3 visitor.py crowd PORT HOST VISITORS EACH TOGETHER BYTES   as many connections, EACH requests on each
python3 visitor.py down PORT HOST SEED BYTES                      one body, compared by its SHA-256
python3 visitor.py up PORT HOST SEED BYTES                        the same, towards the origin
"""

import asyncio
import hashlib
import json
import random
import resource
import socket
import sys
import time

from message import BLOCK, Content, head_of, request

ANSWER_SECONDS = 30
BODY_SECONDS = 300
# Less than visitors.py waits: who has no answer by then is counted, and the others' answers are not lost.
CROWD_SECONDS = 100
PIECE = 65536


class Wrong(Exception):
	"""An answer that is not the right one."""


def connect(port, seconds):
	sock = socket.create_connection(("127.0.0.1", port), seconds)
	sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
	return sock


def good(first):
	if first.split(" ")[1:2] != ["200"]:
		raise Wrong(f"answered with {first!r}")


def receive_head(sock):
	"""(body's length, what came of it already)"""
	data = b""
	while (found := head_of(data)) is None:
		more = sock.recv(PIECE)
		if not more:
			raise Wrong("the connection was closed before an answer")
		data += more
	good(found[0])
	return int(found[1]["content-length"]), found[2]


def receive(sock):
	length, body = receive_head(sock)
	while len(body) < length:
		more = sock.recv(PIECE)
		if not more:
			raise Wrong("the connection was closed within an answer")
		body += more
	return body


def trips(port, host, count, begin, pace, spread, seed):
	"""Nanoseconds of each round trip. The n-th begins n × `pace` seconds after `begin` (of the monotonic clock), or
	after the one before it, and so much later as chance has it, up to `spread` seconds."""
	chance, times = random.Random(seed), []
	with connect(port, ANSWER_SECONDS) as sock:
		for n in range(-1, count):
			text = f"{seed}-{n}"
			data = request("GET", f"/echo?text={text}", host)
			time.sleep(max(0, begin + n * pace - time.monotonic()) + chance.random() * spread)
			start = time.perf_counter_ns()
			sock.sendall(data)
			body = receive(sock)
			took = time.perf_counter_ns() - start
			if body != text.encode() + b"\n":
				raise Wrong(f"asked for the echo of {text!r}, found {body[:40]!r}")
			if n >= 0:  # the first has made connections on the way
				times.append(took)
	return times


async def member(loop, port, host, number, each, path, size, ready, start):
	"""One of a crowd: its requests, each with a body that nobody else has."""
	chance, times = random.Random(number), []
	try:
		sock = connect(port, ANSWER_SECONDS)
	finally:
		ready()
	try:
		sock.setblocking(False)
		await start.wait()
		for _ in range(each):
			body = chance.randbytes(size)
			begin, data = time.perf_counter_ns(), b""
			await loop.sock_sendall(sock, request("POST", path, host, body))
			while (found := head_of(data)) is None or len(found[2]) < int(found[1]["content-length"]):
				more = await loop.sock_recv(sock, PIECE)
				if not more:
					raise Wrong("the connection was closed before the whole answer")
				data += more
			times.append(time.perf_counter_ns() - begin)
			good(found[0])
			if found[2] != body:
				raise Wrong("the answer is not what was sent")
	finally:
		sock.close()
	return times


async def gather(port, host, visitors, each, together, size):
	loop, start = asyncio.get_running_loop(), asyncio.Event()
	connected, begin = 0, time.perf_counter_ns()
	path = f"/together?{visitors}" if together else "/echo"

	def ready():
		nonlocal connected, begin
		connected += 1
		if connected == visitors:
			begin = time.perf_counter_ns()
			start.set()
	tasks = [loop.create_task(member(loop, port, host, n, each, path, size, ready, start)) for n in range(visitors)]
	_, late = await asyncio.wait(tasks, timeout=CROWD_SECONDS)
	for task in late:
		task.cancel()
	times = await asyncio.gather(*tasks, return_exceptions=True)
	seconds = (time.perf_counter_ns() - begin) / 1e9
	late = f"no answer within {CROWD_SECONDS} s"
	wrong = [late if isinstance(t, asyncio.CancelledError) else f"{type(t).__name__}: {t}"
		for t in times if isinstance(t, BaseException)]
	return {"seconds": seconds, "times": [t for ts in times if isinstance(ts, list) for t in ts], "wrong": wrong}


def crowd(port, host, visitors, each, together, size):
	"""All connect, then all send. `times` has the nanoseconds of each right answer, `wrong` why others failed."""
	most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
	resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
	return asyncio.run(gather(port, host, visitors, each, together, size))


def judged(wanted, found, size, begin, end):
	if wanted != found:
		raise Wrong(f"SHA-256 wanted {wanted}, found {found}")
	return {"bytes": size, "seconds": end - begin, "sha256": found}


def down(port, host, seed, size):
	wanted, sha, buffer = Content(seed, size).sha256(), hashlib.sha256(), bytearray(BLOCK)
	view = memoryview(buffer)
	with connect(port, ANSWER_SECONDS) as sock:
		begin = time.perf_counter()
		sock.sendall(request("GET", f"/content?{seed}&{size}", host))
		length, piece = receive_head(sock)
		if length != size:
			raise Wrong(f"asked for {size} bytes, found {length}")
		sha.update(piece)
		left = size - len(piece)
		while left and time.perf_counter() - begin < BODY_SECONDS:
			got = sock.recv_into(view[:min(left, BLOCK)])
			if not got:
				break
			sha.update(view[:got])
			left -= got
		if left:
			raise Wrong(f"{left} of {size} bytes did not come")
		return judged(wanted, sha.hexdigest(), size, begin, time.perf_counter())


def up(port, host, seed, size):
	content = Content(seed, size)
	wanted = content.sha256()
	with connect(port, BODY_SECONDS) as sock:
		begin = time.perf_counter()
		sock.sendall(request("PUT", "/digest", host, length=size))
		for piece in content.pieces():
			sock.sendall(piece)
		found = receive(sock).decode()
		return judged(wanted, found, size, begin, time.perf_counter())


def main(mode, port, host, *numbers):
	run, kinds = {"trips": (trips, (int, float, float, float, int)), "crowd": (crowd, (int,) * 4),
		"down": (down, (int, int)), "up": (up, (int, int))}[mode]
	print(json.dumps(run(int(port), host, *(kind(n) for kind, n in zip(kinds, numbers)))))


if __name__ == "__main__":
	try:
		main(*sys.argv[1:])
	except (Wrong, OSError) as e:
		sys.exit(f"visitor: {e}")
