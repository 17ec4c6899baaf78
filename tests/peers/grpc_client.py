"""A gRPC client that knows nothing of countersign: every kind of call, told as JSON. Started by `grpc_calls`.

    python grpc_client.py TARGET AUTHORITY plain|tls

`plain` speaks HTTP/2 without TLS and names the upstream by the channel option for it; `tls` calls the upstream's own
name and finds proxy and CA in the environment, as every gRPC program does. Messages are bytes: no generated code.
"""

import hashlib
import json
import queue
import sys
import threading
import time

import grpc

ROUNDS, LARGE, MANY = 20, 3 << 20, 200


def status(error):
    return [error.code().name, error.details()]


def trailing(call):
    return {key: value.hex() if isinstance(value, bytes) else value for key, value in call.trailing_metadata() if key.startswith("x-")}


def refused(call):
    """The status of a call that has to fail."""
    try:
        call()
    except grpc.RpcError as error:
        return status(error)
    return ["OK", ""]


def unary(channel, out):
    echo = channel.unary_unary("/peers.Echo/Unary")
    answer, call = echo.with_call(b"gr\xc3\xbc\xc3\x9fe", timeout=20, metadata=[
        ("authorization", "Bearer attacker"), ("x-text", "a b"), ("x-raw-bin", bytes(range(256)))])
    out["unary"] = [answer.hex(), call.code().name]
    out["initial metadata"] = {key: value for key, value in call.initial_metadata() if key.startswith("x-")}
    out["trailing metadata"] = trailing(call)
    large = bytes(number * 31 & 0xff for number in range(256)) * (LARGE >> 8)
    out["3 MiB"] = hashlib.sha256(echo(large, timeout=20)).hexdigest() == hashlib.sha256(large).hexdigest()
    out["nothing"] = echo(b"", timeout=20).hex()
    calls = [echo.future(b"%d" % number, timeout=20) for number in range(MANY)]
    out["many at a time"] = all(call.result() == b"%d" % number for number, call in enumerate(calls))


def streams(channel, out):
    received = list(channel.unary_stream("/peers.Echo/ServerStream")(b"200", timeout=20))
    out["server streaming"] = received == [b"%d" % number * 100 for number in range(200)]
    sent = [b"%d" % number * 5000 for number in range(50)]
    answer = channel.stream_unary("/peers.Echo/ClientStream")(iter(sent), timeout=20)
    out["client streaming"] = answer.decode() == f"50 {hashlib.sha256(b''.join(sent)).hexdigest()}"
    turns, answers = queue.Queue(), []
    turns.put(b"0")
    # Each message is sent when the answer to the one before has come: nothing in between may wait for more.
    for answer in channel.stream_stream("/peers.Echo/Bidi")(iter(turns.get, None), timeout=20):
        answers.append(answer)
        turns.put(b"%d" % len(answers) if len(answers) < ROUNDS else None)
    out["bidirectional"] = answers == [b"re: %d" % number for number in range(ROUNDS)]


def failures(channel, out):
    try:
        channel.unary_unary("/peers.Echo/Fail")(b"", timeout=20)
        out["status"] = ["OK"]
    except grpc.RpcError as error:
        out["status"] = [*status(error), trailing(error)]
    received = []
    try:
        for message in channel.unary_stream("/peers.Echo/FailLater")(b"", timeout=20):
            received.append(message.decode())
        out["status after messages"] = ["OK"]
    except grpc.RpcError as error:
        out["status after messages"] = [received, *status(error)]
    out["unknown method"] = refused(lambda: channel.unary_unary("/peers.Echo/Nothing")(b"", timeout=20))
    begin = time.monotonic()
    out["deadline"] = refused(lambda: channel.unary_unary("/peers.Echo/Wait")(b"deadline", timeout=0.5))[:1]
    out["deadline in time"] = 0.4 < time.monotonic() - begin < 5
    endless = channel.unary_stream("/peers.Echo/Endless")(b"", timeout=60)
    first = [next(endless).decode() for _ in range(3)]
    endless.cancel()
    out["cancel"] = [first, refused(lambda: next(endless))[0]]
    waiting = channel.unary_unary("/peers.Echo/Wait").future(b"cancelled", timeout=60)
    threading.Timer(0.2, waiting.cancel).start()
    try:
        waiting.result(timeout=20)
        out["cancel of a call that waits"] = "OK"
    except grpc.FutureCancelledError:
        out["cancel of a call that waits"] = "CANCELLED"


def main():
    target, authority, kind = sys.argv[1:]
    if kind == "tls":
        channel = grpc.secure_channel(target, grpc.ssl_channel_credentials())
    else:
        channel = grpc.insecure_channel(target, options=[("grpc.default_authority", authority)])
    out = {}
    with channel:
        for part in (unary, streams, failures):
            part(channel, out)
    print(json.dumps(out))


if __name__ == "__main__":
    main()
