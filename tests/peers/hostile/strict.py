"""Reads HTTP/1.1 bytes strictly, as RFC 9112 writes them: what leaves the proxy must need no goodwill to be understood."""

import re

TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
REQUEST_LINE = re.compile(rb"(%s) ([!-~]+) HTTP/1\.1" % TOKEN)
FIELD = re.compile(rb"(%s):[ \t]*((?:[!-~\x80-\xff](?:[ \t]+(?=[!-~\x80-\xff]))?)*)[ \t]*" % TOKEN)
CHUNK = re.compile(rb"[0-9a-fA-F]{1,16}")
LENGTH = re.compile(rb"0|[1-9][0-9]{0,18}")
# Never forwarded to the next server (RFC 9110 7.6.1), Transfer-Encoding apart, which frames this very hop.
HOP = {"connection", "proxy-connection", "keep-alive", "te", "trailer", "upgrade", "http2-settings", "proxy-authorization",
       "proxy-authenticate"}


class Ambiguous(Exception):
    """Bytes that two readers could understand differently."""


class Message:
    def __init__(self, first, headers):
        self.first, self.headers, self.body, self.complete = first, headers, b"", False

    def all(self, name):
        return [v for k, v in self.headers if k == name]


def head(data):
    """(first line, headers with names in lower case, where the body begins), or None when more is needed."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        if re.search(rb"\n\r?\n", data):
            raise Ambiguous("the head ends by a bare LF")
        return None
    if re.search(rb"\r(?!\n)|(?<!\r)\n", data[:end]):
        raise Ambiguous("a bare CR or LF in the head")
    first, *lines = data[:end].split(b"\r\n")
    headers = []
    for line in lines:
        if not (found := FIELD.fullmatch(line)):
            raise Ambiguous(f"the header line {line[:80]!r}")
        headers.append((found[1].decode().lower(), found[2].decode("latin-1")))
    return first, headers, end + 4


def chunks(data, position):
    """(body, end) of a chunked body, or (part of the body, None) when more is needed."""
    body = b""
    while True:
        end = data.find(b"\r\n", position)
        if end < 0:
            return body, None
        if not CHUNK.fullmatch(data[position:end]):
            raise Ambiguous(f"the chunk size {data[position:end][:40]!r}")
        size, position = int(data[position:end], 16), end + 2
        if not size:
            break
        body += data[position:position + size]
        if len(data) < position + size + 2:
            return body, None
        if data[position + size:position + size + 2] != b"\r\n":
            raise Ambiguous("chunk data without CRLF after it")
        position += size + 2
    end = data.find(b"\r\n", position)
    if end < 0:
        return body, None
    if end != position:
        raise Ambiguous(f"a trailer was forwarded: {data[position:end]!r}")
    return body, end + 2


def request(data):
    """(message, bytes used); the message is None while its head is incomplete."""
    found = head(data)
    if not found:
        return None, 0
    first, headers, position = found
    if not REQUEST_LINE.fullmatch(first):
        raise Ambiguous(f"the request line {first[:120]!r}")
    message = Message(first.decode().split(" "), headers)
    codings, lengths = message.all("transfer-encoding"), message.all("content-length")
    if len(message.all("host")) != 1:
        raise Ambiguous(f"{len(message.all('host'))} Host lines")
    if len(codings) + len(lengths) > 1 or codings not in ([], ["chunked"]):
        raise Ambiguous(f"the framing {codings} {lengths}")
    if lengths and not LENGTH.fullmatch(lengths[0].encode()):
        raise Ambiguous(f"the length {lengths[0]!r}")
    if bad := {k for k, _ in headers} & HOP:
        raise Ambiguous(f"hop-by-hop headers were forwarded: {bad}")
    if codings:
        message.body, end = chunks(data, position)
    else:
        size = int(lengths[0]) if lengths else 0
        message.body, end = data[position:position + size], position + size
        end = end if len(data) >= end else None
    message.complete = end is not None
    return message, end or 0


def responses(data, closed, methods=("GET",)):
    """All answers in what a client read, as it would take them; interim ones are left out."""
    out, methods = [], list(methods)
    while data:
        found = head(data)
        if not found:
            return [*out, Message(0, [])]  # an unfinished head
        first, headers, position = found
        message = Message(int(first.split(b" ")[1]), headers)
        method = methods[len(out)] if len(out) < len(methods) else "GET"
        if 100 <= message.first < 200 and message.first != 101:
            data = data[position:]
            continue
        lengths = message.all("content-length")
        if method == "HEAD" or message.first in (204, 304):
            end = position
        elif message.all("transfer-encoding"):
            message.body, end = chunks(data, position)
        elif lengths:
            end = position + int(lengths[0])
            message.body, end = data[position:end], end if len(data) >= end else None
        else:
            message.body, end = data[position:], len(data) if closed else None
        message.complete = end is not None
        out.append(message)
        data = data[end:] if end is not None else b""
    return out
