"""Cases about bad upstreams: what they answer, and what the worker may see of it.

Each is (name, bytes of the answer, judge). The upstream sends the bytes and closes the connection only where `CLOSE`
ends them. A judge takes the answers that the worker read and says what is wrong, or nothing.
"""

CLOSE = b"<close>"
EVIL = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nEVIL!"


def ok(*lines, body=b"", status="200 OK"):
    return f"HTTP/1.1 {status}\r\n{''.join(line + chr(13) + chr(10) for line in lines)}\r\n".encode("latin-1") + body


def gateway(seen):
    """The proxy answers for the upstream."""
    if len(seen) != 1 or seen[0].first not in (502, 504):
        return f"wanted 502 or 504, saw {[s.first for s in seen]}"


def whole(body, status=200):
    def judge(seen):
        if len(seen) != 1 or not seen[0].complete or (seen[0].first, seen[0].body) != (status, body):
            return f"wanted {status} with {body!r}, saw {[(s.first, s.body[:60], s.complete) for s in seen]}"
    return judge


def cut(seen):
    """An unfinished body must not look finished: an unfinished answer, or the proxy's own 502."""
    if gateway(seen) and any(s.complete for s in seen):
        return f"a cut body looks whole: {[(s.first, s.body[:60]) for s in seen]}"


def either(*judges):
    def judge(seen):
        found = [j(seen) for j in judges]
        return None if None in found else "; or ".join(found)
    return judge


def without(*names, **wanted):
    def judge(seen):
        if trouble := whole(b"ok")(seen):
            return trouble
        if bad := [n for n in names if seen[0].all(n)]:
            return f"these reached the worker: {bad}"
        if bad := [n for n, v in wanted.items() if seen[0].all(n.replace("_", "-")) != [v]]:
            return f"these did not reach the worker: {bad}"
    return judge


TWO = "Content-Length: 2"
CHUNKED = "Transfer-Encoding: chunked"
CASES = [
    ("nothing", CLOSE, gateway),
    ("half a head", b"HTTP/1.1 200 OK\r\nContent-" + CLOSE, gateway),
    ("no HTTP", b"220 mail.example ESMTP\r\n" + CLOSE, gateway),
    ("HTTP/0.9", b"<html>hello</html>" + CLOSE, gateway),
    ("a status of two digits", ok(TWO, body=b"ok", status="20 OK"), gateway),
    ("a status that is no number", ok(TWO, body=b"ok", status="2xx OK"), gateway),
    ("two lengths that differ", ok("Content-Length: 3", "Content-Length: 5", body=b"abcde"), gateway),
    ("a negative length", ok("Content-Length: -1", body=b"abc"), gateway),
    ("a length that is no number", ok("Content-Length: 2x", body=b"ok"), gateway),
    ("a length over 64 bits", ok("Content-Length: 18446744073709551618", body=b"ok"), gateway),
    ("both framings", ok("Content-Length: 5", CHUNKED, body=b"3\r\nabc\r\n0\r\n\r\n"), either(gateway, whole(b"abc"))),
    ("chunked twice", ok("Transfer-Encoding: chunked, chunked", body=b"2\r\nok\r\n0\r\n\r\n"), either(gateway, cut, whole(b"ok"))),
    ("an unknown coding", ok("Transfer-Encoding: cow", body=b"ok") + CLOSE, either(gateway, whole(b"ok"), cut)),
    ("a bad chunk size", ok(CHUNKED, body=b"2\r\nok\r\nzz\r\nno\r\n0\r\n\r\n"), cut),
    ("chunk data that is too long", ok(CHUNKED, body=b"2\r\nokXX0\r\n\r\n"), cut),
    ("a body cut by closing", ok("Content-Length: 100", body=b"abc") + CLOSE, cut),
    ("chunks cut by closing", ok(CHUNKED, body=b"5\r\nhello\r\n") + CLOSE, cut),
    ("a body until closing", ok("Content-Type: text/plain", body=b"until the end") + CLOSE, whole(b"until the end")),
    ("an answer behind the answer", ok(TWO, body=b"ok") + EVIL, whole(b"ok")),
    ("a body behind 204", ok(status="204 No Content") + EVIL, whole(b"", 204)),
    ("a body behind 304", ok(status="304 Not Modified") + EVIL, whole(b"", 304)),
    ("a 101 that nobody asked for", ok("Connection: Upgrade", "Upgrade: h2c", status="101 Switching Protocols", body=b"XXXX"), gateway),
    ("two interim answers", ok(status="103 Early Hints") + ok(status="102 Processing") + ok(TWO, body=b"ok"), whole(b"ok")),
    ("1000 interim answers", ok(status="103 Early Hints") * 1000 + ok(TWO, body=b"ok"), gateway),
    ("a header of 1 MiB", ok("X-Big: " + "v" * (1 << 20), TWO, body=b"ok"), gateway),
    ("100 000 headers", ok(*(["X: v"] * 100_000), TWO, body=b"ok"), gateway),
    ("a header without a colon", ok("JustText", TWO, body=b"ok"), gateway),
    ("a bracket in a header name", ok("X(A): 1", TWO, body=b"ok"), gateway),
    ("a NUL in a header", ok("X-A: a\0b", TWO, body=b"ok"), gateway),
    ("a CR in a header", ok("X-A: a\rb", TWO, body=b"ok"), gateway),
    ("a folded header", ok("X-A: a\r\n b", TWO, body=b"ok"), either(gateway, whole(b"ok"))),
    ("401 with a challenge", ok('WWW-Authenticate: Bearer error="x"', "Content-Length: 0", status="401 Unauthorized"), whole(b"", 401)),
    ("a redirect to a stranger", ok("Location: http://evil.test/steal", "Content-Length: 0", status="302 Found"), whole(b"", 302)),
    ("hop-by-hop headers", ok("Connection: X-Inner", "X-Inner: 1", "Keep-Alive: timeout=9", "Proxy-Authenticate: Basic", "X-Outer: 2",
                              TWO, body=b"ok"), without("x-inner", "keep-alive", "proxy-authenticate", x_outer="2")),
    ("the proxy's own error header", ok("Countersign-Error: no_route", TWO, body=b"ok"), without("countersign-error")),
]
