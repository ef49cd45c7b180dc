-- wrk prints its latencies rounded for people; this gives them whole, as one line of JSON.
-- Only `done` is defined: a `request` or `response` here would make wrk run Lua for every request.
done = function(summary, latency)
	local e = summary.errors
	io.write(string.format(
		'BENCH {"requests": %d, "duration_us": %d, "bytes": %d, "p50_us": %d, "p99_us": %d, ' ..
		'"connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}\n',
		summary.requests, summary.duration, summary.bytes, latency:percentile(50), latency:percentile(99),
		e.connect, e.read, e.write, e.status, e.timeout))
end
