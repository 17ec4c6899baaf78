"""Cases about what a request asks for and who asks: request line, headers, Host, absolute-form, hop-by-hop, credentials, size."""

from .case import HIDDEN, Case, get

KEPT = ["/a%2Fb", "/a%2fb", "/a/../b", "/a/./b", "/%2e%2e/b", "/.%2E/b", "/a%252e%252e/b", "//other.test/x", "/a//b", "///a", "/%7Eu",
        "/a+b", "/a?", "/a?b?c=d", "/a?x=%0d%0aX-Injected:%201", "/a%0d%0aX: 1".replace(" ", "%20"), "/.", "/a;b=c", "/a%00b",
        "/?key=a&key=b", "/a%zz", "/a%", "/a|b", "/a[b]", "/a{b}", "/a^b", '/a"b', "/a\\b", "/a`b", "/a<b>"]
BAD_TARGETS = ["admin", "@other.test/", ":80@other.test/", "/a b", "/a\0b", "/a\x7fb", "/a\x1fb", "*"]
BAD_LINES = {
    "HTTP/0.9": b"GET /09\r\n\r\n", "HTTP/1.2": get("/v", version="HTTP/1.2"), "HTTP/2.0": get("/v", version="HTTP/2.0"),
    "padded version": get("/v", version="HTTP/01.01"), "http in lower case": get("/v", version="http/1.1"),
    "version with a letter": get("/v", version="HTTP/1.x"), "tabs": b"GET\t/t\tHTTP/1.1\r\nHost: api.test\r\n\r\n",
    "two spaces": b"GET  /t HTTP/1.1\r\nHost: api.test\r\n\r\n", "a space at the end": get("/v", version="HTTP/1.1 "),
    "a space first": b" " + get("/t"), "no method": b" /m HTTP/1.1\r\nHost: api.test\r\n\r\n", "a bracket in the method": get("/m", method="G(T"),
    "CR alone": b"GET /cr HTTP/1.1\rHost: api.test\r\r", "CRCRLF": b"GET /cr HTTP/1.1\r\r\nHost: api.test\r\r\n\r\r\n",
    "a TLS hello": b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03" + bytes(range(192)),
    "the PROXY protocol": b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n" + get("/px"),
}
BAD_HEADERS = {
    "a space before the colon": "X-A : z", "no colon": "JustText", "no name": ": z", "a folded line": "X-A: a\r\n b",
    "a NUL in a value": "X-A: a\0b", "a CR in a value": "X-A: a\rb", "a CR in a name": "X-\rA: z", "a bracket in a name": "X(A): z",
    "an 8-bit byte in a name": "X-\xe9: z", "a vertical tab in a name": "X-A\x0b: z", "an escape in a value": "X-A: \x1b[31m",
}
BAD_HOSTS = {
    "with a comma": "api.test, other.test", "with a NUL": "api.test\0.evil.test", "with %00": "api.test%00.evil.test",
    "with a user": "api.test@evil.test", "with a user before": "evil@api.test", "with a path": "api.test/x", "with a space": "api.test other.test",
    "with a bad port": "api.test:80a", "with a huge port": "api.test:99999999", "with two ports": "api.test:80:80", "of nobody": "evil.test",
    "that ends alike": "evilapi.test", "that begins alike": "api.test.evil.test", "that is the parent": "test", "empty": "",
    "that is the metadata service": "169.254.169.254", "that is loopback": "127.0.0.1", "in brackets": "[::1]", "with a scheme": "http://api.test",
    "with a query": "api.test?x", "in full-width letters": "\uff41pi.test",
}


def request_lines():
    yield Case("control: a GET", get("/plain?x=1"), "pass", target="/plain?x=1", method="GET", body=b"")
    for target in KEPT:
        yield Case(f"the target {target}", get(target), "either", target=target)
    for target in BAD_TARGETS:
        yield Case(f"the target {target!r}", get(target), "refuse")
    yield Case("a fragment is not part of what is asked for", get("/a#b"), "either", target="/a")
    yield Case("a fragment in the query", get("/a?x=1#y&admin=1"), "either", target="/a?x=1")
    for name, data in BAD_LINES.items():
        yield Case(f"request line: {name}", data, "refuse")
    yield Case("request line: LF alone", b"GET /lf HTTP/1.1\nHost: api.test\n\n", "either", target="/lf")
    yield Case("request line: an empty line first", b"\r\n" + get("/late"), "either", target="/late")
    yield Case("OPTIONS *", get("*", method="OPTIONS"), "either", target="*")
    yield Case("TRACE", get("/t", method="TRACE"), "refuse")
    yield Case("TRACK", get("/t", method="TRACK"), "either")
    yield Case("CONNECT to a route's host", get("api.test:443", host="api.test:443", method="CONNECT") + HIDDEN.encode(), "refuse")
    yield Case("CONNECT elsewhere", get("169.254.169.254:80", host="169.254.169.254:80", method="CONNECT"), "refuse")
    yield Case("a method of 10 000 letters", get("/m", method="M" * 10_000), "either")


def headers():
    for name, line in BAD_HEADERS.items():
        yield Case(f"header: {name}", get("/h", line, "X-After: 1"), "refuse")
    yield Case("header: a space before the first", b"GET /h HTTP/1.1\r\n Host: other.test\r\nHost: api.test\r\n\r\n", "refuse")
    yield Case("header: an end of CRs", b"GET /h HTTP/1.1\r\nHost: api.test\r\n\r\r\n" + HIDDEN.encode(), "refuse")
    yield Case("header: 8-bit bytes in a value", get("/h", "X-A: \xe9\xff"), "either")


def hosts():
    yield Case("control: the other route", get("/b", host="other.test"), "pass", host="other.test")
    yield Case("control: Host in capitals", get("/", host="API.TeSt"), "pass", host="api.test")
    for name, host in BAD_HOSTS.items():
        yield Case(f"a Host {name}", get("/", host=host), "refuse")
    yield Case("no Host", get("/", "X: y", host=None), "refuse", status=(400,))
    yield Case("two Hosts that differ", get("/", "Host: other.test"), "refuse", status=(400,))
    yield Case("two equal Hosts", get("/", "Host: api.test"), "refuse", status=(400,))
    yield Case("Host with a space before its colon", get("/", "Host : other.test"), "refuse")
    yield Case("a Host with a dot at the end", get("/", host="api.test."), "either", host="api.test")
    yield Case("a Host with a padded port", get("/", host="api.test:00080"), "either", host="api.test")
    for line in ("X-Forwarded-Host: other.test", "Forwarded: host=other.test", "X-Original-URL: /admin", "X-Rewrite-URL: /admin",
                 "X-HTTP-Method-Override: DELETE", "X-Host: other.test"):
        yield Case(f"{line.partition(':')[0]} changes nothing", get("/r", line), "pass", target="/r", method="GET", host="api.test")


def absolute():
    yield Case("control: absolute-form", get("http://api.test/x?y=1"), "pass", target="/x?y=1", host="api.test")
    yield Case("absolute-form without a path", get("http://api.test"), "either", target="/")
    yield Case("absolute-form with https", get("https://api.test/x"), "either", target="/x")
    yield Case("absolute-form in capitals", get("HTTP://API.TEST/x"), "either", target="/x", host="api.test")
    yield Case("absolute-form against Host", get("http://other.test/x"), "refuse", status=(400,))
    yield Case("absolute-form to nobody", get("http://evil.test/x", host="evil.test"), "refuse")
    yield Case("absolute-form to nobody against Host", get("http://evil.test/x"), "refuse")
    yield Case("absolute-form without Host", get("http://api.test/x", host=None), "either", target="/x", host="api.test")
    yield Case("absolute-form with a user", get("http://api.test@evil.test/x"), "refuse")
    yield Case("absolute-form with a user before", get("http://evil@api.test/x"), "refuse")
    yield Case("absolute-form with a backslash", get("http://api.test\\@evil.test/x"), "refuse")
    yield Case("absolute-form with a strange port", get("http://api.test:22/x", host="api.test:22"), "refuse")
    for scheme in ("ftp://api.test/x", "file:///etc/passwd", "unix:/tmp/s", "gopher://api.test/x", "http:/api.test/x", "http:///x"):
        yield Case(f"absolute-form {scheme}", get(scheme), "refuse")


def hop_by_hop():
    yield Case("Connection lists authorization", get("/c", "Connection: authorization"), "either")
    yield Case("Connection lists host", get("/c", "Connection: host"), "either", host="api.test")
    yield Case("Connection lists a header", get("/c", "Connection: X-Foo", "X-Foo: 1", "X-Bar: 2"), "pass", absent=["x-foo"], present={"x-bar": "2"})
    yield Case("Connection lists two on two lines", get("/c", "Connection: X-Foo", "Connection: close, X-Baz", "X-Foo: 1", "X-Baz: 2"),
               "pass", absent=["x-foo", "x-baz"])
    yield Case("Connection with bad tokens", get("/c", "Connection: a b, \xff"), "either")
    for line in ("Proxy-Authorization: Basic c2VjcmV0", "Proxy-Connection: keep-alive", "Keep-Alive: timeout=5", "TE: trailers", "TE: gzip"):
        yield Case(f"{line} stays here", get("/c", line), "pass", absent=[line.partition(":")[0].lower()])
    yield Case("an upgrade to h2c", get("/u", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQ"), "either",
               absent=["upgrade", "http2-settings"])
    yield Case("a WebSocket upgrade with a request behind it", get("/u", "Connection: Upgrade", "Upgrade: websocket",
               "Sec-WebSocket-Version: 1337", "Sec-WebSocket-Key: x") + HIDDEN.encode(), "either", requests=2)


def credentials():
    for line in ("Authorization: Bearer attacker", "authorization: Basic Og==", "AUTHORIZATION:", "Authorization_: x", "authorization: a\r\nAuthorization: b"):
        yield Case(f"the worker's own {line!r}", get("/k", line), "either")
    for line in ("X-Api-Key: attacker", "x_api_key: attacker", "X-API_Key: attacker", "X_Api-Key: attacker"):
        yield Case(f"the worker's own {line!r}", get("/k", line, host="other.test"), "either", absent=["x_api_key", "x-api_key", "x_api-key"])
    yield Case("a key of the other route is the worker's own affair", get("/k", "X-Api-Key: mine"), "either", present={"x-api-key": "mine"})
    yield Case("a browser's cross-site request", get("/k", "Origin: https://evil.example", "Sec-Fetch-Site: cross-site"), "refuse")
    yield Case("a browser's same-site request", get("/k", "Sec-Fetch-Site: same-site"), "refuse")
    yield Case("a foreign Origin", get("/k", "Origin: https://evil.example", method="POST"), "refuse")
    yield Case("the origin null", get("/k", "Origin: null"), "refuse")
    yield Case("a request typed into a browser", get("/k", "Sec-Fetch-Site: none"), "pass")
    yield Case("the upstream's own Origin", get("/k", "Origin: https://api.test", "Sec-Fetch-Site: same-origin"), "pass")
    yield Case("a CORS preflight", get("/k", "Origin: https://evil.example", "Access-Control-Request-Method: POST", method="OPTIONS"), "refuse")
    yield Case("Countersign headers stay here", get("/k", "Countersign-Tenant: x", "Countersign-Job: y", "Countersign-Anything: z"), "pass",
               absent=["countersign-tenant", "countersign-job", "countersign-anything"])


def sizes():
    yield Case("a header of 30 KiB", get("/s", "X-Big: " + "v" * 30_000), "pass")
    yield Case("a header of 100 KiB", get("/s", "X-Big: " + "v" * 100_000), "refuse")
    yield Case("a target of 70 KiB", get("/" + "u" * 70_000), "refuse")
    yield Case("90 headers", get("/s", *(f"X-{i}: v" for i in range(90))), "pass")
    yield Case("2000 headers", get("/s", *(f"X-{i}: v" for i in range(2000))), "refuse")
    yield Case("1000 nameless headers", get("/s", *([":"] * 1000)), "refuse")
    yield Case("a head without end", b"GET / HTTP/1.1\r\nHost: api.test\r\n" + b"X: v\r\n" * 100_000, "refuse")


def cases():
    for part in (request_lines, headers, hosts, absolute, hop_by_hop, credentials, sizes):
        yield from part()
