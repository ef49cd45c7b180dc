"""The sections, in the order of the report: name → title. Each is a module of that name with run(context)."""

SECTIONS = {
	"latency": "Latency: before and after",
	"load": "Load: many visitors, large bodies",
}
