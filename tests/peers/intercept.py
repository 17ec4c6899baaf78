"""curl, Python requests and httpx, and Node as clients of interception: by CONNECT and by TLS on the name alone.

The upstream demands a bearer token that no client has. Certificates are looked at with OpenSSL, which nobody here wrote.
"""

import json
import os
import socket
import ssl
import subprocess
import time

import httpx
import lib
import requests

HOST, SHOP, ADDRESS = "api.partner.example", "m1.shops.example", "127.9.9.9"
TARGET = "/v2/orders?limit=5&state=open%20now"
BODY = b'{"order": 17}'


def upstream(request):
    def answer(status, value):
        body = json.dumps(value).encode()
        return f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body

    if request.one("authorization") != "Bearer no-worker-has-it":
        return answer(401, {"error": "who are you"})
    return answer(200, {"method": request.method, "target": request.target, "host": request.one("host"), "body": request.body.decode()})


def good(status, body, method="GET", sent=b"", host=HOST):
    try:
        seen = json.loads(body)
    except ValueError:
        return False
    return status == 200 and seen == {"method": method, "target": TARGET, "host": host, "body": sent.decode()}


def setup(bench):
    secrets = bench.subfolder("intercept-secrets")
    (secrets / "token").write_text("no-worker-has-it")
    recorder = bench.serve(lib.Recorder(answer=upstream))
    tls_port = lib.free_port()
    proxy = bench.proxy("intercept", f"""
[intercept]
dir = "public"
key_dir = "private"

[credential.partner]
bearer = {{ secret = "token" }}

[[route]]
name = "partner"
host = "{HOST}"
upstream = "http://127.0.0.1:{recorder.port}"
credential = "partner"

[[route]]
name = "shops"
host = "{{shop}}.shops.example"
upstream = "http://127.0.0.1:{recorder.port}"
credential = "partner"

[[route]]
name = "address"
host = "{ADDRESS}"
upstream = "http://127.0.0.1:{recorder.port}"
credential = "partner"
""", secrets, listen_keys=f'tls = "127.0.0.1:{tls_port}"\n', tls=tls_port)
    return proxy, tls_port, proxy.folder / "public/countersign-ca.crt"


def curl(*arguments, data=None):
    done = subprocess.run(["curl", "-sS", "-m", "20", "-w", "\n%{http_code}", *map(str, arguments)], input=data, capture_output=True)
    body, _, status = done.stdout.rpartition(b"\n")
    return int(status or 0), body, done.stderr.decode()


def by_curl(report, proxy, tls_port, ca):
    ways = {"HTTPS_PROXY": ["--proxy", f"http://127.0.0.1:{proxy.port}"],
            "TLS by name": ["--connect-to", f"::127.0.0.1:{tls_port}"]}
    for way, arguments in ways.items():
        base = [*arguments, "--cacert", ca]
        # An address is no name for SNI.
        for host in (HOST, SHOP, ADDRESS) if way == "HTTPS_PROXY" else (HOST, SHOP):
            url = f"https://{host}{TARGET}"
            got = curl(*base, url)
            posted = curl(*base, "--data-binary", "@-", url, data=BODY)
            put = curl(*base, "-T", "-", "-H", "Transfer-Encoding: chunked", url, data=BODY)
            report.check(f"curl by {way} to {host}: GET, POST with a length, chunked PUT",
                         good(*got[:2], host=host) and good(*posted[:2], "POST", BODY, host) and good(*put[:2], "PUT", BODY, host),
                         (got, posted, put))
        status, body, error = curl(*base, "-H", f"Host: {SHOP}", f"https://{HOST}/")
        report.check(f"curl by {way}: another Host gets 421", status == 421 and b"no_route" in body, (status, body, error))
        status, _, error = curl(*arguments, f"https://{HOST}/")
        report.check(f"curl by {way}: without the CA the certificate is refused", status == 0 and "certificate" in error, (status, error))
        two = curl(*base, f"https://{HOST}{TARGET}", f"https://{HOST}{TARGET}", "-v")
        report.check(f"curl by {way}: the connection is used again", "Re-using" in two[2], two[2][-600:])
    status, _, error = curl("--proxy", f"http://127.0.0.1:{proxy.port}", "--cacert", ca, "https://stranger.example/")
    report.check("curl: CONNECT to a host without a route gets 421", status == 0 and "421" in error, (status, error))
    _, _, error = curl("--connect-to", f"::127.0.0.1:{tls_port}", "--cacert", ca, "https://stranger.example/")
    report.check("curl: a name without a route is unrecognized", "unrecognized name" in error, error)


def by_python(report, proxy, ca, monkey=os.environ):
    url = f"https://{HOST}{TARGET}"
    before = dict(monkey)
    monkey.update({"HTTPS_PROXY": f"http://127.0.0.1:{proxy.port}", "REQUESTS_CA_BUNDLE": str(ca), "SSL_CERT_FILE": str(ca)})
    try:
        with requests.Session() as session:
            got, posted = session.get(url, timeout=20), session.post(url, data=iter([BODY[:4], BODY[4:]]), timeout=20)
            report.check("requests by HTTPS_PROXY and REQUESTS_CA_BUNDLE: GET and a chunked POST", good(got.status_code, got.content)
                         and good(posted.status_code, posted.content, "POST", BODY), (got.text, posted.text))
        with httpx.Client(timeout=20, verify=ssl.create_default_context()) as client:
            got, posted = client.get(url), client.post(url, content=BODY)
            report.check("httpx by HTTPS_PROXY and SSL_CERT_FILE: GET and POST", good(got.status_code, got.content)
                         and good(posted.status_code, posted.content, "POST", BODY), (got.text, posted.text))
    finally:
        monkey.clear()
        monkey.update(before)


NODE = """
import { ProxyAgent, fetch } from "undici";
const { proxy, url, body } = JSON.parse(process.argv[2]);
const dispatcher = new ProxyAgent(proxy);
const read = async (answer) => ({ status: answer.status, text: await answer.text() });
console.log(JSON.stringify({
  got: await read(await fetch(url, { dispatcher })),
  posted: await read(await fetch(url, { dispatcher, method: "POST", body })),
}));
process.exit(0);
"""


def by_node(report, bench, proxy, ca):
    script = bench.node / "intercept.mjs"
    script.write_text(NODE)
    given = json.dumps({"proxy": f"http://127.0.0.1:{proxy.port}", "url": f"https://{HOST}{TARGET}", "body": BODY.decode()})
    done = subprocess.run(["node", script, given], capture_output=True, text=True, timeout=60, cwd=bench.node,
                          env={**os.environ, "NODE_EXTRA_CA_CERTS": str(ca)})
    line = json.loads(done.stdout) if done.returncode == 0 else {"got": {}, "posted": {}}
    got, posted = line["got"], line["posted"]
    report.check("Node's undici by ProxyAgent and NODE_EXTRA_CA_CERTS: GET and POST", good(got.get("status"), got.get("text", ""))
                 and good(posted.get("status"), posted.get("text", ""), "POST", BODY), (line, done.stderr[-1000:]))


def by_openssl(report, proxy, tls_port, ca):
    shown = subprocess.run(["openssl", "x509", "-in", ca, "-noout", "-text"], capture_output=True, text=True).stdout
    for host in (HOST, ADDRESS):
        issued = subprocess.run(["openssl", "s_client", "-connect", f"{host}:443", "-proxy", f"127.0.0.1:{proxy.port}", "-CAfile", ca,
                                 "-verify_return_error", *(["-verify_ip", host, "-noservername"] if host == ADDRESS else [])],
                                input=b"", capture_output=True).stdout.decode(errors="replace")
        report.check(f"OpenSSL verifies the leaf for {host} inside CONNECT", "Verify return code: 0 (ok)" in issued, issued[-1000:])
    report.check("OpenSSL sees critical name constraints", "X509v3 Name Constraints: critical" in shown
                 and f"DNS:{HOST}" in shown and "DNS:shops.example" in shown, shown)
    done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{tls_port}", "-servername", HOST, "-CAfile", ca,
                           "-verify_return_error", "-verify_hostname", HOST, "-alpn", "h2,http/1.1"], input=b"", capture_output=True)
    text = done.stdout.decode(errors="replace")
    report.check("OpenSSL verifies the leaf and its name, and gets h2", "Verify return code: 0 (ok)" in text
                 and "ALPN protocol: h2" in text, text[-1500:])
    done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{tls_port}", "-noservername", "-CAfile", ca], input=b"",
                          capture_output=True)
    report.check("OpenSSL without a name gets unrecognized_name", b"unrecognized name" in done.stderr, done.stderr[-500:])


def slow_handshakes(report, proxy, tls_port):
    for way, port in (("a CONNECT", proxy.port), ("the TLS listener", tls_port)):
        with socket.create_connection(("127.0.0.1", port)) as silent:
            silent.settimeout(20)
            if port == proxy.port:
                silent.sendall(f"CONNECT {HOST}:443 HTTP/1.1\r\nHost: {HOST}:443\r\n\r\n".encode())
                report.check("CONNECT is answered with 200", silent.recv(100).startswith(b"HTTP/1.1 200"))
            begin = time.monotonic()
            ended = silent.recv(1) == b""
            took = time.monotonic() - begin
            report.check(f"a silent handshake on {way} ends after ten seconds", ended and 9 < took < 13, (ended, took))


def command(report, bench, proxy, ca):
    config = proxy.folder / "proxy.toml"
    done = bench.command("ca", "--pem", "-c", config)
    report.equal("`countersign ca --pem` is the certificate", done.stdout.split(), ca.read_text().split())
    done = bench.command("ca", "-c", config)
    bundle = bench.folder / "printed.pem"
    bundle.write_text(done.stdout)
    status, body, error = curl("--proxy", f"http://127.0.0.1:{proxy.port}", "--cacert", bundle, f"https://{HOST}{TARGET}")
    report.check("what `countersign ca` prints can be a CA file as it is", good(status, body), (status, body, error))


def checks(bench):
    proxy, tls_port, ca = setup(bench)
    report = bench.report
    by_curl(report, proxy, tls_port, ca)
    by_python(report, proxy, ca)
    by_node(report, bench, proxy, ca)
    by_openssl(report, proxy, tls_port, ca)
    command(report, bench, proxy, ca)
    slow_handshakes(report, proxy, tls_port)
    report.equal("SIGTERM ends countersign with status 0", proxy.stop(), 0)
