"""HTTP Message Signatures, verified by libraries that know nothing of countersign: npm http-message-signatures, PyPI
http-message-signatures, and eBay's own SDK for the profile "ebay".

For each algorithm: a request through the proxy, and what `countersign explain` prints sent by curl. Then the same
request with another body, another path, another key: refused.
"""

import datetime
import json
import os
import shutil

import http_message_signatures as hms
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from digital_signature_sdk import RequestToSign, validate_signed_message

import lib

ALGORITHMS = {
    "hmac-sha256": (None, hms.algorithms.HMAC_SHA256),
    "ed25519": (ed25519.Ed25519PrivateKey.generate, hms.algorithms.ED25519),
    "ecdsa-p256-sha256": (lambda: ec.generate_private_key(ec.SECP256R1()), hms.algorithms.ECDSA_P256_SHA256),
    "ecdsa-p384-sha384": (lambda: ec.generate_private_key(ec.SECP384R1()), hms.algorithms.ECDSA_P384_SHA384),
    "rsa-pss-sha512": (lambda: rsa.generate_private_key(65537, 2048), hms.algorithms.RSA_PSS_SHA512),
    "rsa-v1_5-sha256": (lambda: rsa.generate_private_key(65537, 2048), hms.algorithms.RSA_V1_5_SHA256),
}
SECRET = "a shared secret of the judges"
COMPONENTS = ["@method", "@target-uri", "@authority", "@scheme", "@request-target", "@path", "@query",
              '@query-param;name="page"', '@query-param;name="q%20x"', "content-type", "content-digest", "priority;sf",
              'priority;key="u"', "x-lines;bs", "x-lines"]
# Of a parameter's value the npm library leaves ~!'() as they are, where the RFC takes the set of forms: none of them here.
TARGET = "/orders/a%2Fb;c?page=2&q+x=caf%C3%A9+%2F*a&empty="
HEADERS = {"Content-Type": "application/json", "Priority": "u=3,   i", "X-Lines": "one, two"}
BODY = b'{"order": "\xc3\xa9"}'
JWE = "eyJ6aXAiOiJERUYifQ.made-up"


def pem(key, private):
    if private:
        return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


class Message:
    """A recorded request as the Python library reads one."""

    def __init__(self, request, body=None, target=None):
        self.method, self.body = request.method, request.body if body is None else body
        self.url = f"http://{request.one('host')}{target or request.target}"
        lines = [(k.lower(), v) for k, v in request.headers]

        class Lines(dict):
            def items(self):
                return lines
        self.headers = Lines(lines)


class Keys(hms.HTTPSignatureKeyResolver):
    def __init__(self, key):
        self.key = key

    def resolve_public_key(self, key_id):
        return self.key


def by_python(algorithm, key, message):
    """Why the Python library refuses, or nothing."""
    verifier = hms.HTTPMessageVerifier(signature_algorithm=algorithm, key_resolver=Keys(key))
    try:
        results = verifier.verify(message, max_age=datetime.timedelta(minutes=5), body=message.body)
    except Exception as error:  # every way to refuse is one
        return f"{type(error).__name__}: {error}"
    return "" if len(results) == 1 else f"{len(results)} signatures"


def by_ebay(algorithm, key, request, body=None, path=None):
    sent = RequestToSign(method=request.method, path=path or request.target.partition("?")[0], authority=request.one("host"),
                         body=(request.body if body is None else body) or None)
    covered = ["content-digest", "x-ebay-signature-key", "@method", "@path", "@authority"]
    headers = {k.lower(): v for k, v in request.headers}
    try:
        return validate_signed_message(sent, headers, key, covered if "content-digest" in headers else covered[1:], algorithm)
    except Exception:  # an exception is its other way to refuse
        return False


def configuration(names, judge, recorder):
    """Each algorithm towards both judges; `-wrong` signs with a key that the judges do not expect."""
    text = ""
    for name in names:
        for kind, secret in (("", name), ("-wrong", f"{name}-wrong")):
            text += (f'[credential."{name}{kind}".http_signature]\nkey = "{secret}"\nkey_id = "{name}"\nalgorithm = "{name}"\n'
                     f"components = {json.dumps(COMPONENTS)}\nexpires = \"2m\"\ntag = \"peers\"\n"
                     'parameters = ["created", "keyid", "alg", "nonce", "tag", "expires"]\n')
            for way, port in (("npm", judge), ("python", recorder)):
                host = host_of(way, name + kind)
                text += (f'[[route]]\nname = "{way}-{name}{kind}"\nhost = "{host}"\nupstream = "http://127.0.0.1:{port}"\n'
                         f'credential = "{name}{kind}"\n')
    for name in ("ed25519", "rsa-v1_5-sha256"):
        text += (f'[credential."ebay-{name}".http_signature]\nkey = "{name}"\nkey_id = {{ secret = "jwe" }}\nalgorithm = "{name}"\n'
                 f'profile = "ebay"\n[[route]]\nname = "ebay-{name}"\nhost = "{host_of("ebay", name)}"\n'
                 f'upstream = "http://127.0.0.1:{recorder}"\ncredential = "ebay-{name}"\n')
    return text


def host_of(way, name):
    return f"{way}-{name.replace('_', '-')}.example"


def replayed(bench, proxy, host, port):
    """What `explain` prints, sent by curl to the judge: its status and answer."""
    given = [word for name, value in HEADERS.items() for word in ("-H", f"{name}: {value}")]
    given += ["-H", f"Content-Length: {len(BODY)}"]
    body = bench.folder / "body"
    body.write_bytes(BODY)
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    done = bench.command("explain", "POST", f"http://{host}{TARGET}", "--format", "json", "-c", proxy.folder / "proxy.toml",
                         "--at", now, "--nonce", "n-1", "--body", f"@{body}", *given)
    if done.returncode != 0:
        return done.stdout + done.stderr
    return lib.replay(json.loads(done.stdout), BODY, port)


def checks(bench):
    report, secrets, keys, public = bench.report, bench.subfolder("secrets"), {}, {}
    for name, (make, _) in ALGORITHMS.items():
        for kind in ("", "-wrong"):
            secret = (SECRET + kind).encode()
            if make:
                key = make()
                secret = pem(key, private=True)
                public[name + kind] = pem(key, private=False)
            (secrets / (name + kind)).write_bytes(secret)
        keys[name] = {"alg": name, "pem": public[name].decode()} if make else {"alg": name, "secret": SECRET}
    (secrets / "jwe").write_text(JWE)
    judge = lib.free_port()
    shutil.copy(lib.pathlib.Path(__file__).parent / "signatures.mjs", bench.node)  # Node looks for packages beside the file
    bench.program("node", bench.node / "signatures.mjs", judge, log="judge.log", env={**os.environ, "KEYS": json.dumps(keys)})
    lib.wait_for("the judge", lambda: lib.listening(judge))
    recorder = bench.serve(lib.Recorder())
    proxy = bench.proxy("proxy", configuration(ALGORITHMS, judge, recorder.port), secrets)

    def send(way, name, body=BODY):
        headers = {"Host": host_of(way, name), "Signature": "x=:AA==:", "Signature-Input": "x=();created=1", **HEADERS}
        return lib.ask(("127.0.0.1", proxy.port), TARGET, "POST" if body else "GET", headers, body)

    for name, (make, algorithm) in ALGORITHMS.items():
        status, _, said = send("npm", name)
        report.equal(f"npm http-message-signatures verifies {name}", (status, said), (200, b"ok"))
        report.equal(f"what explain prints for {name}, sent by curl, is verified", replayed(bench, proxy, host_of("npm", name), judge), ("200", "ok"))
        report.equal(f"npm refuses another key of {name}", send("npm", f"{name}-wrong")[0], 401)
        send("python", name)
        [seen] = recorder.take()
        key = public[name] if make else SECRET.encode()
        report.equal(f"PyPI http-message-signatures verifies {name}", by_python(algorithm, key, Message(seen)), "")
        other = public[f"{name}-wrong"] if make else b"another"
        report.check(f"PyPI refuses another key of {name}", by_python(algorithm, other, Message(seen)))
        report.check(f"PyPI refuses another body by {name}", by_python(algorithm, key, Message(seen, body=BODY + b" ")))
        report.check(f"PyPI refuses another target by {name}", by_python(algorithm, key, Message(seen, target=TARGET + "&x=1")))
        headers = {k: v for k, v in seen.headers if k != "host"} | {"Host": host_of("npm", name)}
        status = lib.ask(("127.0.0.1", judge), TARGET, "POST", headers, BODY)[0]
        report.equal(f"npm refuses another host by {name}", status, 401)

    for name, called in (("ed25519", "ED25519"), ("rsa-v1_5-sha256", "RSA")):
        for body in (BODY, None):
            what = f"{name} {'with' if body else 'without'} a body"
            send("ebay", name, body)
            [seen] = recorder.take()
            report.check(f"eBay's SDK verifies {what}", by_ebay(called, public[name], seen), seen.headers)
            report.check(f"eBay's SDK refuses another key of {what}", not by_ebay(called, public[f"{name}-wrong"], seen))
            report.check(f"eBay's SDK refuses another path by {what}", not by_ebay(called, public[name], seen, path="/other"))
            if body:
                report.check(f"eBay's SDK refuses another body by {what}", not by_ebay(called, public[name], seen, body=BODY + b" "))
            report.equal(f"eBay gets the JWE by {what}", (seen.one("x-ebay-signature-key"), seen.one("x-ebay-enforce-signature")), (JWE, "true"))
