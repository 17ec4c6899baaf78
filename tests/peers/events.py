"""Event streams: what an upstream sends every 100 ms reaches the client before the next one is sent.

httpx, requests, Node's fetch and undici's EventSource, by a base URL and by interception. Every event carries the
upstream's monotonic clock, which is one for all programs of a machine; the clients compare it with their own.
"""

import http.server
import json
import os
import ssl
import statistics
import subprocess
import threading
import time

import httpx
import lib
import requests

HOST = "events.example"
EVENTS, GAP = 20, 0.1  # seconds
# A busy machine may stop a process for longer than a gap. An upstream or proxy that gathers even two events is late
# with every other one.
LATE_ALLOWED = 2


class Upstream(http.server.ThreadingHTTPServer):
    """Sends events, over TLS where there is a `context`, and says when a client of `/endless` has gone."""

    daemon_threads = True

    def __init__(self, context):
        self.context, self.gone, self.begun = context, threading.Event(), threading.Event()
        super().__init__(("127.0.0.1", 0), Handler)

    def finish_request(self, request, client_address):
        super().finish_request(self.context.wrap_socket(request, server_side=True) if self.context else request, client_address)

    def handle_error(self, request, client_address):
        pass  # a client that left is part of the checks


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def do_GET(self):
        if self.headers["Authorization"] != "Bearer a-token" or self.headers["Accept"] != "text/event-stream":
            self.send_error(401)
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if self.path == "/endless":
            self.endless()
            return
        due = time.monotonic()
        for number in range(EVENTS):
            due += GAP
            time.sleep(max(0.0, due - time.monotonic()))
            self.chunk(f'id: {number}\ndata: {{"number": {number}, "sent": {time.monotonic():.6f}}}\n\n'.encode())
        self.chunk(b"")

    def endless(self):
        try:
            while True:
                self.chunk(b": still here\n\n")
                self.server.begun.set()
                time.sleep(0.01)
        except OSError:
            self.server.gone.set()


def lines_to_events(lines):
    """[(number, sent, received)] of the lines of a stream, each stamped when it came."""
    found = []
    for line in lines:
        if line.startswith("data: "):
            now, event = time.monotonic(), json.loads(line[6:])
            found.append((event["number"], event["sent"], now))
    return found


ACCEPT = {"Accept": "text/event-stream"}


def by_httpx(url, proxy=None, ca=None):
    verify = ssl.create_default_context(cafile=ca)
    with httpx.Client(trust_env=False, timeout=20, proxy=proxy, verify=verify) as client, client.stream("GET", url, headers=ACCEPT) as answer:
        return lines_to_events(answer.iter_lines())


def by_requests(url, proxy=None, ca=None):
    with requests.Session() as session:
        session.trust_env = False
        # A larger chunk would have requests itself wait for more.
        answer = session.get(url, headers=ACCEPT, stream=True, timeout=20, proxies={"https": proxy} if proxy else None, verify=ca or True)
        return lines_to_events(answer.iter_lines(chunk_size=1, decode_unicode=True))


NODE = """
import { Agent, EventSource, ProxyAgent, fetch as ofUndici } from "undici";
const { client, url, proxy } = JSON.parse(process.argv[2]);
const dispatcher = proxy ? new ProxyAgent(proxy) : new Agent();
const now = () => Number(process.hrtime.bigint()) / 1e9;
const found = [];
const take = (data) => { const received = now(), event = JSON.parse(data); found.push([event.number, event.sent, received]); };
if (client === "EventSource") {
  await new Promise((resolve) => {
    const source = new EventSource(url, { node: { dispatcher } });
    source.onmessage = (event) => take(event.data);
    source.onerror = () => { source.close(); resolve(); };   // the stream's end; it would connect again
  });
} else {
  const get = proxy ? ofUndici : globalThis.fetch;
  const answer = await get(url, { headers: { accept: "text/event-stream" }, ...(proxy ? { dispatcher } : {}) });
  let rest = "";
  for await (const piece of answer.body.pipeThrough(new TextDecoderStream())) {
    const parts = (rest + piece).split("\\n\\n");
    rest = parts.pop();
    for (const part of parts) take(part.match(/^data: (.*)$/m)[1]);
  }
}
console.log(JSON.stringify(found));
process.exit(0);
"""


def by_node(bench, client):
    script = bench.node / "events.mjs"
    script.write_text(NODE)

    def run(url, proxy=None, ca=None):
        environment = {**os.environ, "NODE_EXTRA_CA_CERTS": str(ca) if ca else "", "NODE_NO_WARNINGS": "1"}
        done = subprocess.run(["node", script, json.dumps({"client": client, "url": url, "proxy": proxy})], capture_output=True, text=True,
                              timeout=60, cwd=bench.node, env=environment)
        if done.returncode:
            raise RuntimeError(done.stderr[-2000:])
        return json.loads(done.stdout)
    return run


def judge(report, what, events):
    """Whether all came, in order, and each before the next was sent; prints how long one was under way."""
    numbers = [number for number, _, _ in events]
    if not report.equal(f"{what}: all {EVENTS} events, in order", numbers, list(range(EVENTS))):
        return
    delays = [received - sent for _, sent, received in events]
    late = sum(received >= events[place + 1][1] for place, (_, _, received) in enumerate(events[:-1]))
    spread = events[-1][1] - events[0][1]
    report.check(f"{what}: each arrives before the next is sent", late <= LATE_ALLOWED and spread > GAP * (EVENTS - 1) * 0.9,
                 f"{late} late; sent over {spread:.2f} s; delays in ms {[round(delay * 1000, 1) for delay in delays]}")
    report.note(f"{what}: median {statistics.median(delays) * 1000:.1f} ms under way, slowest {max(delays) * 1000:.1f} ms")


def arrive(report, runs):
    """All at the same time: a stream must not hold up another one either."""
    results = {}

    def one(what, client, arguments):
        try:
            results[what] = client(*arguments)
        except Exception as error:  # told by judge
            results[what] = []
            report.note(f"{what}: {error!r}")

    threads = [threading.Thread(target=one, args=run) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for what, _, _ in runs:
        judge(report, what, results[what])


def checks(bench):
    report, authority = bench.report, lib.Authority()
    secrets = bench.subfolder("secrets")
    bench.secrets(secrets, token="a-token", ca_crt=authority.pem)
    upstream = bench.serve(Upstream(lib.server_context(bench.subfolder("pki"), authority, [HOST])))
    proxy = bench.proxy("events", f"""
[intercept]
dir       = "public"
ephemeral = true

[credential.token]
bearer = {{ secret = "token" }}

[[route]]
name       = "events"
host       = "{HOST}"
prefix     = "/events"
upstream   = "https://127.0.0.1:{upstream.server_address[1]}"
credential = "token"
tls        = {{ ca = "ca-crt" }}
""", secrets)
    base = f"http://127.0.0.1:{proxy.port}"
    ways = {"base URL": (f"{base}/events/feed",), "interception": (f"https://{HOST}/feed", base, str(proxy.folder / "public/countersign-ca.crt"))}
    clients = {"httpx": by_httpx, "requests": by_requests, "Node's fetch": by_node(bench, "fetch"), "EventSource": by_node(bench, "EventSource")}
    arrive(report, [(f"{client} by {way}", call, arguments) for client, call in clients.items() for way, arguments in ways.items()])

    with requests.get(f"{base}/events/endless", headers=ACCEPT, stream=True, timeout=20) as answer:
        upstream.begun.wait(10)
        report.check("nothing of the upstream ends before the client", answer.ok and not upstream.gone.is_set())
    report.check("a client that leaves ends the upstream's stream", upstream.gone.wait(10), "it still writes after 10 s")
    report.equal("SIGTERM ends countersign with status 0", proxy.stop(), 0)
