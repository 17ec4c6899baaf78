"""The platforms as the SDKs know them: one TLS upstream that looks at Host, demands that platform's real credential in its
place, and answers in that platform's JSON (the object store in XML). No check lives here; `sdks` starts it.
"""

import base64
import json
import re
import socketserver
import socket
import threading
import urllib.parse

import oauth1_server

SHOP, EBAY_TOKEN = "-shop.myshopify.com", "/identity/v1/oauth2/token"
HOSTS = {
    "stripe": "api.stripe.com", "objects": "objects.store.example", "github": "api.github.com", "slack": "slack.com",
    "woo": "shop.woo.example", "woo signed": "signed.woo.example", "lwa": "api.amazon.com", "amazon": "sellingpartnerapi-eu.amazon.com",
    "bigcommerce": "api.bigcommerce.com", "ebay": "api.ebay.com", "m1": "m1" + SHOP, "m2": "m2" + SHOP,
}
SECRETS = {
    "stripe/m1/key": "sk_live_REALm1", "stripe/m2/key": "sk_live_REALm2", "slack/m1/token": "xoxb-REALm1", "slack/m2/token": "xoxb-REALm2",
    "objects/key": "REALobjects", "github/token": "ghp_REALgithub", "woo/key": "ck_REALwoo", "woo/secret": "cs_REALwoo",
    "shopify/m1-shop/token": "shpat_REALm1", "shopify/m2-shop/token": "shpat_REALm2",
    "amazon/client-id": "amzn1.REAL", "amazon/client-secret": "REALlwa", "amazon/m1/refresh-token": "Atzr|REALm1", "amazon/m2/refresh-token": "Atzr|REALm2",
    "bigcommerce/storem1/token": "REALbigm1", "bigcommerce/storem2/token": "REALbigm2",
    "ebay/client-id": "REAL-app", "ebay/client-secret": "PRD-REAL", "ebay/m1/refresh-token": "v^1.1#r^0#REALm1", "ebay/m2/refresh-token": "v^1.1#r^0#REALm2",
}
# What the token endpoints of Amazon and eBay give for these refresh tokens.
ACCESS = {
    "amazon/m1/token": "Atza|GIVENm1", "amazon/m2/token": "Atza|GIVENm2",
    "ebay/m1/token": "v^1.1#i^1#GIVENm1", "ebay/m2/token": "v^1.1#i^1#GIVENm2",
}


def tenants(header, before, names):
    """A rule: `before` and the secret of one of the tenants stand in the header; the rule's answer is the tenant."""
    known = {before + {**SECRETS, **ACCESS}[name]: name.split("/")[1].removesuffix("-shop").removeprefix("store") for name in names}
    return lambda request: known.get(request.one(header))


def alone(header, before, name):
    return lambda request: "one" if request.one(header) == before + SECRETS[name] else None


def refreshing(platform, in_form):
    """A rule for a token call (RFC 6749 section 6): the real client, in the form or as Basic over both parts as they are."""
    known = {SECRETS[f"{platform}/{tenant}/refresh-token"]: tenant for tenant in ("m1", "m2")}
    ident, secret = SECRETS[f"{platform}/client-id"], SECRETS[f"{platform}/client-secret"]
    basic = "Basic " + base64.b64encode(f"{ident}:{secret}".encode()).decode()

    def rule(request):
        form = dict(urllib.parse.parse_qsl(request.body.decode("latin-1")))
        client = (form.get("client_id"), form.get("client_secret")) == (ident, secret) if in_form else request.one("authorization") == basic
        return known.get(form.get("refresh_token")) if client and form.get("grant_type") == "refresh_token" else None
    return rule


WOO = "Basic " + base64.b64encode(f"{SECRETS['woo/key']}:{SECRETS['woo/secret']}".encode()).decode()
WOO_SIGNED = oauth1_server.Judge({SECRETS["woo/key"]: SECRETS["woo/secret"]}, scheme="https")
RULES = {
    "stripe": tenants("authorization", "Bearer ", ["stripe/m1/key", "stripe/m2/key"]),
    "objects": alone("authorization", "Bearer ", "objects/key"),
    "github": alone("authorization", "Bearer ", "github/token"),
    "slack": tenants("authorization", "Bearer ", ["slack/m1/token", "slack/m2/token"]),
    "woo": lambda request: "one" if request.one("authorization") == WOO else None,
    "woo signed": lambda request: None if WOO_SIGNED.reason(request) else "one",
    "shopify": tenants("x-shopify-access-token", "", ["shopify/m1-shop/token", "shopify/m2-shop/token"]),
    "amazon": tenants("x-amz-access-token", "", ["amazon/m1/token", "amazon/m2/token"]),
    "bigcommerce": tenants("x-auth-token", "", ["bigcommerce/storem1/token", "bigcommerce/storem2/token"]),
    "ebay": tenants("authorization", "Bearer ", ["ebay/m1/token", "ebay/m2/token"]),
    "lwa": refreshing("amazon", in_form=True), "ebay token": refreshing("ebay", in_form=False),
}


class Call:
    """One request, taken apart."""

    def __init__(self, request, tenant):
        self.method, self.tenant, self.host = request.method, tenant, request.one("host")
        self.path, _, query = request.target.partition("?")
        self.query = {k: v[-1] for k, v in urllib.parse.parse_qs(query).items()}
        self.form = {k: v[-1] for k, v in urllib.parse.parse_qs(request.body.decode("latin-1")).items()}
        self.raw = request.body

    @property
    def json(self):
        return json.loads(self.raw)

    def link(self, path):
        return {"Link": f'<https://{self.host}{path}>; rel="next"'}


# Each answers with (status, headers, what becomes JSON), or None for what it does not know.

def stripe(call):
    def customer(number, email):
        return {"id": f"cus_{number}", "object": "customer", "email": email, "livemode": True}
    if (call.method, call.path) == ("GET", "/v1/customers"):
        first = "starting_after" not in call.query
        data = [customer(1, f"a@{call.tenant}.example"), customer(2, "b@example.com")] if first else [customer(3, "c@example.com")]
        return 200, {}, {"object": "list", "url": "/v1/customers", "has_more": first, "data": data}
    if (call.method, call.path) == ("POST", "/v1/customers"):
        return 200, {}, customer(4, call.form["email"])


def objects(call):
    if (call.method, call.path) == ("GET", "/orders"):
        first = "continuation-token" not in call.query
        key = "2026/1.json" if first else "2026/2.json"
        more = "<IsTruncated>true</IsTruncated><NextContinuationToken>n2</NextContinuationToken>" if first else "<IsTruncated>false</IsTruncated>"
        return 200, {"Content-Type": "application/xml"}, (
            f'<?xml version="1.0"?><ListBucketResult><Name>orders</Name><KeyCount>1</KeyCount>{more}<Contents><Key>{key}</Key>'
            f'<Size>17</Size><ETag>"e"</ETag></Contents></ListBucketResult>').encode()
    if (call.method, call.path) == ("PUT", "/orders/2026/3.json"):
        return 200, {"ETag": f'"{len(call.raw)}"'}, b""


def github(call):
    api = f"https://{HOSTS['github']}"

    def issue(number, title):
        return {"id": number, "number": number, "title": title, "state": "open", "url": f"{api}/repos/octo/tools/issues/{number}"}
    if (call.method, call.path) == ("GET", "/repos/octo/tools"):
        return 200, {}, {"id": 1, "name": "tools", "full_name": "octo/tools", "url": f"{api}/repos/octo/tools"}
    if (call.method, call.path) == ("GET", "/repos/octo/tools/issues"):
        return 200, call.link("/repositories/1/issues?page=2"), [issue(1, "first")]
    if (call.method, call.path) == ("GET", "/repositories/1/issues"):
        return 200, {}, [issue(2, "second")]
    if (call.method, call.path) == ("POST", "/repos/octo/tools/issues"):
        return 201, {}, issue(3, call.json["title"])
    if (call.method, call.path) == ("PATCH", "/repos/octo/tools/issues/3"):
        return 200, {}, {**issue(3, "third"), **call.json}


def slack(call):
    if call.path == "/api/conversations.list":
        first = "cursor" not in {**call.form, **call.query}
        return 200, {}, {"ok": True, "channels": [{"id": ("C1" if first else "C2") + call.tenant}],
                         "response_metadata": {"next_cursor": "dGVhbQ==" if first else ""}}
    if (call.method, call.path) == ("POST", "/api/chat.postMessage"):
        sent = call.json if call.raw.startswith(b"{") else call.form
        return 200, {}, {"ok": True, "channel": sent["channel"], "ts": "1.2", "message": {"text": sent["text"]}}


def woo(call):
    path = "/wp-json/wc/v3/products"
    if (call.method, call.path) == ("GET", path):
        second = call.query.get("page") == "2"
        return 200, {} if second else call.link(f"{path}?page=2"), [{"id": 2 if second else 1, "name": "mug"}]
    if (call.method, call.path) == ("POST", path):
        return 201, {}, {"id": 3, **call.json}


def shopify(call):
    if not call.host.startswith(call.tenant + "-"):
        return 403, {}, {"errors": "the token of another shop"}
    products = re.fullmatch(r"(/admin/api/[^/]+)/products\.json", call.path)
    if products and call.method == "GET":
        second = call.query.get("page_info") == "p2"
        more = {} if second else call.link(f"{products[1]}/products.json?limit=1&page_info=p2")
        return 200, more, {"products": [{"id": 2 if second else 1, "title": f"{'cup' if second else 'mug'} of {call.tenant}"}]}
    if products and call.method == "POST":
        return 201, {}, {"product": {"id": 3, **call.json["product"]}}
    if call.method == "POST" and call.path.endswith("/graphql.json"):
        return 200, {}, {"data": {"shop": {"name": f"shop {call.tenant}"}}, "extensions": {}}


def token(call):
    """What a platform gives a tenant; the refresh token stays."""
    platform = "ebay" if call.host == HOSTS["ebay"] else "amazon"
    if call.method == "POST" and call.path in (EBAY_TOKEN, "/auth/o2/token"):
        return 200, {}, {"access_token": ACCESS[f"{platform}/{call.tenant}/token"], "token_type": "bearer", "expires_in": 7200}


def amazon(call):
    if (call.method, call.path) == ("GET", "/orders/v0/orders"):
        second = "NextToken" in call.query
        orders = {"Orders": [{"AmazonOrderId": f"{call.tenant}-{2 if second else 1}"}]}
        return 200, {}, {"payload": orders if second else {**orders, "NextToken": "n2"}}
    if (call.method, call.path) == ("POST", "/reports/2021-06-30/reports"):
        return 202, {}, {"reportId": f"{call.tenant}-{call.json['reportType']}"}


def bigcommerce(call):
    if not call.path.startswith(f"/stores/store{call.tenant}/v2/products"):
        return 403, {}, {"title": "the token of another store"}
    if call.method == "GET":
        return 200, {}, [{"id": int(call.query.get("page", 1)), "name": f"mug of {call.tenant}"}]
    if call.method == "POST":
        return 201, {}, {"id": 3, **call.json}


def ebay(call):
    if (call.method, call.path) == ("GET", "/buy/browse/v1/item_summary/search"):
        return 200, {}, {"total": 1, "itemSummaries": [{"itemId": f"v1|{call.tenant}", "title": call.query["q"]}]}
    if (call.method, call.path) == ("POST", "/sell/inventory/v1/offer"):
        return 201, {}, {"offerId": f"{call.tenant}-{call.json['sku']}"}


ANSWERS = {"stripe": stripe, "objects": objects, "github": github, "slack": slack, "woo": woo, "woo signed": woo, "shopify": shopify,
           "amazon": amazon, "bigcommerce": bigcommerce, "ebay": ebay, "lwa": token, "ebay token": token}


# One refusal with every platform's words: Stripe's `error`, GitHub's `message`, Slack's `ok`, Shopify's `errors`.
REFUSAL = {"error": {"message": "invalid credential"}, "message": "Bad credentials", "ok": False, "errors": "invalid credential"}


def platform_of(host, target):
    if host and host.endswith(SHOP):
        return "shopify"
    if (host, target) == (HOSTS["ebay"], EBAY_TOKEN):
        return "ebay token"
    return next((name for name, known in HOSTS.items() if known == host), None)


class Upstream:
    """The `answer` of a recorder. `statuses` has what was answered, one a request."""

    def __init__(self):
        self.statuses = []

    def __call__(self, request):
        platform = platform_of(request.one("host"), request.target)
        tenant = RULES[platform](request) if platform else None
        if platform is None:
            status, headers, value = 421, {}, {"error": "unknown host"}
        elif tenant is None:
            status, headers, value = 401, {}, REFUSAL
        else:
            status, headers, value = ANSWERS[platform](Call(request, tenant)) or (404, {}, {"errors": "no such thing"})
        self.statuses.append(status)
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        head = {"Content-Type": "application/json", **headers, "Content-Length": len(body)}
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        return f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode() + (b"" if request.method == "HEAD" else body)


class Detour(socketserver.ThreadingTCPServer):
    """An HTTP proxy that leads every CONNECT to one port: the way past countersign, straight to the upstream."""

    allow_reuse_address = daemon_threads = True
    block_on_close = False

    def __init__(self, port):
        self.to = ("127.0.0.1", port)
        super().__init__(("127.0.0.1", 0), Tunnel)

    @property
    def port(self):
        return self.server_address[1]

    def handle_error(self, request, client_address):
        pass  # clients that cut a connection are part of the checks


class Tunnel(socketserver.StreamRequestHandler):
    rbufsize = 0

    def handle(self):
        while self.rfile.readline(65536) not in (b"\r\n", b"\n", b""):
            pass
        with socket.create_connection(self.server.to) as far:
            self.request.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            back = threading.Thread(target=pump, args=(far, self.request), daemon=True)
            back.start()
            pump(self.request, far)
            back.join()


def pump(source, sink):
    try:
        while piece := source.recv(65536):
            sink.sendall(piece)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # the other side went first
