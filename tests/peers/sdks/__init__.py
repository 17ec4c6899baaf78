"""Eleven SDKs as their makers publish them, with dummy secrets, towards a TLS upstream that refuses every request without the
platform's real credential.

Each SDK is used by a program of its own under `workers`, in a process of its own, first past countersign (a detour that
leads HTTPS_PROXY straight to the upstream), where all must be refused, then through it. Nothing leaves loopback: names
are led there by `[connect_to]` and by the detour.
"""

import base64
import json
import os
import pathlib
import shutil
import subprocess
import sys

import lib

from . import platforms

WORKERS = pathlib.Path(__file__).resolve().parent / "workers"
DUMMIES = ("dummy", "countersign-m")  # dummy secrets, and the tenants and placeholders that stand in their place
HOSTS = platforms.HOSTS

ROUTES = """
[intercept]
dir = "public"
ephemeral = true

[tls]
roots = ["upstream/ca.crt"]

[connect_to]
{connect_to}

[credential.stripe]
bearer = {{ secret = "stripe/{{tenant}}/key" }}
[[route]]
name = "stripe"
host = "api.stripe.com"
prefix = "/stripe"
credential = "stripe"
tenant = {{ slot = true }}

[credential.objects]
bearer = {{ secret = "objects/key" }}
[[route]]
name = "objects"
host = "objects.store.example"
listen = "127.0.0.1:{objects}"
credential = "objects"

[credential.github]
bearer = {{ secret = "github/token" }}
[[route]]
name = "github"
host = "api.github.com"
prefix = "/github"
credential = "github"

[credential.slack]
bearer = {{ secret = "slack/{{tenant}}/token" }}
[[route]]
name = "slack"
host = "slack.com"
prefix = "/slack"
credential = "slack"
tenant = {{ header = "Countersign-Tenant" }}

[credential.woo]
basic = {{ username = {{ secret = "woo/key" }}, password = {{ secret = "woo/secret" }} }}
[[route]]
name = "woo"
host = "shop.woo.example"
credential = "woo"

[credential.woo-signed]
oauth1 = {{ consumer_key = {{ secret = "woo/key" }}, consumer_secret = {{ secret = "woo/secret" }}, placement = "query" }}
[[route]]
name = "woo-signed"
host = "signed.woo.example"
prefix = "/woo"
credential = "woo-signed"

[credential.shopify]
api_key = {{ secret = "shopify/{{tenant}}/token", header = "X-Shopify-Access-Token" }}
[[route]]
name = "shopify-token"
host = "{{shop}}.myshopify.com"
path = "/admin/oauth/access_token"
credential = "none"
stand_in = "token"
[[route]]
name = "shopify"
host = "{{shop}}.myshopify.com"
credential = "shopify"
tenant = "{{shop}}"

[state]
url = "memory:"

[credential.amazon.oauth2]
grant = "refresh_token"
token_url = "https://api.amazon.com/auth/o2/token"
client_id = {{ secret = "amazon/client-id" }}
client_secret = {{ secret = "amazon/client-secret" }}
client_auth = "post"
refresh_token = {{ secret = "amazon/{{tenant}}/refresh-token" }}
inject = {{ header = "x-amz-access-token" }}
[[route]]
name = "amazon-token"
host = "api.amazon.com"
path = "/auth/o2/token"
credential = "amazon"
stand_in = "token"
tenant = {{ slot = true }}
[[route]]
name = "amazon"
host = "sellingpartnerapi-eu.amazon.com"
credential = "amazon"
tenant = {{ slot = true }}

[credential.bigcommerce]
api_key = {{ secret = "bigcommerce/{{tenant}}/token", header = "X-Auth-Token" }}
[[route]]
name = "bigcommerce"
host = "api.bigcommerce.com"
credential = "bigcommerce"
tenant = {{ path = 2 }}

[credential.ebay.oauth2]
grant = "refresh_token"
token_url = "https://api.ebay.com/identity/v1/oauth2/token"
client_id = {{ secret = "ebay/client-id" }}
client_secret = {{ secret = "ebay/client-secret" }}
client_auth = "basic_raw"
refresh_token = {{ secret = "ebay/{{tenant}}/refresh-token" }}
[[route]]
name = "ebay-token"
host = "api.ebay.com"
path = "/identity/v1/oauth2/token"
credential = "ebay"
stand_in = "token"
tenant = {{ slot = true }}
[[route]]
name = "ebay"
host = "api.ebay.com"
credential = "ebay"
tenant = {{ slot = true }}
"""


def plain(request):
    """All that arrived as one text in lower case, with what a Basic header says."""
    said = [base64.b64decode(v[6:]).decode("latin-1") for v in request.all("authorization") if v.lower().startswith("basic ")]
    return f"{request.target}\n{request.headers}\n{said}\n{request.body.decode('latin-1')}".lower()


class Stage:
    """The upstream, the detour and countersign, and how a worker is run among them."""

    def __init__(self, bench):
        self.bench, self.report = bench, bench.report
        folder, authority = bench.subfolder("pki"), lib.Authority()
        self.upstream_ca = folder / "upstream.crt"
        self.upstream_ca.write_bytes(authority.pem)
        self.answers = platforms.Upstream()
        context = lib.server_context(folder, authority, list(HOSTS.values()))
        self.recorder = bench.serve(lib.Recorder(context=context, answer=self.answers))
        self.detour = bench.serve(platforms.Detour(self.recorder.port))
        secrets = bench.subfolder("secrets")
        for name, value in {**platforms.SECRETS, "upstream/ca.crt": authority.pem.decode()}.items():
            (secrets / name).parent.mkdir(parents=True, exist_ok=True)
            (secrets / name).write_text(value)
        port = lib.free_port()
        connect_to = "\n".join(f'"{host}:443" = "127.0.0.1:{self.recorder.port}"' for host in HOSTS.values())
        self.proxy = bench.proxy("sdks", ROUTES.format(connect_to=connect_to, objects=port), secrets, objects=port)
        for worker in WORKERS.glob("*.mjs"):  # Node looks for packages beside the file
            shutil.copy(worker, bench.node)

    def run(self, worker, environment):
        """(what the worker printed or None, its errors, the requests that arrived, how they were answered)."""
        self.recorder.take(), self.answers.statuses.clear()
        if worker.endswith(".py"):
            command = [sys.executable, WORKERS / worker]
        else:
            preload = ["--import", "./proxy.mjs"] if worker == "use_shopify_api.mjs" else []
            command = ["node", *preload, self.bench.node / worker]
        clean = {"PATH": os.environ["PATH"], "HOME": str(self.bench.folder), "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=self.bench.node, env={**clean, **environment})
        printed = json.loads(done.stdout) if done.returncode == 0 else None
        return printed, done.stderr, self.recorder.take(), list(self.answers.statuses)

    def own(self):
        return self.by_proxy(self.proxy.port, self.proxy.folder / "public/countersign-ca.crt")

    def by_proxy(self, port, ca):
        """The environment of a worker that takes HTTPS_PROXY, with the CA wherever these libraries look for it."""
        return {"HTTPS_PROXY": f"http://127.0.0.1:{port}", "https_proxy": f"http://127.0.0.1:{port}",
                **dict.fromkeys(["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"], str(ca))}

    def refused(self, name, worker, error, **more):
        """Past countersign the SDK fails with its own error, and no request of it is let in."""
        printed, errors, seen, statuses = self.run(worker, {**self.by_proxy(self.detour.port, self.upstream_ca), **more})
        self.report.check(f"{name} without countersign is refused", printed is None and error in errors and seen
                          and set(statuses) == {401}, (printed, statuses, errors[-1500:]))

    def served(self, name, worker, environment, wanted, requests):
        """Through countersign it gets everything, in `requests` calls, and nothing that it knows arrives."""
        printed, errors, seen, statuses = self.run(worker, environment)
        self.report.check(f"{name}: reads, follows pages, writes", printed == wanted, (printed, wanted, statuses, errors[-1500:]))
        self.report.check(f"{name}: {requests} calls, each with the real credential", len(seen) == requests
                          and all(status < 400 for status in statuses), [(r.method, r.target, s) for r, s in zip(seen, statuses)])
        leaked = [text for text in map(plain, seen) if any(dummy in text for dummy in DUMMIES)]
        self.report.check(f"{name}: no dummy arrives", not leaked, leaked)


def two(key, value):
    return {key.format(tenant): value(tenant) for tenant in ("m1", "m2")}


def by_base_url(stage):
    base, keys = f"http://127.0.0.1:{stage.proxy.port}", {"AWS_ACCESS_KEY_ID": "AKIADUMMY", "AWS_SECRET_ACCESS_KEY": "DUMMY",
                                                          "AWS_DEFAULT_REGION": "eu-central-1"}
    stage.refused("stripe", "use_stripe.py", "AuthenticationError", BASE="https://api.stripe.com")
    stripe = two("{}", lambda t: {"read": f"a@{t}.example", "pages": ["cus_1", "cus_2", "cus_3"], "wrote": ["cus_4", "d@example.com"]})
    stage.served("stripe, two accounts", "use_stripe.py", {"BASE": f"{base}/stripe"}, stripe, 6)
    stage.served("stripe by HTTPS_PROXY", "use_stripe.py", {"BASE": "https://api.stripe.com", **stage.own()}, stripe, 6)
    stage.refused("boto3", "use_boto3.py", "ClientError", AWS_ENDPOINT_URL_S3="https://objects.store.example", **keys)
    stage.served("boto3", "use_boto3.py", {"AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{stage.proxy.ports['objects']}", **keys},
                 {"read": "2026/1.json", "pages": ["2026/1.json", "2026/2.json"], "wrote": '"13"'}, 3)
    stage.refused("PyGithub", "use_github.py", "BadCredentialsException", BASE="https://api.github.com")
    stage.served("PyGithub", "use_github.py", {"BASE": f"{base}/github"},
                 {"read": "first", "pages": [1, 2], "wrote": [3, "third"]}, 3)
    printed, errors, seen, _ = stage.run("use_github_objects.py", {"BASE": f"{base}/github"})
    stage.report.check("PyGithub's objects, fetched by base URL, call nobody by their absolute URLs", printed is None
                       and "AssertionError: api.github.com" in errors and len(seen) == 1, (printed, seen, errors[-1500:]))
    stage.refused("slack_sdk", "use_slack.py", "SlackApiError", BASE="https://slack.com")
    stage.served("slack_sdk, two workspaces", "use_slack.py", {"BASE": f"{base}/slack"}, two("{}", lambda t: {
        "read": f"C1{t}", "pages": [f"C1{t}", f"C2{t}"], "wrote": "hello <there> & goodbye"}), 6)
    woo = {"read": "mug", "pages": [1, 2], "wrote": {"id": 3, "name": "cup"}}
    stage.refused("woocommerce", "use_woocommerce.py", "401", BASE="https://shop.woo.example")
    stage.served("woocommerce by base URL", "use_woocommerce.py", {"BASE": f"{base}/woo"},
                 {**woo, "link": f"{base}/woo/wp-json/wc/v3/products?page=2"}, 3)
    stage.served("woocommerce by HTTPS_PROXY", "use_woocommerce.py", {"BASE": "https://shop.woo.example", **stage.own()},
                 {**woo, "link": "https://shop.woo.example/wp-json/wc/v3/products?page=2"}, 3)


def by_interception(stage):
    own = stage.own()
    stage.refused("PyGithub (its objects)", "use_github_objects.py", "BadCredentialsException")
    stage.served("PyGithub by HTTPS_PROXY", "use_github_objects.py", own, {"read": "tools", "pages": [1, 2], "wrote": [3, "closed"]}, 5)
    stage.refused("ShopifyAPI", "use_shopify.py", "UnauthorizedAccess")
    stage.served("ShopifyAPI, two shops", "use_shopify.py", own, two("{}-shop.myshopify.com", lambda t: {
        "read": f"mug of {t}", "pages": [1, 2], "wrote": [3, "bowl"]}), 6)
    stage.refused("python-amazon-sp-api", "use_amazon.py", "AuthorizationError")
    amazon = two("{}", lambda t: {"read": f"{t}-1", "pages": [f"{t}-1", f"{t}-2"], "wrote": f"{t}-GET_MERCHANT_LISTINGS_DATA"})
    # Two of the calls are countersign's own, for the two sellers' tokens; the second SDK finds them there.
    stage.served("python-amazon-sp-api, two sellers", "use_amazon.py", own, amazon, 8)
    stage.refused("amazon-sp-api", "use_amazon.mjs", "invalid")
    stage.served("amazon-sp-api, two sellers", "use_amazon.mjs", own, amazon, 6)
    stage.refused("bigcommerce", "use_bigcommerce.py", "ClientRequestException")
    stage.served("bigcommerce, two stores", "use_bigcommerce.py", own, two("store{}", lambda t: {
        "read": f"mug of {t}", "pages": [1, 2], "wrote": [3, "cup"]}), 6)
    stage.refused("ebay-api", "use_ebay.mjs", "EBay")
    stage.served("ebay-api, two sellers", "use_ebay.mjs", own, two("{}", lambda t: {
        "read": [f"v1|{t}", "a mug & a cup"], "wrote": f"{t}-mug"}), 6)
    stage.refused("@shopify/shopify-api", "use_shopify_api.mjs", "HttpResponseError")
    stage.served("@shopify/shopify-api, two shops", "use_shopify_api.mjs", own, two("{}-shop.myshopify.com", lambda t: {
        "read": [f"mug of {t}", f"shop {t}"], "pages": ["1", "2"], "wrote": "bowl"}), 8)


def checks(bench):
    stage = Stage(bench)
    by_base_url(stage)
    by_interception(stage)
    real = [value for value in {**platforms.SECRETS, **platforms.ACCESS}.values() if value in stage.proxy.log]
    stage.report.check("no secret is in the log", not real, real)
    stage.report.equal("SIGTERM ends countersign with status 0", stage.proxy.stop(), 0)
