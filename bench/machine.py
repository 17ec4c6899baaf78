"""What the kernel says about processes: CPU, memory, how busy others were; and starting, placing and ending them.

Nothing here knows a proxy or a load. Only processes that were started here are ever ended, each by its id.
"""

import contextlib
import os
import pathlib
import re
import resource
import signal
import socket
import subprocess
import time

TICK = os.sysconf("SC_CLK_TCK")
CORES = sorted(os.sched_getaffinity(0))[:2]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def family(pid):
    """The process and its descendants."""
    found, children = [], {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                parent = pathlib.Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1]
                children.setdefault(int(parent), []).append(int(entry))
    ahead = [pid]
    while ahead:
        found.append(ahead.pop())
        ahead += children.get(found[-1], [])
    return found


def cpu(pids):
    """(seconds in all, in user space, in the kernel) of these processes: the sum by the scheduler's clock, which knows
    nanoseconds; the two parts by the kernel's own division of it, in ticks."""
    total = user = system = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            user, system = user + int(fields[11]), system + int(fields[12])
            for task in os.listdir(f"/proc/{pid}/task"):
                total += int(pathlib.Path(f"/proc/{pid}/task/{task}/schedstat").read_text().split()[0])
    return (total / 1e9 or (user + system) / TICK), user / TICK, system / TICK


def memory(pids):
    """(resident, proportional) bytes."""
    sums = {"Rss": 0, "Pss": 0}
    for pid in pids:
        with contextlib.suppress(OSError):
            for name, size in re.findall(r"^(Rss|Pss): +(\d+) kB", pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M):
                sums[name] += int(size) * 1024
    return sums["Rss"], sums["Pss"]


def peak(pids):
    """The largest resident size so far, bytes."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            total += int(re.search(r"VmHWM:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1]) * 1024
    return total


def place(pids, core):
    """Moves all threads of these processes to one core."""
    for pid in pids:
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{pid}/task"):
                os.sched_setaffinity(int(task), {core})


class Foreign:
    """Cores that everybody but us used while this was entered: `with Foreign(pids) as f: ...; f.cores`."""

    def __init__(self, pids):
        self.pids, self.cores = pids, 0.0

    def _now(self):
        fields = [int(f) for f in pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        busy = (sum(fields) - fields[3] - fields[4] - fields[7]) / TICK  # without idle, waiting for disks, stolen
        ours = cpu(self.pids)[0]
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
            usage = resource.getrusage(who)
            ours += usage.ru_utime + usage.ru_stime
        return time.monotonic(), busy, ours

    def __enter__(self):
        self.begin = self._now()
        return self

    def __exit__(self, *_):
        at, busy, ours = (end - begin for end, begin in zip(self._now(), self.begin))
        self.cores = max(0.0, round((busy - ours) / at, 3))


class Process:
    """A program of ours on one core, with its output in a file."""

    def __init__(self, command, folder, core, environment=None):
        self.folder, self.log = folder, folder / "output.log"
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {core})  # inherited; quicker than a wrapper, and the child need not be forked from Python
        try:
            with open(self.log, "ab") as out:
                self.begin = time.perf_counter()
                self.handle = subprocess.Popen([str(c) for c in command], stdout=out, stderr=out, stdin=subprocess.DEVNULL, cwd=folder,
                                               env={**os.environ, **(environment or {})})
        finally:
            os.sched_setaffinity(0, before)

    @property
    def pid(self):
        return self.handle.pid

    def pids(self):
        return family(self.pid)

    def tail(self):
        return self.log.read_text(errors="replace")[-1500:]

    def alive(self):
        return self.handle.poll() is None

    def end(self):
        for sign, patience in [(signal.SIGTERM, 3), (signal.SIGKILL, 10)]:
            if not self.alive():
                return
            members = self.pids()
            self.handle.send_signal(sign)
            if sign == signal.SIGKILL:
                for pid in members[1:]:
                    with contextlib.suppress(OSError):
                        os.kill(pid, sign)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.handle.wait(patience)
