"""AWS's own SDKs with dummy keys, through countersign, to servers that check every signature: moto (SQS, DynamoDB, STS) and
s3s-fs (S3, which checks payload digests and the signature of every chunk too).

boto3 and the AWS SDK for JavaScript run unmodified, each in a process of its own: told the base URL, or sent through
HTTPS_PROXY with interception. The same workers sent straight to a server, and through a route whose secret is wrong,
must be refused, or the judges prove nothing.
"""

import hashlib
import http.client
import json
import os
import pathlib
import subprocess
import sys

import lib

HERE = pathlib.Path(__file__).resolve().parent
ID, SECRET = "AKIAOBJECTS7EXAMPLE", "objects/Secret+Key/0123456789abcdefghij"
BUCKET = "bucket-1"
PAYLOADS = ["signed", "unsigned", "as_sent"]
# Answers of a server that says that the signature is wrong.
REFUSED = ("SignatureDoesNotMatch", "InvalidClientTokenId", "InvalidAccessKeyId", "AuthFailure", "UnrecognizedClientException",
           "NotSignedUp", "IncompleteSignature", "InvalidSignatureException", "AccessDenied")

CONFIG = """
[intercept]
dir = "public"
ephemeral = true

[connect_to]
{connect_to}
"""


def credential(name, id_, secret, service, **more):
    more = "".join(f", {key} = {json.dumps(value)}" for key, value in more.items())
    region = "us-east-1"
    return (f'[credential.{name}]\naws_sigv4 = {{ access_key_id = {{ secret = "{id_}" }}, secret_access_key = {{ secret = "{secret}" }}, '
            f'region = "{region}", service = "{service}"{more} }}\n')


def route(name, host, upstream, listen=None, more=""):
    listen = f'listen = "127.0.0.1:{listen}"\n' if listen else ""
    return (f'[[route]]\nname = "{name}"\nhost = "{host}"\nupstream = "http://127.0.0.1:{upstream}"\n'
            f'credential = "{name}"\n{listen}{more}')


def environment(**more):
    """Dummy keys, and nothing else of this machine."""
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "LANG", "TMPDIR")}
    return {**kept, "AWS_ACCESS_KEY_ID": "AKIADUMMY", "AWS_SECRET_ACCESS_KEY": "dummy", "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true", "AWS_MAX_ATTEMPTS": "1",
            "HOME": "/nonexistent", "NO_PROXY": "", **more}


def work(command, env):
    """The worker's results by what was done: "ok", a value, or an error's name."""
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=120, env=env)
    results = {}
    for line in done.stdout.splitlines():
        results.update(json.loads(line))
    if done.returncode:
        results["end"] = done.stderr.strip()[-600:]
    return results


def boto(what, env):
    return work([sys.executable, HERE / "worker.py", what], env)


def node(bench, what, env):
    script = bench.node / "aws.mjs"  # beside node_modules, where imports are looked for
    script.write_text((HERE / "worker.mjs").read_text())
    return work(["node", script, what], env)


def refused(results):
    """Whether something was done and every one of it was refused for its signature."""
    return bool(results) and all(any(word in str(value) for word in REFUSED) for value in results.values())


def checks(bench):
    s3s = bench.node.parent / "s3s/bin/s3s-fs"
    if not s3s.exists():
        raise RuntimeError(f"{s3s} is not there: tests/peers/run builds it")
    moto, id_, secret = start_moto(bench)
    objects = start_objects(bench, s3s)
    secrets = bench.subfolder("secrets")
    bench.secrets(secrets, moto_id=id_, moto_secret=secret, objects_id=ID, objects_secret=SECRET, wrong="not" + SECRET[3:],
                  shops__m1__id=ID, shops__m1__secret=SECRET, shops__m2__id=ID, shops__m2__secret="not" + SECRET[3:])
    ports = {name: lib.free_port() for name in ["sqs", "dynamodb", "sts", "wrong-sqs", *PAYLOADS, "query", "wrong", "tenants"]}
    text = CONFIG.format(connect_to="")
    for service in ("sqs", "dynamodb", "sts"):
        text += credential(service, "moto-id", "moto-secret", service)
        text += route(service, f"{service}.us-east-1.amazonaws.com", moto, listen=ports[service])
    text += credential("wrong-sqs", "moto-id", "wrong", "sqs")
    text += route("wrong-sqs", "wrong.sqs.us-east-1.amazonaws.com", moto, listen=ports["wrong-sqs"])
    for payload in PAYLOADS:
        text += credential(payload, "objects-id", "objects-secret", "s3", payload=payload)
        text += route(payload, f"{payload}.s3.us-east-1.example", objects, listen=ports[payload])
    text += credential("query", "objects-id", "objects-secret", "s3", placement="query")
    text += route("query", "query.s3.us-east-1.example", objects, listen=ports["query"])
    text += credential("wrong", "objects-id", "wrong", "s3", payload="as_sent")
    text += route("wrong", "wrong.s3.us-east-1.example", objects, listen=ports["wrong"])
    text += credential("s3", "objects-id", "objects-secret", "s3", payload="as_sent")
    text += route("s3", "s3.amazonaws.com", objects)
    text += credential("tenants", "shops/{tenant}/id", "shops/{tenant}/secret", "s3", payload="as_sent")
    text += route("tenants", "tenants.s3.us-east-1.example", objects, ports["tenants"], "tenant = { slot = true }\n")
    proxy = bench.proxy("proxy", text, secrets)
    through = environment(HTTPS_PROXY=f"http://127.0.0.1:{proxy.port}", AWS_CA_BUNDLE=str(proxy.folder / "public/countersign-ca.crt"))

    def told(service, port):
        return environment(**{f"AWS_ENDPOINT_URL_{service.upper()}": f"http://127.0.0.1:{port}"})

    services(bench, ports, moto, told, through)
    bodies(bench, ports, objects, told, through)
    tenants(bench, {**told("s3", ports["tenants"])})
    keys(bench, ports)
    malformed(bench, ports)
    explained(bench, proxy, objects)


def start_moto(bench):
    """moto with authentication on; the calls that it grants without are spent on a user with a key."""
    port = lib.free_port()
    bench.program(pathlib.Path(sys.executable).parent / "moto_server", "-H", "127.0.0.1", "-p", port, log="moto.log",
                  env={**environment(), "INITIAL_NO_AUTH_ACTION_COUNT": "3"})
    lib.wait_for("moto", lambda: lib.listening(port), 60)
    keys = boto("bootstrap", environment(AWS_ENDPOINT_URL=f"http://127.0.0.1:{port}"))
    return port, keys["id"], keys["secret"]


def start_objects(bench, binary):
    port, folder = lib.free_port(), bench.subfolder("objects")
    (folder / BUCKET).mkdir()
    bench.program(binary, "--host", "127.0.0.1", "--port", port, "--access-key", ID, "--secret-key", SECRET, folder,
                  log="s3s.log", env={**environment(), "RUST_LOG": "s3s=debug"})
    lib.wait_for("s3s-fs", lambda: lib.listening(port), 30)
    return port


def services(bench, ports, moto, told, through):
    report = bench.report
    wanted = {"sqs": {"create": "ok", "send": "ok", "receive": "Grüße & <more> +%"},
              "dynamodb": {"create": "ok", "put": "ok", "get": "ä b"}, "sts": {"identity": "u"}}
    for service, results in wanted.items():
        report.equal(f"boto3, {service}, by base URL", boto(service, told(service, ports[service])), results)
        if service != "dynamodb":  # its table is there by now
            report.equal(f"boto3, {service}, by HTTPS_PROXY", boto(service, through), results)
        straight = boto(service, told(service, moto))
        report.check(f"boto3, {service}, straight to moto with dummy keys is refused", refused(straight), straight)
    report.equal("the JavaScript SDK, sqs, by base URL", node(bench, "sqs", told("sqs", ports["sqs"])), wanted["sqs"])
    wrong = boto("sqs", told("sqs", ports["wrong-sqs"]))
    report.check("a wrong secret is refused by moto", refused(wrong), wrong)


def bodies(bench, ports, objects, told, through):
    """Objects of every way to send them, and back."""
    report = bench.report
    calls = ["put 0", "put 5", "put 70000", "stream 200000", "multipart 6000000", "list", "delete"]
    # What the server makes of the same calls with the real keys: a "+" in a listing is a space to boto3.
    real = {**told("s3", objects), "AWS_ACCESS_KEY_ID": ID, "AWS_SECRET_ACCESS_KEY": SECRET}
    wanted = boto("objects", real)
    report.equal("boto3, straight to s3s-fs with its keys", [what for what in calls if wanted.get(what) != "ok"], ["list"])
    for payload in PAYLOADS:
        report.equal(f"boto3, objects, payload = {payload}, by base URL", boto("objects", told("s3", ports[payload])), wanted)
        made = node(bench, "objects", told("s3", ports[payload]))
        report.equal(f"the JavaScript SDK, objects, payload = {payload}, by base URL", made, {what: "ok" for what in calls})
    report.equal("boto3, objects, payload = as_sent, by HTTPS_PROXY: chunks with trailers", boto("objects", through), wanted)
    query = boto("objects-get", told("s3", ports["query"]))
    report.equal("boto3, objects, placement = query", query, {"put 5": "ok", "list": "ok"})
    for name, run in (("boto3", boto), ("the JavaScript SDK", lambda what, env: node(bench, what, env))):
        straight = run("objects-get", told("s3", objects))
        report.check(f"{name}, straight to s3s-fs with dummy keys is refused", refused(straight), straight)
        wrong = run("objects-get", told("s3", ports["wrong"]))
        report.check(f"{name}, a wrong secret is refused by s3s-fs", refused(wrong), wrong)


def tenants(bench, env):
    """The tenant's name stands where the SDK wants an access key id."""
    for name, run in (("boto3", boto), ("the JavaScript SDK", lambda what, env: node(bench, what, env))):
        def of(tenant):
            return run("objects-get", {**env, "AWS_ACCESS_KEY_ID": tenant})
        bench.report.equal(f"{name}, a tenant in the access key id", of("countersign-m1"), {"put 5": "ok", "list": "ok"})
        other, nobody = of("m2"), of("nobody")
        bench.report.check(f"{name}, another tenant has another secret", refused(other), other)
        bench.report.check(f"{name}, a tenant without secrets gets no answer of the server", "503" in str(nobody) and not refused(nobody), nobody)


def ask(port, method, target, body=None, headers=None):
    """A worker that cannot sign, and writes its target as it likes."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.putrequest(method, target, skip_accept_encoding=True)
        if body is not None and "Transfer-Encoding" not in (headers or {}):
            connection.putheader("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def keys(bench, ports):
    """Keys in spellings that no SDK makes. What a file system cannot have is refused, but never for its signature."""
    report = bench.report
    spelled = ["plain", "a%20b", "a+b", "a%2Bb", "%C3%A9%E4%B8%AD", "%c3%a9", "100%25", "%7Etilde", "~tilde", "semi;colon,$&=@:", "star*(1)'!",
               "a//b", "a/./b", "a/../b", "a%2Fb", "q%3Fx", "hash%23"]
    for payload in PAYLOADS:
        for key in spelled:
            target = f"/{BUCKET}/{payload}-{key}"
            status, body = ask(ports[payload], "PUT", target, b"content of " + key.encode())
            answers = [(status, body)]
            if status == 200:
                answers.append(ask(ports[payload], "GET", target))
            good = all(b"SignatureDoesNotMatch" not in body and status not in (401, 403) for status, body in answers)
            same = len(answers) == 1 or answers[1] == (200, b"content of " + key.encode())
            report.check(f"the key {key}, payload = {payload}: {status}", good and same, answers)
    queries = ["list-type=2&prefix=a%20b", "list-type=2&prefix=a%2Bb&max-keys=2", "list-type=2&prefix=%C3%A9&delimiter=%2F", "list-type=2&prefix=~&start-after=%7e",
               "list-type=2&&prefix=", "max-keys=5&list-type=2&prefix=a&prefix=b"]
    for query in queries:
        status, body = ask(ports["as_sent"], "GET", f"/{BUCKET}?{query}")
        report.check(f"the query {query}: {status}", status not in (401, 403) and b"SignatureDoesNotMatch" not in body, body[:300])


def malformed(bench, ports):
    """Chunks that are wrong: the worker learns it, and the server has no such object."""
    report = bench.report
    crc = b"x-amz-checksum-crc32:DUoRhQ==\r\n"  # of "hello world"
    kind = {"X-Amz-Content-Sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "Content-Encoding": "aws-chunked", "X-Amz-Trailer": "x-amz-checksum-crc32"}
    good = b"b\r\nhello world\r\n0\r\n" + crc + b"\r\n"
    for payload in ("signed", "as_sent"):
        told = {**kind, "X-Amz-Decoded-Content-Length": "11"}
        status, body = ask(ports[payload], "PUT", f"/{BUCKET}/chunks-{payload}", good, told)
        report.equal(f"chunks with a length, payload = {payload}", (status, body[:300]), (200, b""))
        framed = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (good[:7], good[7:30], good[30:])) + b"0\r\n\r\n"
        status, body = ask(ports[payload], "PUT", f"/{BUCKET}/chunks-{payload}-te", framed, {**told, "Transfer-Encoding": "chunked"})
        report.equal(f"chunks within Transfer-Encoding, payload = {payload}", (status, body[:300]), (200, b""))
        for name in (f"chunks-{payload}", f"chunks-{payload}-te"):
            report.equal(f"the content of {name}", ask(ports[payload], "GET", f"/{BUCKET}/{name}"), (200, b"hello world"))
        for what, sent, length in [("a wrong size", b"c" + good[1:], 11), ("no end", good[:-2], 11), ("another length", good, 12),
                                   ("an unknown trailer", good.replace(b"crc32", b"crc3x"), 11), ("more after the end", good + b"0\r\n\r\n", 11)]:
            name = f"bad-{payload}-{what.replace(' ', '-')}"
            status, body = ask(ports[payload], "PUT", f"/{BUCKET}/{name}", sent, {**told, "X-Amz-Decoded-Content-Length": str(length)})
            there = ask(ports[payload], "GET", f"/{BUCKET}/{name}")[0]
            report.equal(f"{what} in chunks, payload = {payload}", (status, there), (400, 404))
    # A checksum that is wrong is the server's to see: it arrives as the worker has sent it.
    status, _ = ask(ports["as_sent"], "PUT", f"/{BUCKET}/wrong-sum", good.replace(b"DUoR", b"DUoS"), {**kind, "X-Amz-Decoded-Content-Length": "11"})
    report.note(f"s3s-fs answers {status} to a wrong checksum in a trailer")


def explained(bench, proxy, objects):
    """What `explain` prints, sent by curl to the server, is accepted: the id is no secret to whoever replays it."""
    report = bench.report
    body = "hello from explain"
    done = bench.command("explain", "PUT", f"https://signed.s3.us-east-1.example/{BUCKET}/explained%20key?x=a%2Bb&x=%7E", "--body", body,
                         "-c", proxy.folder / "proxy.toml", "--format", "json", cwd=proxy.folder)
    shown = json.loads(done.stdout)
    headers = [(name, value.replace("[objects-id]", ID)) for name, value in shown["headers"]]
    report.check("explain masks the secrets", ID not in done.stdout and SECRET not in done.stdout, done.stdout)
    text = shown["canonical"][0]
    digest = hashlib.sha256(text["text"].encode()).hexdigest()
    report.equal("the string to sign has the digest of the text that is shown", text["string_to_sign"].rpartition("\n")[2], digest)
    arguments = [part for name, value in headers for part in ("-H", f"{name}: {value}")]
    curl = subprocess.run(["curl", "-sS", "--path-as-is", "-w", "%{http_code}", "-X", shown["method"], "--data-binary", body, *arguments,
                           f"http://127.0.0.1:{objects}{shown['target']}"], capture_output=True, text=True, timeout=30)
    report.check("what explain prints is accepted", curl.stdout.endswith("200"), curl.stdout + curl.stderr)
    curl = subprocess.run(["curl", "-sS", "--path-as-is", "-w", "%{http_code}", "-X", shown["method"], "--data-binary", body + "!", *arguments,
                           "-H", f"Content-Length: {len(body) + 1}", f"http://127.0.0.1:{objects}{shown['target']}"],
                          capture_output=True, text=True, timeout=30)
    report.check("with another body it is not", not curl.stdout.endswith("200"), curl.stdout)
