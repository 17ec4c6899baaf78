"""Cases about where a message ends: lengths, codings, chunks, what is left incomplete."""

from .case import HIDDEN, SMUGGLED, Case, get, post

BAD_LENGTHS = {"plus": "+5", "minus": "-5", "hexadecimal": "0x5", "exponent": "5e0", "fraction": "5.0", "parameter": "5;q=1",
               "two numbers": "5 5", "two that differ": "5, 6", "empty": "", "word": "five", "over 64 bits": "18446744073709551621",
               "vertical tab": "\x0b5", "underscore": "1_0", "quoted": '"5"', "full-width digit": "\uff15"}
BAD_CODINGS = {"identity": "identity", "unknown": "cow", "not last": "chunked, identity", "twice": "chunked, chunked",
               "gzip before": "gzip, chunked", "vertical tab": "\x0bchunked", "quoted": '"chunked"', "two words": "x chunked",
               "no-break space": "\xa0chunked", "parameter": "chunked;q=1", "semicolon": "chunked;", "NUL": "chunked\0"}
# name: (chunk-framed body, what may happen)
CHUNKS = {
    "a size with 0x": ("0x5\r\nhello\r\n0\r\n\r\n", "refuse"), "a size with a plus": ("+5\r\nhello\r\n0\r\n\r\n", "refuse"),
    "a negative size": ("-5\r\nhello\r\n0\r\n\r\n", "refuse"), "a size that is no number": ("g\r\nhello\r\n0\r\n\r\n", "refuse"),
    "a size with a space before": (" 5\r\nhello\r\n0\r\n\r\n", "refuse"), "a size with a space after": ("5 \r\nhello\r\n0\r\n\r\n", "either"),
    "an empty size": ("\r\n\r\n" + HIDDEN, "refuse"), "a size over 64 bits": ("10000000000000005\r\nhello\r\n0\r\n\r\n", "refuse"),
    "leading zeros": ("00000005\r\nhello\r\n0\r\n\r\n", "either"), "data longer than its size": ("5\r\nhelloXX0\r\n\r\n", "refuse"),
    "data without CRLF": ("5\r\nhello0\r\n\r\n", "refuse"), "a size line by LF": ("5\nhello\r\n0\r\n\r\n", "either"),
    "an extension": ("5;a=b\r\nhello\r\n0\r\n\r\n", "either"), "an LF in an extension": ("5;\nhello\r\n0\r\n\r\n", "refuse"),
    "a CR in an extension": ("5;a\rb\r\nhello\r\n0\r\n\r\n", "refuse"),
    "an LF in the last extension": ("5\r\nhello\r\n0;\n\r\n" + HIDDEN, "either"),
    "100 KiB of extensions": (("1;" + "e" * 1000 + "\r\nx\r\n") * 100 + "0\r\n\r\n", "either"),
    "an end by LF": ("5\r\nhello\r\n0\r\n\n", "either"), "a request instead of trailers": ("0\r\n" + HIDDEN, "either"),
    "a trailer with a NUL": ("5\r\nhello\r\n0\r\nX: a\0b\r\n\r\n", "refuse"),
}


def lengths():
    yield Case("control: a length", post("5", "hello"), "pass", body=b"hello")
    for name, value in BAD_LENGTHS.items():
        yield Case(f"Content-Length {name}", post(value, "hello"), "refuse")
    yield Case("two lengths that differ", post("5\r\nContent-Length: 6", "hello!"), "refuse")
    yield Case("two equal lengths", post("5\r\nContent-Length: 5", "hello"), "either", body=b"hello")
    yield Case("a length list of equal numbers", post("5, 5", "hello"), "either", body=b"hello")
    for name, field in [("space", "Content-Length "), ("NUL", "Content-Length\0"), ("tab", "Content-Length\t")]:
        yield Case(f"Content-Length with {name} after the name", get("/p", f"{field}: 5", method="POST") + b"hello", "refuse")
    yield Case("Content_Length beside a length", get("/p", "Content-Length: 5", "Content_Length: 60", method="POST") + b"hello",
               "either", body=b"hello", absent=["content_length"])
    yield Case("a GET with a body that is a request", get("/g", f"Content-Length: {len(HIDDEN)}") + HIDDEN.encode(), "either",
               body=HIDDEN.encode())


def codings():
    both = f"Content-Length: {len(SMUGGLED)}"
    yield Case("control: chunked", chunked("6\r\nhello \r\n5\r\nworld\r\n0\r\n\r\n"), "pass", body=b"hello world")
    yield Case("control: CHUNKED", get("/p", "Transfer-Encoding: CHUNKED", method="POST") + b"2\r\nok\r\n0\r\n\r\n", "pass", body=b"ok")
    for name, value in BAD_CODINGS.items():
        data = get("/p", f"Transfer-Encoding: {value}", "Content-Length: 15", method="POST")
        yield Case(f"Transfer-Encoding {name}", data + b"5\r\nhello\r\n0\r\n\r\n", "refuse")
    yield Case("Transfer-Encoding unknown and no length", get("/p", "Transfer-Encoding: cow", method="POST"), "refuse")
    yield Case("Transfer-Encoding on two lines", get("/p", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked",
                                                     method="POST") + b"0\r\n\r\n", "refuse")
    yield Case("Transfer-Encoding folded", get("/p", "Transfer-Encoding: chun\r\n ked", "Content-Length: 5", method="POST") + b"hello", "refuse")
    for name, order in [("length first", [both, "Transfer-Encoding: chunked"]), ("coding first", ["Transfer-Encoding: chunked", both])]:
        yield Case(f"both framings, {name}", get("/p", *order, method="POST") + SMUGGLED.encode(), "either", body=b"", requests=1)
    yield Case("both framings, a short length", get("/p", "Transfer-Encoding: chunked", "Content-Length: 4", method="POST")
               + b"%x\r\n%s\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN.encode()), "either", body=HIDDEN.encode(), requests=1)
    for name, line in [("a space", "Transfer-Encoding : chunked"), ("an 8-bit byte", "Transfer-Encoding\xff: chunked"),
                       ("a NUL", "Transfer-Encoding\0: chunked")]:
        yield Case(f"Transfer-Encoding with {name} in the name", get("/p", line, "Content-Length: 15", method="POST")
                   + b"5\r\nhello\r\n0\r\n\r\n", "refuse")
    yield Case("Transfer_Encoding", get("/p", "Transfer_Encoding: chunked", "Content-Length: 15", method="POST")
               + b"5\r\nhello\r\n0\r\n\r\n", "either", body=b"5\r\nhello\r\n0\r\n\r\n", absent=["transfer_encoding"])
    yield Case("Transfer-Encoding after a bare CR", get("/p", "X: y\rTransfer-Encoding: chunked", both, method="POST")
               + SMUGGLED.encode(), "refuse")
    yield Case("Transfer-Encoding after a bare LF", get("/p", "X: y\nTransfer-Encoding: chunked", both, method="POST")
               + SMUGGLED.encode(), "either", requests=1)
    yield Case("Transfer-Encoding in HTTP/1.0", get("/p", "Transfer-Encoding: chunked", both, method="POST", version="HTTP/1.0")
               + SMUGGLED.encode(), "refuse")
    yield Case("Connection lists transfer-encoding", get("/p", "Transfer-Encoding: chunked", "Connection: transfer-encoding",
                                                         method="POST") + b"5\r\nhello\r\n0\r\n\r\n", "either", body=b"hello")
    yield Case("Connection lists content-length", get("/p", "Content-Length: 5", "Connection: content-length", method="POST")
               + b"hello", "either", body=b"hello")


def chunked(body, *lines):
    return get("/p", "Transfer-Encoding: chunked", *lines, method="POST") + body.encode("latin-1")


def chunk_framing():
    for name, (body, want) in CHUNKS.items():
        # Where a bare LF stands for the end, waiting for more is right as well; the body's timeout ends it.
        yield Case(f"chunks: {name}", chunked(body), want, waits=name.endswith("by LF"))
    for field in ("Authorization: Bearer attacker", "Host: other.test", "X-Sum: 1", "Content-Length: 5"):
        yield Case(f"the trailer {field.partition(':')[0]}", chunked(f"5\r\nhello\r\n0\r\n{field}\r\n\r\n",
                                                                    f"Trailer: {field.partition(':')[0]}"), "either", body=b"hello")


def incomplete():
    for name, data in {"a body that is too short": post("100", "hello"), "a chunk that is too short": chunked("5\r\nhel"),
                       "chunks without an end": chunked("5\r\nhello\r\n"), "half a request line": b"GET /inc",
                       "a head without its end": b"GET /inc HTTP/1.1\r\nHost: api.test\r\n"}.items():
        yield Case(f"incomplete: {name}", data, "nothing")
    yield Case("every byte on its own", post("5", "hello"), "pass", body=b"hello", pieces=1)
    yield Case("two requests in one packet", get("/one") + get("/two"), "pass", requests=2)
    yield Case("a request for each route in one packet", get("/one") + get("/two", host="other.test"), "pass", requests=2)
    yield Case("a bad request before a good one", post("x", "") + get("/after"), "refuse")
    yield Case("Expect: 100-continue", get("/e", "Content-Length: 5", "Expect: 100-continue", method="POST") + b"hello", "pass", body=b"hello")
    yield Case("an unknown expectation", get("/e", "Content-Length: 5", "Expect: magic", method="POST") + b"hello", "either", body=b"hello")


def cases():
    for part in (lengths, codings, chunk_framing, incomplete):
        yield from part()
