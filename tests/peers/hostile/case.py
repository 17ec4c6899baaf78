"""What a hostile case is, and how the messages of cases are put together."""

import dataclasses

HIDDEN = "GET /SMUGGLED HTTP/1.1\r\nHost: api.test\r\nX-Smuggled: 1\r\n\r\n"
SMUGGLED = "0\r\n\r\n" + HIDDEN


@dataclasses.dataclass
class Case:
    """One thing to send. `want` is
    "pass": exactly `requests` complete requests arrive, the first as the conditions say, and their answers come back;
    "refuse": an answer of 400 to 599 or a closed connection, and nothing complete arrives;
    "either": refused, or one to `requests` requests arrive and the conditions hold;
    "nothing": nothing complete arrives, whatever else happens.
    """

    name: str
    data: bytes
    want: str
    requests: int = 1
    target: str = None      # what the request line upstream must have
    body: bytes = None
    method: str = None
    host: str = None
    absent: tuple = ()      # header names, in lower case, that must not arrive
    present: dict = dataclasses.field(default_factory=dict)
    status: tuple = ()      # when refused: which ones are right
    waits: bool = False     # it may also be waited for more
    pieces: int = 0         # bytes to a packet; 0 is all at once


def get(target, *lines, host="api.test", method="GET", version="HTTP/1.1"):
    """A head; `host` None leaves Host out. Lines are Latin-1, or UTF-8 where they have to be."""
    fields = ([f"Host: {host}"] if host is not None else []) + list(lines)
    text = f"{method} {target} {version}\r\n" + "".join(f + "\r\n" for f in fields) + "\r\n"
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode()


def post(length, body):
    return get("/p", f"Content-Length: {length}", method="POST") + body.encode("latin-1")
