"""What is measured: each row is one load on one subject, and gives figures by metric name (see report.METRICS)."""

import time

import load
import measure
import outages
from outages import Skipped
from procs import Failed
from subjects import host_of

STALLED_VISITORS = 100
STALLED_GETS = 30
STALLED_SECONDS = 1


class Middle:
	"""CPU of the programs in the middle between two points: the tunnel's, and an ingress's apart."""

	def __init__(self, subject):
		self.sides = {prefix: [p.pid for p in programs]
			for prefix, programs in (("", subject.tunnel()), ("ingress_", subject.ingresses)) if programs}
		self.before = self._now()

	def _now(self):
		return {prefix: measure.cpu_seconds(pids) for prefix, pids in self.sides.items()}

	def spent(self):
		"""prefix of the metric → seconds; empty for a subject without any program."""
		if self.sides:
			time.sleep(0.05)  # what was received last is still being acknowledged
		now = self._now()
		return {prefix: now[prefix] - self.before[prefix] for prefix in self.sides}


def _cpu(figures, spent, name, scale):
	for prefix, seconds in spent.items():
		figures[prefix + name] = seconds * scale


def _errors(figures, result):
	figures["errors"] = sum(result["errors"].values())
	return figures


def gets(connections):
	def row(bench, subject, seconds):
		middle = Middle(subject)
		r = load.wrk(bench.tools, subject.port, "/13b", connections, seconds)
		cpu = middle.spent()
		figures = {"requests_per_s": r["requests"] / r["seconds"], "p50_us": r["p50_us"], "p99_us": r["p99_us"]}
		_cpu(figures, cpu, "cpu_us_per_request", 1e6 / r["requests"])
		return _errors(figures, r)
	return row


def _want(bench, *tools):
	gone = [t for t in tools if not bench.tools[t]]
	if gone:
		raise Skipped(f"not installed: {', '.join(gone)}")


def _h2load(bench, subject, *load_arguments, **more):
	middle = Middle(subject)
	r = load.h2load(bench.tools, *load_arguments, **more)
	cpu = middle.spent()
	figures = {"requests_per_s": r["requests"] / r["seconds"], "mean_us": r["mean_us"]}
	_cpu(figures, cpu, "cpu_us_per_request", 1e6 / r["requests"])
	return _errors(figures, r)


def h2_gets(bench, subject, seconds):
	_want(bench, "h2load")
	if not load.speaks_h2(bench.tools, subject.h2_port):
		raise Skipped("does not answer HTTP/2 (prior knowledge) from visitors")
	return _h2load(bench, subject, subject.h2_port, "/13b", 100, seconds)


def h2c_gets(bench, subject, seconds):
	_want(bench, "h2load")
	port = subject.h2c_port("h2c")
	if not load.speaks_h2(bench.tools, port, host_of("h2c")):
		raise Failed("no answer to an HTTP/2 GET from the HTTP/2 origin")
	return _h2load(bench, subject, port, "/13b", 100, seconds, host=host_of("h2c"))


def calls(streams):
	def row(bench, subject, seconds):
		_want(bench, "h2load", "nghttp", "nghttpd")
		port, message = subject.h2c_port("grpc"), bench.callee.message
		if not load.answers_calls(bench.tools, port, host_of("grpc"), message):
			raise Failed("a unary call was not answered with its message and trailers")
		return _h2load(bench, subject, port, load.CALL_PATH, streams, seconds, host=host_of("grpc"), call=message)
	return row


def megabytes(bench, subject, seconds):
	middle = Middle(subject)
	r = load.wrk(bench.tools, subject.port, "/1m", 10, seconds)
	cpu = middle.spent()
	figures = {"mb_per_s": r["bytes"] / r["seconds"] / load.MB, "p50_us": r["p50_us"], "p99_us": r["p99_us"]}
	# wrk's bytes, not its finished requests: ten bodies were under way when it stopped.
	_cpu(figures, cpu, "cpu_s_per_gb", load.GB / r["bytes"])
	return _errors(figures, r)


def _transfer(subject, size, go):
	middle = Middle(subject)
	moved, seconds = go()
	cpu = middle.spent()
	figures = {"mb_per_s": moved / seconds / load.MB}
	if moved < size:
		figures["left_off_mb"] = moved / load.MB
	_cpu(figures, cpu, "cpu_s_per_gb", load.GB / moved)
	return figures


def gigabyte_down(bench, subject, _):
	return _transfer(subject, load.GB,
		lambda: load.download(bench.tools, subject.port, "/1g", load.GB, bench.transfer_seconds))


def quarter_up(bench, subject, _):
	return _transfer(subject, load.UP_BYTES, lambda: load.upload(bench.tools, subject.port, bench.origin.up_file,
		load.UP_BYTES, bench.transfer_seconds))


def small_beside_bulk(bench, subject, seconds):
	with load.Bulk(bench.tools, subject.port) as bulk:
		begin, received = time.monotonic(), bulk.received()
		r = load.wrk(bench.tools, subject.port, "/13b", 1, seconds)
		rate = (bulk.received() - received) / (time.monotonic() - begin)
	figures = {"p50_us": r["p50_us"], "p99_us": r["p99_us"], "requests_per_s": r["requests"] / r["seconds"],
		"bulk_mb_per_s": rate / load.MB}
	return _errors(figures, r)


def _memory(figures, subject, peak):
	for side, programs in (("server", subject.servers), ("client", subject.clients), ("ingress", subject.ingresses)):
		if programs:
			rss, most = measure.memory([p.pid for p in programs])
			figures[f"rss_{side}_mb"] = rss / load.MB
			if peak:
				figures[f"peak_{side}_mb"] = most / load.MB
	return figures


def idle(_bench, subject, _seconds):
	if not subject.programs():
		raise Skipped("has no program in the middle")
	return _memory({}, subject, peak=True)


def stalled(_bench, subject, _seconds):
	measure.reset_peak([p.pid for p in subject.programs()])
	tcp_before = measure.tcp_memory()
	figures = {}
	with load.Stalled(subject.port, STALLED_VISITORS) as visitors:
		tcp = visitors.settle()
		times = [load.small_get(subject.port, STALLED_SECONDS) for _ in range(STALLED_GETS)]
		tcp = max(tcp, measure.tcp_memory())
		served = sorted(t for t in times if t is not None)
		figures["begun"] = visitors.begun
		figures["served"] = len(served)
		if served:
			figures["p50_us"] = served[len(served) // 2]
			figures["worst_us"] = served[-1]
		_memory(figures, subject, peak=True)
	figures["kernel_tcp_mb"] = max(0, tcp - tcp_before) / load.MB
	if not visitors.begun:
		raise Failed("no stalled visitor ever got a response head")
	return figures


# In the order they run; `stalled` is last because a subject is started afresh after it.
ROWS = {
	"idle": (idle, "memory of the tunnel after its first requests"),
	"get-1": (gets(1), "13 B GETs, 1 visitor (wrk, HTTP/1.1)"),
	"get-10": (gets(10), "13 B GETs, 10 visitors (wrk, HTTP/1.1)"),
	"get-100": (gets(100), "13 B GETs, 100 visitors (wrk, HTTP/1.1)"),
	"h2-100": (h2_gets, "13 B GETs, 1 HTTP/2 visitor with 100 streams (h2load)"),
	"h2c-100": (h2c_gets, "13 B GETs, 1 HTTP/2 visitor with 100 streams (h2load), HTTP/2 origin"),
	"grpc-1": (calls(1), "unary gRPC calls, 1 after another (h2load), HTTP/2 origin"),
	"grpc-100": (calls(100), "unary gRPC calls, 1 HTTP/2 visitor with 100 streams (h2load), HTTP/2 origin"),
	"mb-10": (megabytes, "1 MB bodies, 10 visitors (wrk, HTTP/1.1)"),
	"down-1g": (gigabyte_down, "1 GB down, 1 visitor (curl)"),
	"up-256m": (quarter_up, "256 MB up, 1 visitor (curl PUT)"),
	"small-beside-bulk": (small_beside_bulk, "13 B GETs of 1 visitor while another downloads 1 GB (wrk, curl)"),
	"far": (outages.far, f"1 GB down, then 1 GB up, {2 * outages.FAR_DELAY_MS} ms of round trip between the two ends "
		"(curl)"),
	"idle-tunnels": (outages.idle_tunnels, f"{outages.IDLE_TUNNELS} more tunnels that nobody uses, a client each"),
	"restart": (outages.restart, f"the server is killed, and started again {outages.DOWN_SECONDS} s later"),
	"cut": (outages.cut, "the tunnel's connections are reset in the middle of a download of 1 GB"),
	"hole": (outages.hole, "the tunnel's connections go silent while visitors come"),
	"stalled": (stalled, f"{STALLED_VISITORS} visitors stalled in 1 GB bodies, then {STALLED_GETS} small GETs, "
		f"{STALLED_SECONDS} s each"),
}
# Each of them takes minutes for all subjects: run.py may measure them in fewer rounds.
RARE = ("far", "idle-tunnels", "restart", "cut", "hole", "stalled")
# What tells carriers apart, and is not the same for all of them anyway.
CARRIER_ROWS = ["get-1", "get-10", "down-1g", "up-256m"]
