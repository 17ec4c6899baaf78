"""WebSockets between the `websockets` server and clients of Python and Node, over TLS upstream; redirects and page links
followed by `requests`."""

import json
import threading

import requests
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

import lib
import node_websockets
from echo import HOST, Echo

MANY = 40


def talk(report, url, echo):
    with connect(url, subprotocols=["chat"], additional_headers={"Authorization": "Bearer attacker"}, max_size=None) as client:
        report.equal("the subprotocol is agreed", client.subprotocol, "chat")
        report.check("compression is agreed end to end", "permessage-deflate" in client.response.headers.get("Sec-WebSocket-Extensions", ""),
                     client.response.headers)
        for what, message in [("a text", "grüße"), ("bytes", bytes(range(256))), ("1 MiB", "x" * (1 << 20)), ("nothing", "")]:
            client.send(message)
            report.equal(f"{what} comes back", client.recv(timeout=10), message)
        report.check("a ping is answered", client.ping().wait(10), "no pong")
        request = echo.seen[-1]
        report.equal("the handshake has the credential and nothing of the worker's", request.headers.get_all("Authorization"), ["Bearer a-token"])
        report.equal("the upstream sees its own Host", request.headers["Host"], HOST)
        client.send("close me")
        try:
            client.recv(timeout=10)
            report.check("the server's close arrives", False, "a message")
        except ConnectionClosed as end:
            report.equal("the server's close arrives with code and reason", (end.rcvd.code, end.rcvd.reason), (4001, "as you wish"))


def many(report, url):
    failed = []

    def one(number):
        try:
            with connect(url, subprotocols=["chat"]) as client:
                for turn in range(20):
                    client.send(f"{number} {turn}")
                    if client.recv(timeout=20) != f"{number} {turn}":
                        raise AssertionError("another one's message")
        except Exception as error:  # told below
            failed.append(repr(error))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(MANY)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    report.equal(f"{MANY} connections at a time keep their messages", failed, [])


def websockets(bench, echo, secrets):
    report = bench.report
    proxy = bench.proxy("websockets", f"""
[credential.token]
bearer = {{ secret = "token" }}

[[route]]
name       = "ws"
host       = "{HOST}"
prefix     = "/ws"
upstream   = "https://127.0.0.1:{echo.port}"
credential = "token"
tls        = {{ ca = "ca-crt" }}

[[route]]
name       = "off"
host       = "off.example"
prefix     = "/off"
upstream   = "https://127.0.0.1:{echo.port}"
credential = "token"
websocket  = false
tls        = {{ ca = "ca-crt", server_name = "{HOST}" }}
""", secrets)
    url = f"ws://127.0.0.1:{proxy.port}/ws/chat"
    talk(report, url, echo)
    report.equal("the path is cut", echo.seen[-1].path, "/chat")
    with connect(url, subprotocols=["chat"]) as client:
        client.send("x")
        client.recv(timeout=10)
    lib.wait_for("the server to see the end", lambda: 1000 in echo.closed)
    report.check("the client's close arrives", True)
    try:
        connect(f"ws://127.0.0.1:{proxy.port}/ws/refused", subprotocols=["chat"]).close()
        report.check("a refused handshake is an answer", False, "it was accepted")
    except InvalidStatus as refused:
        report.equal("a refused handshake is the upstream's answer", (refused.response.status_code, refused.response.body), (403, b"not you\n"))
    try:
        connect(f"ws://127.0.0.1:{proxy.port}/off/chat", subprotocols=["chat"]).close()
        report.check("websocket = false drops the upgrade", False, "it was accepted")
    except InvalidStatus as refused:
        report.check("websocket = false drops the upgrade", refused.response.status_code in (400, 426), refused.response)
    many(report, url)

    def ended():
        lines = [json.loads(line) for line in proxy.log.splitlines() if '"access"' in line]
        return [line for line in lines if line["status"] == 101]

    lib.wait_for("an access line of each tunnel", lambda: len(ended()) >= MANY + 2)
    tunnels = ended()
    report.equal("each tunnel has one access line", len(tunnels), MANY + 2)
    report.check("with the bytes of both directions", all(line["bytes_in"] > 0 and line["bytes_out"] > 0 for line in tunnels), tunnels[:3])
    with connect(url, subprotocols=["chat"]) as client:
        client.send("before")
        client.recv(timeout=10)
        proxy.process.terminate()
        client.send("while draining")
        report.equal("a tunnel goes on while draining", client.recv(timeout=10), "while draining")
    report.equal("and the process ends when it does", proxy.process.wait(timeout=20), 0)


def followed(bench, authority, folder, secrets):
    report, host = bench.report, "pages.example"

    def answer(request):
        if request.target == "/start":
            return f"HTTP/1.1 302 Found\r\nLocation: https://{host}/list?page=1\r\nContent-Length: 0\r\n\r\n".encode()
        if request.target == "/rooted":
            return b"HTTP/1.1 303 See Other\r\nLocation: /list?page=2\r\nContent-Length: 0\r\n\r\n"
        if request.target == "/list?page=1":
            return (f'HTTP/1.1 200 OK\r\nLink: <https://{host}/list?page=2>; rel="next", <https://elsewhere.example/>; rel="help"\r\n'
                    "Content-Length: 0\r\n\r\n").encode()
        return None

    upstream = bench.serve(lib.Recorder(lib.server_context(folder, authority, [host]), answer))
    own = lib.free_port()
    proxy = bench.proxy("links", f"""
[credential.token]
bearer = {{ secret = "token" }}

[[route]]
name       = "pages"
host       = "{host}"
prefix     = "/pages"
listen     = "127.0.0.1:{own}"
upstream   = "https://127.0.0.1:{upstream.port}"
credential = "token"
tls        = {{ ca = "ca-crt" }}
""", secrets)
    bases = {"a prefix": f"http://127.0.0.1:{proxy.port}/pages", "an own port": f"http://127.0.0.1:{own}"}
    for way, base in bases.items():
        first = requests.get(f"{base}/start", timeout=10)
        report.equal(f"{way}: a redirect is followed back through the proxy", (first.status_code, first.url), (200, f"{base}/list?page=1"))
        report.equal(f"{way}: links of other hosts stay", first.links["help"]["url"], "https://elsewhere.example/")
        second = requests.get(first.links["next"]["url"], timeout=10)
        report.equal(f"{way}: so is a page link", (second.status_code, second.url), (200, f"{base}/list?page=2"))
        rooted = requests.get(f"{base}/rooted", timeout=10)
        report.equal(f"{way}: and a rooted redirect", (rooted.status_code, rooted.url), (200, f"{base}/list?page=2"))
        seen = upstream.take()
        report.equal(f"{way}: every request has the credential and the upstream's Host",
                     {(request.one("authorization"), request.one("host")) for request in seen}, {("Bearer a-token", host)})
        report.equal(f"{way}: targets", [request.target for request in seen],
                     ["/start", "/list?page=1", "/list?page=2", "/rooted", "/list?page=2"])
    through = {"http": f"http://127.0.0.1:{proxy.port}"}
    answer_ = requests.get(f"http://{host}/start", proxies=through, timeout=10)
    report.equal("the forward proxy: a redirect is followed through it", (answer_.status_code, answer_.url), (200, f"http://{host}/list?page=1"))
    local = requests.get(f"http://127.0.0.1:{proxy.port}/start", headers={"Host": f"{host}.localhost:{proxy.port}"},
                         allow_redirects=False, timeout=10)
    report.equal("a localhost name stays one", local.headers["Location"], f"http://{host}.localhost:{proxy.port}/list?page=1")


def checks(bench):
    authority, folder = lib.Authority(), bench.subfolder("pki")
    secrets = bench.subfolder("secrets")
    bench.secrets(secrets, token="a-token", ca_crt=authority.pem)
    echo = Echo(lib.server_context(folder, authority, [HOST]))
    bench.stack.callback(echo.server.shutdown)
    websockets(bench, echo, secrets)
    node_websockets.checks(bench, echo, secrets)
    followed(bench, authority, folder, secrets)
