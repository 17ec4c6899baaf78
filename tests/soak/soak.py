"""What tests/soak/run does."""

import asyncio
import hashlib
import hmac
import os
import random
import time

import lib

HOST = "api.soaking.example"
CONNECTIONS, RATE = 24, 300
SILENT, CUT = 0.01, 0.001  # of all requests: connection closed without an answer, body cut short
KEPT = 8  # versions of the key that the upstream still accepts
CANARY = "canary-of-version-"
GROWTH = 1.05  # of resident memory between the end of the warm-up and the end


class Upstream:
    """Checks signature and certificate; fails on purpose now and then."""

    def __init__(self):
        self.keys, self.open = {}, set()
        self.good = self.unsigned = self.mixed = self.silent = self.cut = 0

    def accept_version(self, version, key):
        self.keys[version] = key
        self.keys.pop(version - KEPT, None)

    async def accept(self, reader, writer):
        task = asyncio.current_task()
        self.open.add(task)
        try:
            subject = writer.get_extra_info("ssl_object").getpeercert()["subject"]
            certificate = int(dict(part[0] for part in subject)["commonName"].rpartition("-")[2])
            while await self.one(reader, writer, certificate):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            self.open.discard(task)

    async def one(self, reader, writer, certificate):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
        text = f"GET\n{head.split(' ', 2)[1]}\n{fields.get('x-timestamp')}".encode()
        version = next((v for v, key in reversed(list(self.keys.items())) if hmac.compare_digest(
            hmac.new(key, text, hashlib.sha256).hexdigest(), fields.get("x-signature", ""))), None)
        if version is None:
            self.unsigned += 1
            writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
            return True
        self.mixed += version % len(CERTIFICATES) != certificate
        chance = random.random()
        if chance < SILENT:
            self.silent += 1
            return False
        if chance < SILENT + CUT:
            self.cut += 1
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\ncut")
            return False
        self.good += 1
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        return True


class Worker:
    """Keeps a steady rate and counts how requests ended."""

    def __init__(self, port):
        self.port, self.running, self.ends = port, True, {}

    async def one(self):
        reader = writer = None
        number, begin = 0, time.monotonic() + random.random() * CONNECTIONS / RATE
        while self.running:
            await asyncio.sleep(max(0.0, begin + number * CONNECTIONS / RATE - time.monotonic()))
            number += 1
            try:
                if writer is None:
                    reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.write(f"GET /n/{number} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
                head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)).decode().lower()
                status = head.split(" ")[1]
                length = int(head.partition("content-length: ")[2].split("\r\n")[0])
                end = status if "countersign-error" not in head else head.partition("countersign-error: ")[2].split("\r\n")[0]
                await asyncio.wait_for(reader.readexactly(length), 20)
            except asyncio.IncompleteReadError:
                end, writer = "cut", None
            except (OSError, TimeoutError, ValueError, IndexError) as error:
                end, writer = type(error).__name__, None
            self.ends[end] = self.ends.get(end, 0) + 1


CERTIFICATES = []


def checks(bench, minutes):
    report, folder = bench.report, bench.subfolder("pki")
    clients, servers = lib.Authority("Clients CA"), lib.Authority("Servers CA")
    context = lib.server_context(folder, servers, [HOST], clients)
    CERTIFICATES.extend(clients.issue(f"client-{n}") for n in range(16))
    secrets = bench.subfolder("secrets")
    bench.secrets(secrets, **{"ca.crt": servers.pem})
    kubelet, upstream = lib.Kubelet(secrets / "partner"), Upstream()

    def rotate(version):
        key = f"{CANARY}{version:08d}".encode()
        certificate, private = CERTIFICATES[version % len(CERTIFICATES)]
        upstream.accept_version(version, key)
        kubelet.write({"hmac-key": key, "tls.crt": certificate, "tls.key": private})

    def body(port, spare):
        return f"""
[credential.partner.hmac]
secret = "partner/hmac-key"
sign = "{{method}}\\n{{target}}\\n{{timestamp}}"
set = {{ "X-Signature" = "{{signature}}", "X-Timestamp" = "{{timestamp}}" }}

[[route]]
name = "soaking"
host = "{HOST}"
upstream = "https://127.0.0.1:{port}"
credential = "partner"
tls = {{ client_cert = "partner/tls.crt", client_key = "partner/tls.key", ca = "ca.crt" }}

[[route]]
name = "spare-{spare}"
host = "spare-{spare}.example"
credential = "none"
"""

    rotate(0)
    rows = []

    async def scenario():
        server = await asyncio.start_server(upstream.accept, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        proxy = await asyncio.to_thread(bench.proxy, "proxy", body(port, 0), secrets)
        worker = Worker(proxy.port)
        tasks = [asyncio.create_task(worker.one()) for _ in range(CONNECTIONS)]
        begin, version, config = time.monotonic(), 0, proxy.folder / "proxy.toml"
        text = config.read_text()
        while (past := time.monotonic() - begin) < minutes * 60:
            await asyncio.sleep(1)
            version += 1
            await asyncio.to_thread(rotate, version)
            if version % 60 == 0:
                fresh = config.with_suffix(".new")
                fresh.write_text(text.replace("spare-0", f"spare-{version}"))
                fresh.rename(config)
            if version % 60 == 0 or past + 2 > minutes * 60:
                files = len(os.listdir(f"/proc/{proxy.process.pid}/fd"))
                rows.append((past / 60, proxy.memory("VmRSS"), files, sum(worker.ends.values())))
                report.note("minute %.1f: %.1f MiB resident, %d descriptors, %d requests" % (
                    past / 60, rows[-1][1] / 2**20, files, rows[-1][3]))
        worker.running = False
        await asyncio.gather(*tasks)
        status = await asyncio.to_thread(proxy.stop)
        server.close()
        return proxy, worker, status, version

    proxy, worker, status, version = asyncio.run(scenario())
    ends = worker.ends
    report.note(f"{sum(ends.values())} requests, {version} rotations; ends: {ends}; the upstream closed {upstream.silent} "
                f"connections without an answer and cut {upstream.cut} bodies")
    report.equal("every request of the worker has an end that the upstream caused",
                 set(ends) - {"200", "cut", "upstream_unreachable"}, set())
    report.check("no more failures than the upstream caused",
                 ends.get("upstream_unreachable", 0) <= upstream.silent and ends.get("cut", 0) <= upstream.cut, ends)
    report.equal("no request with a wrong signature", upstream.unsigned, 0)
    report.equal("signature and certificate are always of one version", upstream.mixed, 0)
    report.equal("it drains and exits 0", status, 0)
    report.check("no secret in the log", CANARY not in proxy.log)
    report.check("the log has no panic", "panicked" not in proxy.log)
    warm = rows[min(len(rows) - 1, max(1, len(rows) // 8))]
    if minutes >= 10:
        report.check("memory does not grow after the warm-up", rows[-1][1] <= warm[1] * GROWTH, (warm, rows[-1]))
    report.check("descriptors do not grow", rows[-1][2] <= warm[2] + CONNECTIONS, (warm, rows[-1]))
