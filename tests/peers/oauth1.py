"""OAuth 1.0a: requests-oauthlib and both SDKs of WooCommerce with dummy keys, judged by oauthlib's ResourceEndpoint.

Every method in every placement, with and without a token; per-tenant tokens; what the clients signed themselves is
gone; a wrong secret is refused by the judge; what `explain` shows is accepted by it when curl sends it.
"""

import json
import os
import shutil
import subprocess
import urllib.parse

from requests_oauthlib import OAuth1Session
from woocommerce import API

import lib
import oauth1_server

CONSUMER, SECRET = "ck & real/+", "cs%real&odd ~é"
TOKENS = {"m1": ("tok m1", "ts+m1%"), "m2": ("tok/m2", "ts&m2")}
# oauthlib decodes a PLAINTEXT signature of query and form once too often; these read the same either way.
SIMPLE = {"m1": ("tok-simple-m1", "ts-m1"), "m2": ("tok-simple-m2", "ts-m2")}
SIMPLE_CONSUMER, SIMPLE_SECRET = "ck-simple", "cs-simple"
METHODS = oauth1_server.METHODS
PLACEMENTS = ("header", "query", "form")
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def names(method, placement, token):
    return f"{method.lower()}-{placement}-{'token' if token else 'alone'}"


def table(method, placement, token):
    simple = "simple/" if method == "PLAINTEXT" else ""
    lines = [f'[credential.{names(method, placement, token)}.oauth1]', f'method = "{method}"', f'placement = "{placement}"',
             f'consumer_key = {{ secret = "{simple}ck" }}']
    lines += ['key = "rsa.pem"'] if method == "RSA-SHA256" else [f'consumer_secret = {{ secret = "{simple}cs" }}']
    if token:
        lines += [f'token = {{ secret = "{simple}{{tenant}}/token" }}']
        lines += [] if method == "RSA-SHA256" else [f'token_secret = {{ secret = "{simple}{{tenant}}/secret" }}']
    if placement == "header":
        lines += ['realm = "a realm"']
    return "\n".join(lines) + "\n"


def route(name, host, port, more=""):
    return f'[[route]]\nname = "{name}"\nhost = "{host}"\nprefix = "/{name}"\nupstream = "http://127.0.0.1:{port}"\ncredential = "{name}"\n{more}\n'


COMBINED = [(m, p, t) for m in METHODS for p in PLACEMENTS for t in (True, False)]


def session():
    return OAuth1Session("DUMMY", client_secret="DUMMY", resource_owner_key="DUMMY", resource_owner_secret="DUMMY")


def all_of(request):
    return f"{request.target}\n{request.headers}\n{request.body.decode('latin-1')}"


def every_way(bench, proxy, upstream, judge):
    for method, placement, token in COMBINED:
        name, troubles = names(method, placement, token), []
        for tenant in TOKENS if token else ("",):
            client, base = session(), f"http://127.0.0.1:{proxy.port}/{name}"
            headers = {"Countersign-Tenant": tenant} if token else {}
            query = {"searchCriteria[filter_groups][0][field]": "a b+c", "x": ["2", "10", "1"], "empty": ""}
            calls = [("POST", {"data": {"a": "1 + 2=é&", "b[]": ["2", "1"], "e": ""}, "headers": {**headers, **FORM}})]
            if placement != "form":
                calls += [("GET", {"headers": headers}), ("DELETE", {"headers": headers}),
                          ("PUT", {"json": {"oauth_token": "stays, it is JSON"}, "headers": headers})]
            for verb, options in calls:
                answer = client.request(verb, f"{base}/rest/V1/orders/a%2Fb", params=query, **options)
                if answer.status_code != 200:
                    troubles.append((verb, tenant, answer.text[:300], upstream.seen and all_of(upstream.seen[-1])))
        seen = upstream.take()
        troubles += [all_of(r) for r in seen if "DUMMY" in all_of(r)]
        for pair in (SIMPLE if method == "PLAINTEXT" else TOKENS).values() if token else ():
            if not any(urllib.parse.quote(pair[0], safe="") in all_of(r) for r in seen):
                troubles.append(f"no request with {pair[0]}")
        bench.report.check(f"requests-oauthlib with dummies, signed anew: {name}", not troubles and seen, troubles[:2])


def refused(bench, proxy, upstream):
    for name in ("wrong-secret", "wrong-token"):
        answer = session().get(f"http://127.0.0.1:{proxy.port}/{name}/x", headers={"Countersign-Tenant": "m1"})
        bench.report.equal(f"the judge refuses a {name.replace('-', ' ')}", (answer.status_code, len(upstream.take())), (401, 1))
    direct = session().get(f"http://127.0.0.1:{upstream.port}/x")
    bench.report.equal("without countersign the dummies are refused", (direct.status_code, len(upstream.take())), (401, 1))


def explained(bench, proxy, upstream, judge):
    for method, placement in [("HMAC-SHA256", "header"), ("HMAC-SHA1", "query"), ("HMAC-SHA512", "form")]:
        name = f"shown-{placement}"
        arguments = ["explain", "POST", f"http://127.0.0.1:{proxy.port}/{name}/p/{placement}?b=2&a=%2F", "--format", "json", "-c",
                     proxy.folder / "proxy.toml", "-H", "Content-Type: application/x-www-form-urlencoded", "--body", "q=a+b"]
        done = bench.command(*arguments)
        if not bench.report.check(f"explain shows {method} in the {placement}", done.returncode == 0, done.stderr):
            continue
        shown = json.loads(done.stdout)
        command = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "-X", "POST", "--data-binary", shown.get("body", "q=a+b")]
        for header, value in shown["headers"]:
            if header != "content-length":
                command += ["-H", f"{header}: {value}"]
        sent = subprocess.run([*command, f"http://127.0.0.1:{upstream.port}{shown['target']}"], capture_output=True, text=True, timeout=20)
        bench.report.equal(f"what it shows, sent by curl, is accepted: {placement}", sent.stdout, "200")
        text = shown["canonical"][0]
        bench.report.check(f"the text is normalised, the string to sign is the base string: {placement}",
                           text["string_to_sign"].startswith("POST&http%3A%2F%2Fshown.example%2Fp%2F")
                           and urllib.parse.unquote(text["string_to_sign"].rpartition("&")[2]) == text["text"], text)
    upstream.take()


def woocommerce(bench, proxy, upstream):
    """A store over http knows its own URL and, being PHP, the last of two parameters: the judge sees what it would see."""
    base = f"http://127.0.0.1:{proxy.port}/woo"
    api = API(url=base, consumer_key="m1", consumer_secret="cs_DUMMY", version="wc/v3", timeout=20)
    params = {"per_page": 5, "search": "a b+c=é", "orderby": "date", "empty": "", "attribute[0]": "x,y"}
    answers = [api.get("products", params=params), api.post("products", {"name": "cup é"}), api.put("products/1", {"a": [1]}),
               api.delete("products/1", params={"force": True}), api.options("products")]
    seen = upstream.take()
    bench.report.equal("woocommerce (Python): get, post, put, delete, options are accepted", [a.status_code for a in answers], [200] * 5)
    bench.report.check("woocommerce (Python): nothing of the dummies arrives, and each parameter once",
                       not any("DUMMY" in all_of(r) for r in seen) and len(seen) == 5 and all(once(r) for r in seen),
                       [r.target for r in seen])
    got = dict(urllib.parse.parse_qsl(seen[0].target.partition("?")[2], keep_blank_values=True))
    bench.report.equal("woocommerce (Python): with the values that were asked for",
                       {k: got.get(k) for k in params}, {k: str(v) for k, v in params.items()})
    script = bench.node / "use_woocommerce.mjs"
    shutil.copy(lib.pathlib.Path(__file__).parent / "sdks/workers/use_woocommerce.mjs", script)
    done = subprocess.run(["node", script], capture_output=True, text=True, timeout=60, cwd=bench.node,
                          env={"PATH": os.environ["PATH"], "BASE": base})
    seen = upstream.take()
    bench.report.check("@woocommerce/woocommerce-rest-api (Node): get, post, put, delete, options are accepted",
                       done.returncode == 0 and json.loads(done.stdout) == [200] * 5, (done.stdout, done.stderr[-1500:], [r.target for r in seen]))
    bench.report.check("@woocommerce/woocommerce-rest-api (Node): no dummy arrives, and each parameter once",
                       len(seen) == 5 and not any("DUMMY" in all_of(r) for r in seen) and all(once(r) for r in seen), [r.target for r in seen])
    answer = API(url=base, consumer_key="m3", consumer_secret="cs_DUMMY", version="wc/v3").get("products")
    bench.report.equal("a store that has no key is refused before anything leaves", (answer.status_code, upstream.take()), (503, []))


def once(request):
    pairs = [pair.partition("=")[0] for pair in request.target.partition("?")[2].split("&")]
    return len(pairs) == len(set(pairs))


def checks(bench):
    folder = bench.subfolder("secrets")
    key = subprocess.run(["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"], capture_output=True, check=True).stdout
    public = subprocess.run(["openssl", "pkey", "-pubout"], input=key, capture_output=True, check=True).stdout.decode()
    woo = {"ck_m1": "cs_m1&"}
    consumers = {CONSUMER: SECRET, "shown": SECRET, SIMPLE_CONSUMER: SIMPLE_SECRET, **woo}
    judge = oauth1_server.Judge(consumers, [*TOKENS.values(), *SIMPLE.values()], public)
    upstream = bench.serve(lib.Recorder(answer=judge))
    files = {"ck": CONSUMER, "cs": SECRET, "wrong": "wrong", "rsa.pem": key.decode(), "woo/m1/key": "ck_m1", "woo/m1/secret": "cs_m1&",
             "simple/ck": SIMPLE_CONSUMER, "simple/cs": SIMPLE_SECRET}
    for prefix, tokens in (("", TOKENS), ("simple/", SIMPLE)):
        for tenant, (token, secret) in tokens.items():
            files |= {f"{prefix}{tenant}/token": token, f"{prefix}{tenant}/secret": secret}
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    tenant = 'tenant = { header = "Countersign-Tenant" }'
    text = "".join(table(*c) + route(names(*c), f"{names(*c)}.example", upstream.port, tenant if c[2] else "") for c in COMBINED)
    for name, secret, token in (("wrong-secret", "wrong", "{tenant}/secret"), ("wrong-token", "cs", "wrong")):
        text += (f'[credential.{name}.oauth1]\nconsumer_key = {{ secret = "ck" }}\nconsumer_secret = {{ secret = "{secret}" }}\n'
                 f'token = {{ secret = "{{tenant}}/token" }}\ntoken_secret = {{ secret = "{token}" }}\n'
                 + route(name, f"{name}.example", upstream.port, tenant))
    for placement, method in (("header", "HMAC-SHA256"), ("query", "HMAC-SHA1"), ("form", "HMAC-SHA512")):
        name = f"shown-{placement}"
        text += (f'[credential.{name}.oauth1]\nconsumer_key = "shown"\nconsumer_secret = {{ secret = "cs" }}\nmethod = "{method}"\n'
                 f'placement = "{placement}"\n[[route]]\nname = "{name}"\nhost = "shown.example"\npath = "/p/{placement}"\n'
                 f'prefix = "/{name}"\nupstream = "http://127.0.0.1:{upstream.port}"\ncredential = "{name}"\n')
    text += ('[credential.woo.oauth1]\nconsumer_key = { secret = "woo/{tenant}/key" }\nconsumer_secret = { secret = "woo/{tenant}/secret" }\n'
             'placement = "query"\n' + route("woo", "store.example", upstream.port, "tenant = { slot = true }"))
    proxy = bench.proxy("proxy", text, folder)
    every_way(bench, proxy, upstream, judge)
    refused(bench, proxy, upstream)
    explained(bench, proxy, upstream, judge)
    woocommerce(bench, proxy, upstream)
