"""HTTP/2 on both sides, with curl, httpx, h2load and gRPC as clients, nghttpx and nginx as upstreams.

The upstreams demand a bearer token that no client has. nghttpx and nginx themselves say which protocol they were
spoken to in; the clients say which one they spoke.
"""

import asyncio
import collections
import json
import re
import ssl
import subprocess

import events
import grpc_calls
import httpx
import lib
from echo import Echo
from websockets.sync.client import connect

HOST, OLD, LOADED, FEED, CHAT = "api.partner.example", "old.partner.example", "load.partner.example", "feed.partner.example", "chat.partner.example"
TARGET = "/v2/orders?limit=5&state=open%20now"
BODY = b'{"order": 17, "note": "caf\xc3\xa9"}'
AT_A_TIME = 100
PER_CONNECTION = 50  # requests, after which nginx says GOAWAY


def backend(request):
    """What stands behind nghttpx, and is an HTTP/1.1 upstream by itself as well."""
    def answer(status, value):
        body = b"" if request.method == "HEAD" else json.dumps(value).encode()
        return f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body

    if request.all("authorization") != ["Bearer a-token"]:
        return answer(401, {"error": "who are you"})
    if request.target == "/large":
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(LARGE) + LARGE
    if request.target.startswith("/status/"):
        return f"HTTP/1.1 {request.target[8:]} X\r\nETag: \"e\"\r\n\r\n".encode()
    body = request.body.decode() if len(request.body) < 1000 else f"{len(request.body)} bytes, right: {request.body == LARGE}"
    return answer(200, {"method": request.method, "target": request.target, "host": request.one("host"), "body": body,
                        "cookie": request.one("cookie"), "by http/2": "2 nghttpx" in " ".join(request.all("via"))})


LARGE = bytes(number * 31 & 0xff for number in range(256)) * (12 << 12)  # 12 MiB, many times every window


def nginx_block(bench, authority, port):
    """An HTTP/2 upstream that ends each connection after some requests, and writes down what it did."""
    folder = bench.subfolder("nginx-pair")
    for name, content in zip(("crt", "key"), authority.issue("nginx", [LOADED])):
        (folder / f"server.{name}").write_bytes(content)
    return f"""log_format told '$connection $server_protocol $status $request_length';
    server {{
        listen 127.0.0.1:{port} ssl http2;
        ssl_certificate {folder}/server.crt;
        ssl_certificate_key {folder}/server.key;
        keepalive_requests {PER_CONNECTION};
        access_log {folder}/access.log told;
        location / {{
            if ($http_authorization != "Bearer a-token") {{ return 401; }}
            return 200 "as long as an answer is\\n";
        }}
    }}""", folder / "access.log"


def setup(bench, authority, secrets):
    recorder = bench.serve(lib.Recorder(answer=backend))
    old = bench.serve(lib.Recorder(lib.server_context(bench.subfolder("pki"), authority, [OLD]), backend))
    feed = bench.serve(events.Upstream(None))
    echo = Echo(None)
    bench.stack.callback(echo.server.shutdown)
    ports = {HOST: bench.nghttpx(authority, HOST, recorder.port), OLD: old.port, LOADED: lib.free_port(),
             FEED: bench.nghttpx(authority, FEED, feed.server_address[1]), CHAT: bench.nghttpx(authority, CHAT, echo.port)}
    block, log = nginx_block(bench, authority, ports[LOADED])
    bench.nginx(block)
    lib.wait_for("nginx", lambda: lib.listening(ports[LOADED]))
    tls_port = lib.free_port()
    routes = "".join(f"""
[[route]]
name       = "{host.split(".")[0]}"
host       = "{host}"
prefix     = "/{host.split(".")[0]}"
upstream   = "https://127.0.0.1:{port}"
credential = "token"
tls        = {{ ca = "ca-crt" }}
limits     = {{ in_flight = 1000 }}
""" for host, port in ports.items())
    proxy = bench.proxy("http2", f"""
[intercept]
dir       = "public"
ephemeral = true

[credential.token]
bearer = {{ secret = "token" }}
{routes}""", secrets, listen_keys=f'tls = "127.0.0.1:{tls_port}"\n', tls=tls_port)
    return proxy, ports, log


def curl(*arguments, data=None):
    done = subprocess.run(["curl", "-sS", "-m", "20", "-w", "\n%{http_code} %{http_version}", *map(str, arguments)], input=data, capture_output=True)
    body, _, end = done.stdout.rpartition(b"\n")
    status, _, version = end.decode().partition(" ")
    return int(status or 0), version, body, done.stderr.decode()


def good(status, version, body, method="GET", sent=b"", host=HOST, wanted="2", by_http2=True, cookie=None):
    try:
        seen = json.loads(body)
    except ValueError:
        return False
    return (status, version) == (200, wanted) and seen == {
        "method": method, "target": TARGET, "host": host, "body": sent.decode(), "cookie": cookie, "by http/2": by_http2}


def refused_directly(report, authority, folder, ports):
    (folder / "ca.crt").write_bytes(authority.pem)
    for host in (HOST, LOADED):
        status, version, _, error = curl("--cacert", folder / "ca.crt", "--connect-to", f"::127.0.0.1:{ports[host]}", f"https://{host}/")
        report.check(f"{host} speaks HTTP/2 and refuses curl without the credential", (status, version) == (401, "2"), (status, version, error))


def by_curl(report, proxy, ca):
    base = f"http://127.0.0.1:{proxy.port}"
    known = ["--http2-prior-knowledge"]
    inside = ["--http2", "--cacert", ca]
    ways = {
        "prior knowledge and a prefix": [*known, f"{base}/api{TARGET}"],
        "prior knowledge and :authority": [*known, "--connect-to", f"::127.0.0.1:{proxy.port}", f"http://{HOST}{TARGET}"],
        "CONNECT": [*inside, "--proxy", base, f"https://{HOST}{TARGET}"],
        "TLS by name": [*inside, "--connect-to", f"::127.0.0.1:{proxy.ports['tls']}", f"https://{HOST}{TARGET}"],
    }
    for way, arguments in ways.items():
        got = curl("-H", "Authorization: Bearer attacker", *arguments)
        posted = curl("--data-binary", "@-", *arguments, data=BODY)
        put = curl("-T", "-", *arguments, data=BODY)
        report.check(f"curl by {way}: GET, POST with a length, PUT without one, all in HTTP/2",
                     good(*got[:3]) and good(*posted[:3], "POST", BODY) and good(*put[:3], "PUT", BODY), (got, posted, put))
        at = lambda target: [word.replace(TARGET, target) for word in arguments]
        large = curl("--data-binary", "@-", *at("/echo"), data=LARGE)
        report.check(f"curl by {way}: 12 MiB go up", large[0] == 200 and b"12582912 bytes, right: true" in large[2].lower(), (large[0], large[2][:200], large[3]))
        down = curl(*at("/large"))
        report.check(f"curl by {way}: 12 MiB come down", down[:2] == (200, "2") and down[2] == LARGE, (down[0], len(down[2]), down[3]))
        head = curl("-I", *arguments)
        report.check(f"curl by {way}: HEAD has the head alone", head[:2] == (200, "2") and b"content-type" in head[2] and not head[3], head)
        codes = [curl(*at(f"/status/{code}"))[:3] for code in (204, 304)]
        report.equal(f"curl by {way}: 204 and 304", codes, [(204, "2", b""), (304, "2", b"")])
    status, version, body, _ = curl(*known, "-H", "Host: stranger.example", base + "/")
    report.check("curl: an :authority without a route gets 421 in HTTP/2", (status, version) == (421, "2") and b"no_route" in body, (status, version, body))
    for way in ("CONNECT", "TLS by name"):
        status, version, body, _ = curl("-H", f"Host: {OLD}", *ways[way])
        report.check(f"curl by {way}: another :authority gets 421", (status, version) == (421, "2") and b"no_route" in body, (status, version, body))
    got = curl("-H", "Cookie: a=1; b=2", *ways["CONNECT"])
    report.check("curl: cookies arrive as one line", good(*got[:3], cookie="a=1; b=2"), got)
    several = subprocess.run(["curl", "-sS", "-m", "20", "-Z", "--parallel-max", "50", "-w", "%{http_code} %{http_version} %{num_connects}\n", *inside, "--proxy", base,
                              *[word for number in range(50) for word in ("-o", "/dev/null", f"https://{HOST}/{number}")]], capture_output=True, text=True)
    lines = [line.split() for line in several.stdout.splitlines()]
    report.check("curl: 50 requests at a time inside one CONNECT", [line[:2] for line in lines] == [["200", "2"]] * 50
                 and sum(int(line[2]) for line in lines) <= 2, (lines[:5], sum(int(line[2]) for line in lines), several.stderr[-500:]))


def mixed(report, proxy):
    """Each side's protocol is its own."""
    base = f"http://127.0.0.1:{proxy.port}"
    got, posted = curl(f"{base}/api{TARGET}"), curl("--data-binary", "@-", f"{base}/api{TARGET}", data=BODY)
    report.check("HTTP/1.1 in, HTTP/2 out", good(*got[:3], wanted="1.1") and good(*posted[:3], "POST", BODY, wanted="1.1"), (got, posted))
    known = ["--http2-prior-knowledge", f"{base}/old{TARGET}"]
    got, posted, put = curl(*known), curl("--data-binary", "@-", *known, data=BODY), curl("-T", "-", *known, data=BODY)
    report.check("HTTP/2 in, HTTP/1.1 out", good(*got[:3], host=OLD, by_http2=False) and good(*posted[:3], "POST", BODY, OLD, by_http2=False)
                 and good(*put[:3], "PUT", BODY, OLD, by_http2=False), (got, posted, put))
    with connect(f"ws://127.0.0.1:{proxy.port}/chat/x", subprotocols=["chat"]) as client:
        client.send("over HTTP/1.1")
        report.equal("a WebSocket takes HTTP/1.1 where the upstream would rather have HTTP/2", client.recv(timeout=10), "over HTTP/1.1")


def by_httpx(report, proxy, ca):
    base = f"http://127.0.0.1:{proxy.port}"
    trusted = ssl.create_default_context(cafile=ca)
    ways = {
        "prior knowledge": ({"http1": False, "http2": True}, f"{base}/api"),
        "prior knowledge and Host": ({"http1": False, "http2": True, "headers": {"Host": HOST}}, base),
        "interception": ({"http2": True, "proxy": base, "verify": trusted}, f"https://{HOST}"),
    }
    one = httpx.Limits(max_connections=1)

    # Without bodies: httpcore breaks its own connection when many are under way on it, with nghttpx alone as well.
    async def together(options, url):
        async with httpx.AsyncClient(trust_env=False, timeout=30, limits=one, **options) as client:
            answers = await asyncio.gather(*[client.get(f"{url}?{number}") for number in range(AT_A_TIME)])
            return [(answer.status_code, answer.http_version, answer.json()["target"]) for answer in answers]

    for way, (options, url) in ways.items():
        with httpx.Client(trust_env=False, timeout=20, **options) as client:
            got, posted = client.get(url + TARGET), client.post(url + TARGET, content=iter([BODY[:7], BODY[7:]]))
            report.check(f"httpx by {way}: GET, and POST in pieces", good(got.status_code, got.http_version, got.content, wanted="HTTP/2")
                         and good(posted.status_code, posted.http_version, posted.content, "POST", BODY, wanted="HTTP/2"), (got.text, posted.text))
        answers = asyncio.run(together(options, f"{url}/together"))
        report.equal(f"httpx by {way}: {AT_A_TIME} at a time on one connection get their own answers", answers,
                     [(200, "HTTP/2", f"/together?{number}") for number in range(AT_A_TIME)])


def h2load(*arguments):
    done = subprocess.run(["h2load", *map(str, arguments)], capture_output=True, text=True, timeout=120)
    counts = re.search(r"requests: (\d+) total, \d+ started, \d+ done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", done.stdout)
    good = re.search(r"status codes: (\d+) 2xx", done.stdout)
    rate = re.search(r"finished in .*", done.stdout)
    return [int(count) for count in counts.groups()] if counts else None, int(good[1]) if good else 0, rate[0] if rate else done.stderr, done.stdout


def outcomes(proxy):
    """What countersign said of its answers so far."""
    lines = [json.loads(line) for line in proxy.log.splitlines() if '"access"' in line]
    return collections.Counter((line["status"], line["error"]) for line in lines)


def load(bench, proxy, log):
    """h2load's many streams, on nginx that ends connections all the while."""
    report, total = bench.report, 20000
    body = bench.folder / "posted"
    body.write_bytes(BODY)
    base = f"http://127.0.0.1:{proxy.port}/load/x"
    for what, requests, arguments in [("GET", total, []), ("POST", total // 4, ["-d", body])]:
        before = log.read_text().count("\n")
        counts, fine, rate, text = h2load("-n", requests, "-c", 8, "-m", AT_A_TIME, *arguments, base)
        if not report.check(f"h2load {what}: 8 connections with {AT_A_TIME} streams each, none fails",
                            (counts, fine) == ([requests, requests, 0, 0, 0], requests), (text, outcomes(proxy))):
            continue
        report.check(f"h2load {what}: over HTTP/2 without TLS", "h2c" in text, text)
        report.note(f"h2load {what}: {rate}")
        lib.wait_for("nginx to write its log", lambda: log.read_text().count("\n") >= before + requests)
        lines = [line.split() for line in log.read_text().splitlines()[before:]]
        report.equal(f"h2load {what}: nginx was spoken to in HTTP/2 and answered each once", ({tuple(line[1:3]) for line in lines}, len(lines)),
                     ({("HTTP/2.0", "200")}, requests))
        connections = {}
        for line in lines:
            connections[line[0]] = connections.get(line[0], 0) + 1
        report.check(f"h2load {what}: nginx's GOAWAYs came, after {PER_CONNECTION} requests each", len(connections) >= requests // PER_CONNECTION
                     and max(connections.values()) <= PER_CONNECTION, (len(connections), max(connections.values())))
        report.note(f"h2load {what}: nginx saw {len(connections)} connections")


def event_streams(report, proxy, ca):
    """As in `events`, with HTTP/2 on both sides."""
    base = f"http://127.0.0.1:{proxy.port}"

    def reader(options, url):
        def call():
            with httpx.Client(trust_env=False, timeout=20, **options) as client, client.stream("GET", url, headers=events.ACCEPT) as answer:
                return events.lines_to_events(answer.iter_lines()) if answer.http_version == "HTTP/2" else []
        return call

    events.arrive(report, [
        ("events by prior knowledge", reader({"http1": False, "http2": True}, f"{base}/feed/x"), ()),
        ("events by interception", reader({"http2": True, "proxy": base, "verify": ssl.create_default_context(cafile=ca)}, f"https://{FEED}/x"), ())])


def checks(bench):
    authority, report = lib.Authority(), bench.report
    secrets = bench.subfolder("secrets")
    bench.secrets(secrets, token="a-token", ca_crt=authority.pem)
    proxy, ports, log = setup(bench, authority, secrets)
    ca = str(proxy.folder / "public/countersign-ca.crt")
    refused_directly(report, authority, bench.subfolder("pki"), ports)
    by_curl(report, proxy, ca)
    mixed(report, proxy)
    by_httpx(report, proxy, ca)
    event_streams(report, proxy, ca)
    load(bench, proxy, log)
    report.equal("SIGTERM ends countersign with status 0", proxy.stop(), 0)
    grpc_calls.checks(bench, authority, secrets)
