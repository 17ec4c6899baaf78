"""Loads: wrk for throughput, our own bench-load for what wrk cannot (see bare/src/bin/bench-load.rs), plain sockets for
idle connections and starts, strace beside a load for system calls.

Every load counts its errors: an answer that is not 200, a closed connection, one that does not come.
"""

import contextlib
import dataclasses
import json
import pathlib
import re
import resource
import signal
import socket
import ssl
import subprocess
import time

from origin import BLOB, TOKEN

SCRIPT = """
local post = %d
if post > 0 then wrk.method = "POST" wrk.body = string.rep("a", post) end
wrk.headers["Host"] = "%s"
if "%s" ~= "" then wrk.headers["Authorization"] = "%s" end
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('@{"requests":%%d,"microseconds":%%d,"errors":%%d}\\n', summary.requests, summary.duration,
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""


@dataclasses.dataclass
class Load:
    """What is sent where. `port` None: straight to the origin, with the credential."""

    to: int
    host: str
    path: str = "/"
    post: int = 0
    connections: int = 64
    direct: pathlib.Path | None = None  # the CA, when there is no proxy between
    connect: pathlib.Path | None = None  # the CA of interception: CONNECT, TLS inside

    @property
    def body(self):
        """Bytes of the larger body of one exchange."""
        return BLOB if self.path == "/blob" else self.post


class Loader:
    """Loads from one core. `core` is changed between rounds."""

    def __init__(self, program, folder, core):
        self.program, self.folder, self.core = program, folder, core
        folder.mkdir(parents=True, exist_ok=True)

    def _pinned(self, *command):
        return ["taskset", "-c", str(self.core), *[str(c) for c in command]]

    def wrk(self, load, seconds):
        authorization = f"Bearer {TOKEN}" if load.direct else ""
        script = self.folder / "wrk.lua"
        script.write_text(SCRIPT % (load.post, load.host, authorization, authorization))
        url = f"{'https' if load.direct else 'http'}://127.0.0.1:{load.to}{load.path}"
        done = subprocess.run(self._pinned("wrk", "-t1", f"-c{load.connections}", f"-d{seconds}s", "--timeout", "10s", "-s", script, url),
                              capture_output=True, text=True)
        found = re.search(r"^@(.*)$", done.stdout, re.M)
        if not found:
            raise RuntimeError(f"wrk said {done.stdout}{done.stderr}")
        found = json.loads(found[1])
        return {"requests": found["requests"], "errors": found["errors"], "seconds": found["microseconds"] / 1e6}

    def _own(self, load, *words):
        words = ["--to", f"127.0.0.1:{load.to}", "--host", load.host, "--path", load.path, "--connections", load.connections, *words]
        words += ["--post", load.post] if load.post else []
        words += ["--header", f"Authorization: Bearer {TOKEN}", "--tls", "--ca", load.direct] if load.direct else []
        words += ["--connect", "--ca", load.connect] if load.connect else []
        return self._pinned(self.program, *words)

    def own(self, load, seconds, rate=0, warm=0):
        """bench-load at a rate, or as fast as answers come; latencies in microseconds."""
        command = self._own(load, "--seconds", seconds, "--rate", rate, "--warm", warm)
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"bench-load said {done.stderr}")
        return json.loads(done.stdout)

    def traced(self, load, count, pids):
        """(result, calls by name) of exactly `count` requests on connections that were opened before."""
        counts = self.folder / "strace.txt"
        with subprocess.Popen(self._own(load, "--requests", count, "--warm", 4 * load.connections), stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True) as own:
            if own.stdout.readline() != "ready\n":
                raise RuntimeError("bench-load did not get ready")
            words = [word for pid in pids for word in ("-p", str(pid))]
            trace = subprocess.Popen(["strace", "-c", "-f", "-o", counts, *words], stderr=subprocess.PIPE, text=True)
            trace.stderr.readline()  # "Process N attached": its threads follow within the same stop
            time.sleep(0.2)
            own.stdin.write("go\n")
            own.stdin.flush()
            result = json.loads(own.stdout.readline())
            trace.send_signal(signal.SIGINT)
            trace.wait(10)
            trace.stderr.close()
            own.stdin.write("end\n")
            own.stdin.flush()
        calls = {}
        for line in counts.read_text().splitlines():
            fields = line.split()
            if len(fields) >= 5 and fields[3].isdigit() and fields[-1] != "total":
                calls[fields[-1]] = int(fields[3])
        return result, calls


def ask(connection, host, path="/"):
    """One request on an open connection: (status, whether the connection stays)."""
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65536)
        if not part:
            raise OSError("closed before the end of a head")
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    left = int(length[1]) - len(body) if length else 0
    while left > 0:
        left -= len(connection.recv(65536))
    return int(head.split(b" ")[1])


def inside(connection, host, ca):
    """The TLS connection that interception gives: CONNECT, then a handshake with the proxy's own certificate."""
    connection.sendall(f"CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n".encode())
    if b" 200" not in connection.recv(4096):
        raise OSError("CONNECT was refused")
    return ssl.create_default_context(cafile=ca).wrap_socket(connection, server_hostname=host)


def first_answer(process, port, host, ca=None, patience=30.0):
    """Seconds from the start of the process to its first 200; with a CA that of a request through CONNECT."""
    end = process.begin + patience
    said = None
    while time.perf_counter() < end:
        if not process.alive():
            raise RuntimeError(f"it ended:\n{process.tail()}")
        with contextlib.suppress(OSError, ValueError), socket.create_connection(("127.0.0.1", port), 5) as connection:
            said = ask(inside(connection, host, ca) if ca else connection, host)
            if said == 200:
                return time.perf_counter() - process.begin
        time.sleep(0.0002)
    raise RuntimeError(f"no 200 in {patience} s, last {said}:\n{process.tail()}")


class Idle:
    """Keep-alive connections that did one request each and then nothing."""

    def __init__(self, port, host):
        self.port, self.host, self.open, self.errors = port, host, [], 0
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    def grow(self, count):
        while len(self.open) < count:
            connection = socket.create_connection(("127.0.0.1", self.port), 5)
            self.open.append(connection)
            self.errors += ask(connection, self.host) != 200

    def alive(self, step=50):
        """Asks every `step`th again; an answer that does not come is an error."""
        for connection in self.open[::step]:
            try:
                self.errors += ask(connection, self.host) != 200
            except OSError:
                self.errors += 1

    def close(self):
        for connection in self.open:
            connection.close()
