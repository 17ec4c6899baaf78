"""Hostile requests and hostile upstreams over raw sockets, written from the rules of RFC 9110, 9112 and 9113.

Two routes, each with a credential of its own, to one recording upstream each. Whatever a case does, these must hold:
what reaches an upstream is strict HTTP/1.1 with its route's credential exactly once and its own Host; nothing of a
credential reaches the worker; a message that was refused or is incomplete never arrives as a complete one; and the next
request, on a connection of its own, gets its own answer.
"""

import re
import select
import socket
import socketserver
import threading
import time

import lib

from . import answers, case, framing, http2, identity, strict

CREDENTIALS = {"api.test": ("authorization", "Bearer CANARY-A-51ab77"), "other.test": ("x-api-key", "CANARY-B-0c93fe")}
SECRETS = [b"CANARY-A-51ab77", b"CANARY-B-0c93fe"]
QUIET = 0.25  # seconds without a byte after which a case is over


class Origin(socketserver.ThreadingTCPServer):
    """A recording upstream: reads strictly, answers each complete request, or what `answer` says."""

    allow_reuse_address = daemon_threads = True
    block_on_close = False

    def __init__(self, name):
        self.name, self.lock = name, threading.Lock()
        self.seen, self.trouble, self.answer = [], [], None
        super().__init__(("127.0.0.1", 0), Connection)

    def note(self, message=None, trouble=None):
        with self.lock:
            if message:
                self.seen.append(message)
            if trouble:
                self.trouble.append(trouble)

    def take(self):
        with self.lock:
            found, self.seen, self.trouble = (self.seen, self.trouble), [], []
            return found

    def handle_error(self, request, client_address):
        pass


class Connection(socketserver.BaseRequestHandler):
    def handle(self):
        data = b""
        self.request.settimeout(20)
        while True:
            try:
                message, used = strict.request(data)
            except strict.Ambiguous as error:
                return self.server.note(trouble=str(error))
            if message and message.complete:
                data = data[used:]
                self.server.note(message)
                self.check(message)
                if self.reply(message):
                    return None
                continue
            try:
                got = self.request.recv(1 << 16)
            except OSError:
                return None
            if not got:
                return None
            data += got

    def check(self, message):
        """The invariants of every request that arrives."""
        name, wanted = CREDENTIALS[self.server.name]
        alike = [(k, v) for k, v in message.headers if k.replace("_", "-") == name]
        if alike != [(name, wanted)]:
            self.server.note(trouble=f"the credential is not there exactly once: {alike}")
        if message.all("host") != [self.server.name]:
            self.server.note(trouble=f"Host {message.all('host')} at {self.server.name}")

    def reply(self, message):
        """Answers; true when the connection is to be closed."""
        answer = self.server.answer
        if answer is None or message.first[1].startswith("/probe"):
            body = b"" if message.first[0] == "HEAD" else f"{self.server.name} {message.first[1]}".encode()
            answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        self.request.sendall(answer.removesuffix(answers.CLOSE))
        return answer.endswith(answers.CLOSE)


def exchange(port, data, pieces=0, answers_wanted=1):
    """Sends bytes, reads until closed, quiet, or enough; (what came, whether the proxy closed)."""
    out, closed = b"", False
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for start in range(0, len(data), pieces or max(1, len(data))):
                connection.sendall(data[start:start + pieces] if pieces else data)
                if pieces:
                    time.sleep(0.001)
        except OSError:
            pass  # refused while we were still sending
        while True:
            # Where answers are there already, a further one would follow at once.
            finished = len([r for r in safe_responses(out, False) if r.complete]) >= answers_wanted
            ready, _, _ = select.select([connection], [], [], 0.02 if finished else QUIET if out or not data else 1.0)
            if not ready:
                return out, closed
            try:
                got = connection.recv(1 << 16)
            except OSError:
                return out, True
            if not got:
                return out, True
            out += got


def safe_responses(data, closed):
    try:
        return strict.responses(data, closed)
    except (strict.Ambiguous, ValueError, IndexError):
        return []


class Trial:
    """One case against the running proxy."""

    def __init__(self, proxy, origins):
        self.proxy, self.origins, self.number = proxy, origins, 0

    def settle(self):
        """What reached the upstreams, given a moment to arrive: (requests, troubles)."""
        taken = [o.take() for o in self.origins]
        return [m for seen, _ in taken for m in seen], [t for _, trouble in taken for t in trouble]

    def neighbour(self):
        """Another worker's request right after: whether it gets its own answer."""
        self.number += 1
        for host in CREDENTIALS:
            target = f"/probe/{self.number}"
            out, _ = exchange(self.proxy.port, case.get(target, host=host))
            seen = safe_responses(out, False)
            if len(seen) != 1 or seen[0].first != 200 or seen[0].body != f"{host} {target}".encode():
                return f"the next request to {host} got {out[:200]!r}"
        return None

    def request(self, one):
        out, closed = exchange(self.proxy.port, one.data, one.pieces, one.requests)
        time.sleep(0.01)
        arrived, troubles = self.settle()
        troubles += self.leaks(out) + list(self.judge(one, out, closed, arrived))
        if trouble := self.neighbour():
            troubles.append(trouble)
        return troubles + self.settle()[1]

    def http2(self, one):
        out, closed = exchange(self.proxy.port, one.data)
        time.sleep(0.01)
        arrived, troubles = self.settle()
        troubles += self.leaks(out) + list(http2.judge(one, out, closed, arrived))
        if arrived:
            troubles += conditions(one, arrived[0])
        if trouble := self.neighbour():
            troubles.append(trouble)
        return troubles + self.settle()[1]

    def leaks(self, out):
        return [f"a credential reached the worker: {out[:300]!r}"] if any(s in out for s in SECRETS) else []

    def judge(self, one, out, closed, arrived):
        try:
            seen = strict.responses(out, closed, [m.first[0] for m in arrived])
        except (strict.Ambiguous, ValueError) as error:
            yield f"the worker cannot read its answer: {error}: {out[:200]!r}"
            return
        statuses = [s.first for s in seen]
        if 401 in statuses:
            yield "the proxy answered 401, which is the upstream's word"
        if not arrived:
            yield from self.judge_refused(one, closed, statuses)
            return
        if one.want in ("refuse", "nothing"):
            yield f"arrived upstream: {[m.first for m in arrived]}"
        if not 1 <= len(arrived) <= one.requests or one.want == "pass" and len(arrived) != one.requests:
            yield f"{len(arrived)} requests arrived, wanted {one.requests}: {[m.first for m in arrived]}"
        if statuses[:len(arrived)] != [200] * len(arrived):
            yield f"arrived, but the answers were {statuses}"
        yield from conditions(one, arrived[0])

    @staticmethod
    def judge_refused(one, closed, statuses):
        if one.want == "pass":
            yield f"did not arrive; the answer was {statuses}"
        if one.want != "nothing" and not one.waits and not closed and not statuses:
            yield "neither answered nor closed"
        if statuses and not 400 <= statuses[0] < 600:
            yield f"refused with {statuses}"
        if one.status and statuses and statuses[0] not in one.status:
            yield f"refused with {statuses}, wanted {one.status}"

    def response(self, data, judge):
        for origin in self.origins:
            origin.answer = data
        try:
            out, closed = exchange(self.proxy.port, case.get("/answer"))
        finally:
            for origin in self.origins:
                origin.answer = None
        troubles = self.leaks(out) + self.settle()[1]
        try:
            trouble = judge(strict.responses(out, closed))
        except (strict.Ambiguous, ValueError) as error:
            trouble = f"the worker cannot read its answer: {error}: {out[:200]!r}"
        return [t for t in [trouble, *troubles, self.neighbour()] if t]


def conditions(one, message):
    method, target, _ = message.first
    for what, found, wanted in [("target", target, one.target), ("method", method, one.method), ("body", message.body, one.body),
                                ("Host", message.all("host")[0], one.host)]:
        if wanted is not None and found != wanted:
            yield f"{what} is {found!r}, wanted {wanted!r}"
    if there := [n for n in one.absent if [v for v in message.all(n) if "CANARY" not in v]]:
        yield f"these were forwarded: {there}"
    if missing := [n for n, v in one.present.items() if message.all(n) != [v]]:
        yield f"these were not forwarded: {missing}"


def checks(bench):
    report, secrets = bench.report, bench.subfolder("secrets")
    bench.secrets(secrets, a=SECRETS[0], b=SECRETS[1])
    origins = [bench.serve(Origin(name)) for name in CREDENTIALS]
    proxy = bench.proxy("proxy", f"""
[credential.a]
bearer = {{ secret = "a" }}
[credential.b]
api_key = {{ secret = "b", header = "X-Api-Key" }}
[[route]]
name       = "a"
host       = "api.test"
upstream   = "http://127.0.0.1:{origins[0].server_address[1]}"
credential = "a"
[[route]]
name       = "b"
host       = "other.test"
upstream   = "http://127.0.0.1:{origins[1].server_address[1]}"
credential = "b"
""", secrets)
    trial, resident = Trial(proxy, origins), proxy.memory("VmRSS")
    for one in [*framing.cases(), *identity.cases()]:
        troubles = trial.request(one)
        report.check(one.name, not troubles, "; ".join(troubles))
    for one in http2.cases():
        troubles = trial.http2(one)
        report.check(one.name, not troubles, "; ".join(troubles))
    for name, data, judge in answers.CASES:
        troubles = trial.response(data, judge)
        report.check(f"upstream: {name}", not troubles, "; ".join(troubles))
    grown = proxy.memory() - resident
    report.check("all of it cost under 16 MiB of memory", grown < 16 << 20, f"{grown / 2**20:.1f} MiB")
    report.check("countersign is still the same process", proxy.process.poll() is None)
    report.check("no request panicked", "panicked" not in proxy.log, re.findall(r".*panicked.*", proxy.log)[:3])
