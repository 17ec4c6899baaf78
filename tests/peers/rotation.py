"""60 rotations of an HMAC key and a client certificate under load; COUNTERSIGN_ROTATIONS=1000 for the long run.

One kubelet-style swap delivers version N of both. The upstream, TLS with client certificates, tells by which version
each request was signed and by which certificate its connection was made. Under about 200 requests a second:
no request fails, signature and certificate are always of the same version, and a request that began after an answer of
version N never uses an older one. One request in five makes a connection of its own, so that TLS sessions are
resumed: never one of a certificate that has been replaced, by any connection that is made after the swap. Printed: the time from a rotation's last file event to its first use.
"""

import asyncio
import hashlib
import hmac
import math
import os
import random
import socket
import threading
import time

import lib

ROTATIONS = int(os.environ.get("COUNTERSIGN_ROTATIONS", "60"))
PAUSE = (0.2, 0.4)  # seconds between rotations, at random: long enough that each one can be seen, and sometimes not
CONNECTIONS, RATE = 16, 200
LATEST = 1.0  # seconds: the promise for an atomic rotation
OLD_ENDS = 30.0  # seconds after which no request may be on a connection of a replaced certificate
HOST = "api.rotating.example"
FRESH = "fresh.rotating.example"  # each request on a connection of its own


class Listening(socket.socket):
    """Numbers connections in the order in which they came: the kernel's queue keeps it."""

    def __init__(self):
        super().__init__(socket.AF_INET, socket.SOCK_STREAM)
        self.bind(("127.0.0.1", 0))
        self.numbers, self.count = {}, 0

    def accept(self):
        connection, address = super().accept()
        self.count += 1
        self.numbers[address] = self.count
        return connection, address


class Uses:
    """What the upstream saw: (when, version of the signature, version of the certificate, id of the request)."""

    def __init__(self, keys):
        self.keys, self.rows, self.connections = keys, [], 0
        self.unsigned, self.open = 0, set()
        self.listening = Listening()
        # (number of the connection, version of the certificate, whether the session was resumed)
        self.handshakes = []

    async def accept(self, reader, writer):
        task = asyncio.current_task()
        self.open.add(task)
        await self.serve(reader, writer)
        self.open.discard(task)

    async def serve(self, reader, writer):
        self.connections += 1
        subject = writer.get_extra_info("ssl_object").getpeercert()["subject"]
        certificate = int(dict(part[0] for part in subject)["commonName"].rpartition("-")[2])
        number = self.listening.numbers[writer.get_extra_info("peername")]
        self.handshakes.append((number, certificate, writer.get_extra_info("ssl_object").session_reused))
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                now = time.monotonic()
                target = head.split(" ", 2)[1]
                fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
                text = f"GET\n{target}\n{fields.get('x-timestamp')}".encode()
                # The newest first: as a rule it is that one.
                version = next((v for v in range(len(self.keys) - 1, -1, -1) if hmac.compare_digest(
                    hmac.new(self.keys[v], text, hashlib.sha256).hexdigest(), fields.get("x-signature", ""))), None)
                if version is None:
                    self.unsigned += 1
                    writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
                    continue
                self.rows.append((now, version, certificate))
                body = str(version).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


class Worker:
    """Sends requests at a steady rate over keep-alive connections and keeps what came back."""

    def __init__(self, port):
        self.port, self.failed, self.done, self.running = port, [], [], True

    async def one(self):
        reader = writer = None
        number = 0
        begin = time.monotonic() + random.random() * CONNECTIONS / RATE
        while self.running:
            await asyncio.sleep(max(0.0, begin + number * CONNECTIONS / RATE - time.monotonic()))
            number += 1
            started = time.monotonic()
            try:
                if writer is None:
                    reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.write(f"GET /orders/{random.getrandbits(40)} HTTP/1.1\r\nHost: {FRESH if number % 5 == 0 else HOST}\r\n\r\n".encode())
                head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                body = await reader.readexactly(length)
                if not head.startswith(b"HTTP/1.1 200"):
                    self.failed.append((head + body).decode())
                else:
                    self.done.append((started, time.monotonic(), int(body)))
            except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError) as error:
                self.failed.append(repr(error))
                writer = None
        if writer:
            writer.close()


def older_after_newer(done):
    """Requests that used an older version than one whose answer was there before they began."""
    answers, wrong, newest, position = sorted(done, key=lambda r: r[1]), [], -1, 0
    for started, finished, version in sorted(done):
        while position < len(answers) and answers[position][1] <= started:
            newest = max(newest, answers[position][2])
            position += 1
        if version < newest:
            wrong.append((started, version, newest))
    return wrong


def pickups(rows, rotations):
    """For each version seen by its own rotation's end or later: seconds from its last file event to its first use."""
    first = {}
    for when, version, _ in sorted(rows):
        first.setdefault(version, when)
    times, skipped, late = [], 0, []
    for version, (_, last_event) in rotations.items():
        # A version that was replaced before anything asked for it is counted by the next one's use.
        use = min((when for v, when in first.items() if v >= version), default=math.inf)
        skipped += version not in first
        times.append(use - last_event)
        if use - last_event > LATEST:
            late.append((version, use - last_event))
    return sorted(times), skipped, late


async def scenario(context, make_proxy, rotate, uses):
    server = await asyncio.start_server(uses.accept, sock=uses.listening, ssl=context)
    # countersign is started from another thread: while it starts, this loop must answer.
    proxy = await asyncio.to_thread(make_proxy, server.sockets[0].getsockname()[1])
    worker = Worker(proxy.port)
    tasks = [asyncio.create_task(worker.one()) for _ in range(CONNECTIONS)]
    await asyncio.sleep(0.5)
    await asyncio.to_thread(rotate)
    await asyncio.sleep(1.5)
    worker.running = False
    await asyncio.gather(*tasks)
    await asyncio.to_thread(proxy.stop)  # its idle connections end with it
    server.close()
    await asyncio.wait([*uses.open, asyncio.create_task(asyncio.sleep(0))], timeout=5)
    return proxy, worker


def checks(bench):
    report, folder = bench.report, bench.subfolder("pki")
    clients = lib.Authority("Clients CA")
    servers = lib.Authority("Servers CA")
    context = lib.server_context(folder, servers, [HOST, FRESH], clients)
    versions = [clients.issue(f"client-{v}") for v in range(ROTATIONS + 1)]
    keys = [f"key of version {v:04d}".encode() for v in range(ROTATIONS + 1)]
    secrets = bench.subfolder("secrets")
    bench.secrets(secrets, **{"ca.crt": servers.pem})
    kubelet = lib.Kubelet(secrets / "partner")

    def files(version):
        certificate, key = versions[version]
        return {"hmac-key": keys[version], "tls.crt": certificate, "tls.key": key}

    kubelet.write(files(0))
    uses, rotations, stop = Uses(keys), {}, threading.Event()

    def make_proxy(port):
        return bench.proxy("proxy", f"""
[credential.partner.hmac]
secret    = "partner/hmac-key"
algorithm = "sha256"
encoding  = "hex"
sign      = "{{method}}\\n{{target}}\\n{{timestamp}}"
set       = {{ "X-Signature" = "{{signature}}", "X-Timestamp" = "{{timestamp}}" }}

[[route]]
name       = "rotating"
host       = "{HOST}"
upstream   = "https://127.0.0.1:{port}"
credential = "partner"
tls        = {{ client_cert = "partner/tls.crt", client_key = "partner/tls.key", ca = "ca.crt" }}

[[route]]
name       = "fresh"
host       = "{FRESH}"
upstream   = "https://127.0.0.1:{port}"
credential = "partner"
tls        = {{ client_cert = "partner/tls.crt", client_key = "partner/tls.key", ca = "ca.crt" }}
timeouts   = {{ pool = "0s" }}
""", secrets)

    def rotate():
        for version in range(1, ROTATIONS + 1):
            rotations[version] = kubelet.write(files(version))
            if stop.wait(random.uniform(*PAUSE)):
                return

    try:
        proxy, worker = asyncio.run(scenario(context, make_proxy, rotate, uses))
    finally:
        stop.set()
    total = len(worker.done) + len(worker.failed)
    seconds = worker.done[-1][1] - worker.done[0][0]
    report.note(f"{total} requests in {seconds:.0f} s ({total / seconds:.0f} a second), {len(rotations)} rotations, "
                f"{uses.connections} upstream connections, {len({v for _, v, _ in uses.rows})} versions used")
    report.check(f"no request fails over {ROTATIONS} rotations", not worker.failed and total > ROTATIONS * 20,
                 f"{len(worker.failed)} of {total}: {worker.failed[:3]}")
    report.equal("no request arrives with a wrong signature", uses.unsigned, 0)
    mixed = [(v, c) for _, v, c in uses.rows if v != c]
    report.check("signature and certificate are always of one version", not mixed, f"{len(mixed)}: {mixed[:5]}")
    wrong = older_after_newer(worker.done)
    report.check("never an older version after a newer one", not wrong, f"{len(wrong)}: {wrong[:5]}")
    ends = [when - rotations[v + 1][1] for when, _, v in uses.rows if v + 1 in rotations and when > rotations[v + 1][1]]
    report.check(f"no request is on a connection of a replaced certificate {OLD_ENDS:.0f} s later",
                 max(ends, default=0) < OLD_ENDS, f"{max(ends, default=0):.1f} s")
    resumed = [v for _, v, again in uses.handshakes if again]
    # A connection with the new certificate is made after the swap, and one that comes behind it is as well.
    old, late, firsts, newest = [], 0, {}, -1
    for number, version, again in sorted(uses.handshakes):
        firsts.setdefault(version, again)
        newest = max(newest, version)
        late += version < newest
        if version < newest and again:
            old.append((number, version, newest))
    report.check("sessions of the present certificate are resumed", len(resumed) > ROTATIONS, len(resumed))
    report.check("no connection made after the swap resumes a session of the replaced certificate", not old, f"{len(old)}: {old[:3]}")
    report.check("the first handshake of each certificate is a whole one", not any(firsts.values()),
                 [v for v, again in firsts.items() if again][:5])
    report.note(f"{len(uses.handshakes)} handshakes, {len(resumed)} resumed, {late} with a replaced certificate after the swap; the last request on a connection of a "
                f"replaced certificate came {max(ends, default=0) * 1e3:.0f} ms after the rotation's last file event")
    times, skipped, slow = pickups(uses.rows, rotations)
    at = lambda share: times[min(len(times) - 1, int(share * len(times)))] * 1e3
    report.note(f"from last file event to first use: p50 {at(.5):.0f} ms, p90 {at(.9):.0f} ms, p99 {at(.99):.0f} ms, "
                f"max {times[-1] * 1e3:.0f} ms; {skipped} versions were replaced before they were used")
    report.check(f"every rotation is in use within {LATEST * 1e3:.0f} ms", not slow, slow[:5])
    report.equal("the last version is in use at the end", uses.rows[-1][1], ROTATIONS)
    loud = [line for line in proxy.log.splitlines() if '"level":"info"' not in line]
    report.check("the log of so many rotations has no warning", not loud, f"{len(loud)} lines: {loud[:3]}")
