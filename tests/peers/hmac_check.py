"""HMAC over the canonical texts of real platforms, recomputed by OpenSSL and by Python.

data/platforms.json holds published or SDK-made cases. For each: `countersign explain` must show the published text and,
with the vendor's time and nonce, the published signature; a live request must arrive with the signature that
`openssl dgst` makes of the text rebuilt here from the bytes that arrived. A second set crosses every algorithm with
every encoding.
"""

import base64
import datetime
import hashlib
import hmac
import json
import pathlib
import subprocess
import urllib.parse

import lib

CASES = json.loads((pathlib.Path(__file__).parent / "data/platforms.json").read_text())["cases"]
DECODE = {"text": str.encode, "hex": bytes.fromhex, "base64": base64.b64decode}
ENCODE = {"hex": bytes.hex, "HEX": lambda b: b.hex().upper(), "base64": lambda b: base64.b64encode(b).decode(),
          "base64url": lambda b: base64.urlsafe_b64encode(b).decode().rstrip("=")}
ALGORITHMS = ["md5", "sha1", "sha256", "sha384", "sha512"]


def openssl(key, text, algorithm="sha256"):
    return subprocess.run(["openssl", "dgst", f"-{algorithm}", "-mac", "HMAC", "-macopt", f"hexkey:{key.hex()}", "-binary"],
                          input=text, capture_output=True, check=True).stdout


def path_of(request):
    return request.target.partition("?")[0]


def query_without(request, *names):
    pairs = request.target.partition("?")[2].split("&")
    return "&".join(p for p in pairs if urllib.parse.unquote_plus(p.partition("=")[0]) not in names)


def parameter(request, name):
    found = urllib.parse.parse_qs(request.target.partition("?")[2], keep_blank_values=True).get(name, [])
    return found[0] if len(found) == 1 else None


# What each vendor signs, from what arrived: (request, body as text) to text. Written from the vendors' rules.
RULES = {
    "binance-query": lambda r, b: query_without(r, "signature"),
    "binance-query-and-body": lambda r, b: query_without(r, "signature") + b,
    "slack-v0": lambda r, b: f"v0:{r.one('x-slack-request-timestamp')}:{b}",
    "github-sha256": lambda r, b: b,
    "shopify-oauth-callback": lambda r, b: query_without(r, "hmac"),
    "standard-webhooks-v1": lambda r, b: f"{r.one('webhook-id')}.{r.one('webhook-timestamp')}.{b}",
    "stripe-0": lambda r, b: f"{r.one('stripe-signature')[2:].partition(',')[0]}.{b}",
    "shopify-webhook-0": lambda r, b: b,
    "adyen-payload-0": lambda r, b: b,
    "square-0": lambda r, b: f"https://{r.one('host')}{r.target}{b}",
    "shopee-shop-0": lambda r, b: "".join([parameter(r, "partner_id"), path_of(r), parameter(r, "timestamp"),
                                           parameter(r, "access_token"), parameter(r, "shop_id")]),
    "mws-0": lambda r, b: "\n".join([r.method, r.one("host"), path_of(r), query_without(r, "Signature")]),
    "coinbase-exchange-0": lambda r, b: f"{r.one('cb-access-timestamp')}{r.method}{r.target}{b}",
}


def toml(value):
    """JSON's strings and lists are TOML's; tables are written inline."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(k)} = {toml(v)}" for k, v in value.items()) + " }"
    return json.dumps(value)


def credential(case):
    keys = ["key_encoding", "algorithm", "encoding", "sign"] + [k for k in ("values", "set", "set_query") if case[k]]
    lines = "\n".join(f"{k} = {toml(case[k])}" for k in keys)
    return f'[credential.{json.dumps(case["name"])}.hmac]\nsecret = {json.dumps("keys/" + case["name"])}\n{lines}\n\n'


def route(name, host, port):
    return (f'[[route]]\nname = {json.dumps(name)}\nhost = "{host}"\nupstream = "https://127.0.0.1:{port}"\n'
            f'credential = {json.dumps(name)}\ntls = {{ ca = "ca.crt" }}\n\n')


def place(case, request):
    """The signature where the case puts it."""
    where, template, value = next(
        (n, t, v) for table, read in ((case["set"], request.one), (case["set_query"], lambda n: parameter(request, n)))
        for n, t in table.items() if "{signature}" in t for v in [read(n)])
    literal = template.partition("{signature}")[0].rpartition("}")[2]
    return value[value.index(literal) + len(literal):] if value is not None and literal in value else value


def crossed():
    for algorithm in ALGORITHMS:
        for encoding in ENCODE:
            name = f"{algorithm}-{encoding}"
            yield {"name": name, "host": f"{algorithm}-{encoding.lower()}{'-upper' if encoding == 'HEX' else ''}.matrix.example",
                   "key_encoding": "text", "algorithm": algorithm, "encoding": encoding, "values": {}, "set_query": {},
                   "sign": "{method}\n{host}\n{target}\n{body|%s|hex}" % algorithm, "set": {"X-Signature": "{signature}"},
                   "secret": "matrix key, longer than one block of the short hashes: " + "k" * 100}


def explained(bench, proxy, upstream, case):
    at = datetime.datetime.fromtimestamp(int(case["at"] or 1790000000), datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    arguments = ["explain", case["method"], case["url"], "--format", "json", "-c", proxy.folder / "proxy.toml", "--at", at]
    if case["nonce"]:
        arguments += ["--nonce", case["nonce"]]
    if case["body"]:
        arguments += ["--body", case["body"]]
    done = bench.command(*arguments)
    what = f"explain shows the text of {case['name']}" + (" (published)" if case["published"] else "")
    if done.returncode != 0:
        return bench.report.check(what, False, done.stdout + done.stderr)
    answer = json.loads(done.stdout)
    texts = [c["text"] for c in answer["canonical"]]
    bench.report.equal(what, texts, [case["canonical"]])
    headers = [(name, value) for name, value in answer["headers"]]
    request = lib.Recorded(answer["method"], answer["target"], headers, b"", None)
    bench.report.equal(f"explain gives the signature of {case['name']}", place(case, request), case["signature"])
    upstream.take()
    status, said = lib.replay(answer, case["body"].encode(), upstream.port, tls=True)
    seen = upstream.take()
    trouble = judged(case, seen[0]) if status == "200" and len(seen) == 1 else f"status {status}: {said}"
    bench.report.check(f"what explain prints of {case['name']}, sent by curl, has OpenSSL's signature", not trouble, trouble)


def live(bench, proxy, upstream, case, host, target):
    status, _, body = lib.ask(("127.0.0.1", proxy.port), target, case["method"], {"Host": host}, case["body"].encode() or None)
    seen = upstream.take()
    if status != 200 or len(seen) != 1:
        return f"status {status}, {body!r}, {len(seen)} requests upstream"
    return judged(case, seen[0])


def judged(case, request):
    """Why the signature of what arrived is not that of OpenSSL and Python, or nothing."""
    text = RULES[case["name"]](request, request.body.decode()) if case["name"] in RULES else "\n".join(
        [request.method, request.one("host"), request.target, hashlib.new(case["algorithm"], request.body).hexdigest()])
    key = DECODE[case["key_encoding"]](case["secret"])
    by_openssl = ENCODE[case["encoding"]](openssl(key, text.encode(), case["algorithm"]))
    by_python = ENCODE[case["encoding"]](hmac.new(key, text.encode(), case["algorithm"]).digest())
    found = place(case, request)
    return "" if found == by_openssl == by_python else f"text {text!r}: found {found}, openssl {by_openssl}, python {by_python}"


def checks(bench):
    authority, folder = lib.Authority(), bench.subfolder("pki")
    matrix = list(crossed())
    hosts = {c["name"]: urllib.parse.urlsplit(c["url"]).netloc for c in CASES} | {c["name"]: c["host"] for c in matrix}
    upstream = bench.serve(lib.Recorder(lib.server_context(folder, authority, sorted(set(hosts.values())))))
    secrets = bench.subfolder("secrets")
    (secrets / "keys").mkdir()
    (secrets / "ca.crt").write_bytes(authority.pem)
    for case in [*CASES, *matrix]:
        (secrets / "keys" / case["name"]).write_text(case["secret"])
    proxy = bench.proxy("proxy", "".join(credential(c) + route(c["name"], hosts[c["name"]], upstream.port)
                                         for c in [*CASES, *matrix]), secrets)
    for case in CASES:
        explained(bench, proxy, upstream, case)
        target = case["url"].partition(hosts[case["name"]])[2]
        trouble = live(bench, proxy, upstream, case, hosts[case["name"]], target)
        bench.report.check(f"a live request of {case['name']} has OpenSSL's signature", not trouble, trouble)
    for algorithm in ALGORITHMS:
        troubles = [t for c in matrix if c["algorithm"] == algorithm for t in [live(
            bench, proxy, upstream, c | {"method": "POST", "body": "a body"}, c["host"], "/x%2Fy?b=2&a=1")] if t]
        bench.report.check(f"{algorithm} in hex, HEX, base64 and base64url equals OpenSSL's", not troubles, troubles)
