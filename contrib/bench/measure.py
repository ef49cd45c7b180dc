"""What the kernel says about processes and sockets: CPU, memory, TCP buffers. Reads /proc only, starts nothing."""

import os
import platform
import resource
import time

TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


class Stat:
	"""One line of /proc/PID/stat. `started` tells a process from a later one that got the same number."""

	def __init__(self, pid, text):
		# The command stands in parentheses and may hold spaces and parentheses itself.
		fields = text[text.rindex(")") + 2:].split()
		self.pid = pid
		self.state = fields[0]
		self.parent = int(fields[1])
		self.cpu_ticks = sum(int(fields[i]) for i in (11, 12))
		self.reaped_ticks = sum(int(fields[i]) for i in (13, 14))
		self.started = int(fields[19])


def read_stat(pid):
	try:
		with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
			return Stat(pid, f.read())
	except (OSError, ValueError):
		return None


def tree(roots):
	"""Every live process below the given ones, and those themselves, as Stat. Zombies are left in: their time counts."""
	stats = {}
	for entry in os.listdir("/proc"):
		stat = read_stat(int(entry)) if entry.isdigit() else None
		if stat:
			stats[stat.pid] = stat
	children = {}
	for stat in stats.values():
		children.setdefault(stat.parent, []).append(stat.pid)
	found, todo = {}, list(roots)
	while todo:
		pid = todo.pop()
		if pid in stats and pid not in found:
			found[pid] = stats[pid]
			todo.extend(children.get(pid, ()))
	return list(found.values())


def cpu_seconds(roots):
	"""User and system time of the trees. A child that was reaped meanwhile has moved into its parent's sum."""
	return sum(s.cpu_ticks + s.reaped_ticks for s in tree(roots)) / TICK


def machine_seconds():
	"""What all programs of the machine used since it started, and what the hypervisor kept from them ("steal"). Without
	interrupts: those are nobody's in particular."""
	with open("/proc/stat", encoding="ascii") as f:
		words = f.readline().split()[1:]
	return sum(int(w) for w in words[:3] + words[7:8]) / TICK


class Foreign:
	"""How much of the machine programs that are not ours took, from its making to share(): 0 to 1."""

	def __init__(self):
		self.begin = time.monotonic()
		self.others = machine_seconds() - cpu_seconds([os.getpid()])

	def share(self):
		others = machine_seconds() - cpu_seconds([os.getpid()]) - self.others
		return min(1.0, max(0.0, others / (time.monotonic() - self.begin) / os.cpu_count()))


def memory(roots):
	"""(VmRSS, VmHWM) in bytes, added up over the trees; pages that processes share count once for each."""
	rss = peak = 0
	for stat in tree(roots):
		try:
			with open(f"/proc/{stat.pid}/status", encoding="utf-8", errors="replace") as f:
				for line in f:
					if line.startswith("VmRSS:"):
						rss += int(line.split()[1]) * 1024
					elif line.startswith("VmHWM:"):
						peak += int(line.split()[1]) * 1024
		except OSError:
			pass
	return rss, peak


def reset_peak(roots):
	"""VmHWM begins again at VmRSS. Best effort: another user's process (sshd's privilege separation) may refuse it."""
	for stat in tree(roots):
		try:
			with open(f"/proc/{stat.pid}/clear_refs", "w", encoding="ascii") as f:
				f.write("5")
		except OSError:
			pass


def tcp_memory():
	"""Bytes that the kernel holds in TCP buffers, of the whole machine."""
	with open("/proc/net/sockstat", encoding="ascii") as f:
		for line in f:
			words = line.split()
			if words[0] == "TCP:" and "mem" in words:
				return int(words[words.index("mem") + 1]) * PAGE
	return 0


def listens(port, address="127.0.0.1"):
	"""Is a socket listening there? Asked of the kernel: a probing connection would be somebody's client."""
	host = "".join(f"{int(part):02X}" for part in reversed(address.split(".")))
	with open("/proc/net/tcp", encoding="ascii") as f:
		wanted = (f"{host}:{port:04X}", f"00000000:{port:04X}")
		return any(w[1] in wanted and w[3] == "0A" for w in map(str.split, f) if len(w) > 3)


def written_bytes(pid):
	"""What a process has handed to write(2): what a curl that writes to /dev/null has received so far."""
	with open(f"/proc/{pid}/io", encoding="ascii") as f:
		for line in f:
			if line.startswith("wchar:"):
				return int(line.split()[1])
	return 0


def cpu_model():
	try:
		with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as f:
			for line in f:
				if line.startswith("model name"):
					return line.split(":", 1)[1].strip()
	except OSError:
		pass
	return platform.machine()


def environment():
	return {
		"kernel": platform.release(),
		"cpu": cpu_model(),
		"cores": len(os.sched_getaffinity(0)),
		"load_at_start": os.getloadavg()[0],
		"descriptors": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
	}
