"""Cases over HTTP/2 by prior knowledge, written from the rules of RFC 9113: frames and header blocks by hand."""

import struct

from .case import HIDDEN, Case

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS, PADDED = 1, 4, 8
PLAIN = [(":method", "GET"), (":scheme", "http"), (":authority", "api.test"), (":path", "/h2")]
POST = [(":method", "POST"), *PLAIN[1:]]
FLOOD = 6000
MALFORMED = {
    "an upper-case name": [("X-A", "1")], "an empty name": [("", "1")], "a name with a colon": [("a:b", "1")], "a name with a space": [("a b", "1")],
    "a name with CRLF": [("a\r\nb", "1")], "CRLF in a value": [("x", "a\r\n\r\n" + HIDDEN)], "LF in a value": [("x", "a\nb")],
    "CR in a value": [("x", "a\rb")], "NUL in a value": [("x", "a\0b")], "a space first": [("x", " a")], "a space last": [("x", "a ")],
    "Connection": [("connection", "close")], "Keep-Alive": [("keep-alive", "1")], "Proxy-Connection": [("proxy-connection", "close")],
    "Transfer-Encoding": [("transfer-encoding", "chunked")], "Upgrade": [("upgrade", "h2c")], "TE of more": [("te", "gzip, trailers")],
    "another Host": [("host", "other.test")], "an empty Host": [("host", "")], "two Hosts": [("host", "api.test"), ("host", "other.test")],
    "a second path": [(":path", "/x")], "a second authority": [(":authority", "other.test")], "an unknown pseudo-header field": [(":x", "1")],
    "a pseudo-header field after others": [("x", "1"), (":path", "/x")], "a status": [(":status", "200")], "a protocol": [(":protocol", "websocket")],
    "a length and no body": [("content-length", "5")], "two lengths": [("content-length", "0"), ("content-length", "5")],
    "a length with a plus": [("content-length", "+0")], "a list of lengths": [("content-length", "0, 0")],
}
REPLACED = {
    ":method": ["", "GET /x", "GET\r\n", "CONNECT", "TRACE", "TRACK"], ":scheme": ["", "gopher", "http://x"],
    ":path": ["", "h2", "*", "http://other.test/", "/a b", "/a HTTP/1.1\r\nX: y", "/a\0", "/\xff", "/\x7f", "/\\x"],
    ":authority": ["", "other.test@api.test", "api.test:x", "api.test:99999", "api.test/x", "api.test, other.test", "api.test\r\nX: y", "evil.test", "localhost"],
}


def frame(kind, flags, stream, payload=b""):
    return struct.pack("!I", len(payload))[1:] + struct.pack("!BBI", kind, flags, stream) + payload


def integer(number, bits, first=0):
    limit = (1 << bits) - 1
    if number < limit:
        return bytes([first | number])
    out, number = bytearray([first | limit]), number - limit
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes(out + bytes([number]))


def block(fields):
    """Literal fields, not indexed, without Huffman coding."""
    encoded = [text.encode("latin-1") for field in fields for text in field]
    return b"".join((b"\0" if n % 2 == 0 else b"") + integer(len(text), 7) + text for n, text in enumerate(encoded))


def begun(*frames):
    return PREFACE + frame(SETTINGS, 0, 0) + b"".join(frames)


def ask(fields=PLAIN, stream=1, flags=END_HEADERS | END_STREAM):
    return frame(HEADERS, flags, stream, block(fields))


def post(*fields):
    return ask(POST + list(fields), flags=END_HEADERS)


def requests():
    yield Case("control: a GET", begun(ask()), "pass", target="/h2", method="GET", body=b"", host="api.test")
    yield Case("control: a body", begun(post(), frame(DATA, 0, 1, b"hel"), frame(DATA, END_STREAM, 1, b"lo")), "pass", body=b"hello", method="POST")
    yield Case("cookies in crumbs", begun(ask(PLAIN + [("cookie", "a=1"), ("cookie", "b=2")])), "pass", present={"cookie": "a=1; b=2"})
    yield Case("the same Host", begun(ask(PLAIN + [("host", "api.test")])), "pass")
    yield Case("content_length", begun(ask(PLAIN + [("content_length", "5")])), "either", absent=["content_length"])
    yield Case("a credential of the worker's", begun(ask(PLAIN + [("authorization", "Bearer mine")])), "pass", absent=["authorization"])
    yield Case("a fragment", begun(ask([*PLAIN[:3], (":path", "/a#b")])), "either", target="/a")
    for name, fields in MALFORMED.items():
        yield Case(name, begun(ask((fields if name == "a protocol" else []) + PLAIN + (fields if name != "a protocol" else []))), "refuse")
    for name, values in REPLACED.items():
        for value in values:
            yield Case(f"{name} is {value!r}", begun(ask([(k, value if k == name else v) for k, v in PLAIN])), "refuse")
        if name != ":authority":
            yield Case(f"no {name}", begun(ask([field for field in PLAIN if field[0] != name])), "refuse")
    yield Case("neither authority nor Host", begun(ask([PLAIN[0], PLAIN[1], PLAIN[3]])), "refuse")
    yield Case("more than a length", begun(post(("content-length", "5")), frame(DATA, END_STREAM, 1, b"hello" + HIDDEN.encode())), "refuse")
    yield Case("less than a length", begun(post(("content-length", "50")), frame(DATA, END_STREAM, 1, b"hello")), "refuse")
    yield Case("a trailer with a credential", begun(post(), frame(DATA, 0, 1, b"hello"), ask([("authorization", "Bearer x")])), "either", body=b"hello")
    yield Case("a pseudo-header field as trailer", begun(post(), frame(DATA, 0, 1, b"hello"), ask([(":path", "/x")])), "either")
    yield Case("a head of 1 MiB", begun(ask(flags=0), *[frame(CONTINUATION, 0, 1, block([("x", "y" * 16000)]))] * 64), "refuse")
    yield Case("a body without an end", begun(post(), frame(DATA, 0, 1, b"hello")), "nothing")


def frames():
    for name, data in {
        "an empty frame without SETTINGS": bytes(9), "an even stream": ask(stream=2), "stream 0": ask(stream=0), "an older stream": ask(stream=5) + ask(stream=3),
        "DATA before HEADERS": frame(DATA, END_STREAM, 1, b"x"), "PUSH_PROMISE": frame(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\2" + block(PLAIN)),
        "a frame over 16 KiB": frame(DATA, 0, 1, bytes(16385)), "padding over the frame": post() + frame(DATA, PADDED, 1, b"\xff\0"),
        "a window over 2 GiB": frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff"), "a window update of nothing": frame(WINDOW_UPDATE, 0, 0, bytes(4)),
        "a PING within a head": ask(flags=0) + frame(PING, 0, 0, bytes(8)), "CONTINUATION elsewhere": ask(flags=0) + frame(CONTINUATION, END_HEADERS, 3),
        "CONTINUATION alone": frame(CONTINUATION, END_HEADERS, 1), "an index that is not there": frame(HEADERS, 5, 1, b"\xff\xff\x7f"),
        "a number without end": frame(HEADERS, 5, 1, b"\x7f" + b"\xff" * 20), "a header bomb": frame(HEADERS, 5, 1, block(PLAIN) + b"\x40\1x" + integer(3900, 7)
                                                                                              + b"y" * 3900 + b"\xbe" * 10000),
        "DATA after the end": post() + frame(DATA, END_STREAM, 1) + frame(DATA, 0, 1, b"x") * 2,
    }.items():
        first = PREFACE if name == "an empty frame without SETTINGS" else begun()
        yield Case(name, first + data, "either" if name in ("an older stream", "DATA after the end") else "refuse", requests=2)
    for name, first, one in [("CONTINUATION", ask(flags=0), frame(CONTINUATION, 0, 1)), ("PING", b"", frame(PING, 0, 0, bytes(8))),
                             ("SETTINGS", b"", frame(SETTINGS, 0, 0)), ("PRIORITY", b"", frame(PRIORITY, 0, 1, bytes(3) + b"\7\0")),
                             ("empty DATA", post(), frame(DATA, 0, 1)), ("unknown frames", b"", frame(0xbe, 0, 0, b"x")),
                             ("padding", post(), frame(DATA, PADDED, 1, b"\0"))]:
        yield Case(f"a flood of {name}", begun(first, one * FLOOD), "refuse")
    resets = (ask(stream=n) + frame(RST_STREAM, 0, n, b"\0\0\0\x08") for n in range(1, 2 * FLOOD, 2))
    yield Case("rapid resets", begun(*resets), "either", requests=2000)


def cases():
    for part in (requests, frames):
        for one in part():
            one.name = f"HTTP/2: {one.name}"
            yield one


def parse(data):
    """The frames of what came: [(kind, flags, stream, payload)]."""
    found = []
    while len(data) >= 9:
        length, (kind, flags, stream) = int.from_bytes(data[:3], "big"), struct.unpack("!BBI", data[3:9])
        if len(data) < 9 + length:
            break
        found.append((kind, flags, stream, data[9:9 + length]))
        data = data[9 + length:]
    return found


def judge(one, out, closed, arrived):
    """What is wrong with the outcome of a case."""
    seen = parse(out)
    # An answer 200 is one byte of the static table (RFC 7541 appendix A, index 8).
    good = [f for f in seen if f[0] == HEADERS and f[3][:1] == b"\x88"]
    refused = closed or any(f[0] in (RST_STREAM, GOAWAY) for f in seen) or any(f[0] == HEADERS and f not in good for f in seen)
    if one.want in ("refuse", "nothing") and arrived:
        yield f"arrived upstream: {[m.first for m in arrived]}"
    if one.want == "refuse" and (good or not refused):
        yield f"not refused: {seen[:8]}"
    if len(arrived) > one.requests or one.want == "pass" and not (len(arrived) == one.requests == len(good)):
        yield f"{len(arrived)} requests arrived and {len(good)} were answered, wanted {one.requests}: {seen[:8]}"
