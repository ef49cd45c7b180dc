"""The sections, in the order of the report: name → title. Each is a module of that name with run(context)."""

SECTIONS = {
	"latency": "Latency: before and after",
	"load": "Load: many visitors, large bodies",
	"reconnect": "Reconnecting: a transcript",
	"fallback": "When WebSockets are forbidden",
	"architecture": "Architecture: the relay, before and after",
	"protocol": "Protocol: what changed, and what to change",
	"tunnels": "Beside other tunnels",
}
