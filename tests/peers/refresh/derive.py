"""A second token, as the Selling Partner API has it: made with the first, carried by requests to some endpoints in its place,
one call for many requests, made anew when the upstream refuses it, and told about when it cannot be had.
"""

import collections
import json

import lib

from . import stage as scene
from .platform import Platform
from .stage import Shop

AT_ONCE = 200
MORE = """
inject = {{ header = "x-amz-access-token" }}
[credential.{name}.oauth2.derive]
url       = "http://127.0.0.1:{port}/tokens/2021-03-01/restrictedDataToken"
body      = '{{{{"restrictedResources":[{{{{"method":"GET","path":"/orders/v0/orders","dataElements":["buyerInfo"]}}}}]}}}}'
answer    = {{ access_token = "restrictedDataToken", expires_in = "expiresIn" }}
endpoints = ["GET /orders/v0/orders", "GET /orders/v0/orders/{{id}}/address"]
"""
TOKEN = "x-amz-access-token"


def message(status, body):
    return scene.message(status, body)


class Seconds:
    """Gives second tokens for living first ones, as it is told to."""

    def __init__(self, platform):
        self.platform, self.calls, self.given, self.refuse = platform, [], {}, None

    def __call__(self, request):
        self.calls.append(request)
        if self.refuse:
            return message(*self.refuse)
        first = request.one(TOKEN)
        owner = self.platform.access.get(first, (None, 0))[0]
        if owner is None:
            return message(401, {"errors": [{"code": "Unauthorized", "message": f"Access to {first} is denied"}]})
        second = f"CANARY-second-{len(self.calls)}-{owner}"
        self.given[second] = owner
        return message(200, {"restrictedDataToken": second, "expiresIn": 3600})


class Upstream:
    """Wants a second token for orders and a first one for anything else; says whose it was."""

    def __init__(self, platform, seconds):
        self.platform, self.seconds, self.seen, self.dead = platform, seconds, [], set()

    def __call__(self, request):
        path = request.target.split("?")[0]
        token = request.one(TOKEN)
        wants_second = request.method == "GET" and (path == "/orders/v0/orders" or path.endswith("/address"))
        owner = self.seconds.given.get(token) if wants_second else self.platform.access.get(token, (None, 0))[0]
        self.seen.append((path, owner, request.headers))
        if owner is None or token in self.dead or owner != request.one("host").split(".")[0]:
            return message(401, {"errors": [{"code": "Unauthorized"}]})
        return message(200, owner.encode())


def checks(stage):
    bench, report = stage.bench, stage.report
    platform = Platform(stage.loop, 3600)
    seconds = Seconds(platform)
    endpoint = bench.serve(lib.Recorder(answer=seconds))
    told = Upstream(platform, seconds)
    upstream = bench.serve(lib.Recorder(lib.server_context(bench.subfolder("pki"), stage.authority, ["*.sp.example"]), answer=told))
    shop = Shop("sp", platform.url, upstream, domain="sp.example")
    shop.wait, shop.more = "2s", MORE.format(name="sp", port=endpoint.port)
    for tenant in ("m1", "m2", "m3"):
        stage.seed(shop, tenant, platform.seed(tenant))
    proxy = stage.proxy("derive", stage.sqlite("derive"), [shop])

    async def at_once():
        async def one(number):
            tenant = ("m1", "m2")[number % 2]
            target = ("/orders/v0/orders?x=1", "/orders/v0/orders/902-1/address", "/catalog/items")[number % 3]
            streams = await scene.asyncio.open_connection("127.0.0.1", proxy.port)
            answer = await scene.ask(streams, shop.host(tenant), target)
            streams[1].close()
            return answer.status, answer.body.decode() == tenant
        return await scene.asyncio.gather(*[one(number) for number in range(AT_ONCE)])
    answers = collections.Counter(stage.loop.run(at_once()))
    report.equal(f"derive: {AT_ONCE} requests are served, each with its tenant's token of the right kind", dict(answers), {(200, True): AT_ONCE})
    report.equal("derive: one call for each tenant", len(seconds.calls), 2)
    call = seconds.calls[0]
    report.equal("derive: the call", (call.method, call.target, call.one("content-type"), json.loads(call.body)["restrictedResources"][0]["path"]),
                 ("POST", "/tokens/2021-03-01/restrictedDataToken", "application/json", "/orders/v0/orders"))

    def ask(target, tenant="m1", headers=()):
        return lib.ask(("127.0.0.1", proxy.port), target, headers={"Host": shop.host(tenant), **dict(headers)})
    smuggled = ask("/orders/v0/orders", headers={"X-Amz-Access-Token": "mine", "X_Amz_Access_Token": "mine"})
    last = told.seen[-1][2]
    report.check("derive: what a worker sends in its place never leaves", smuggled[0] == 200 and not any(value == "mine" for _, value in last), last)
    report.equal("derive: HEAD is GET", lib.ask(("127.0.0.1", proxy.port), "/catalog", "HEAD", {"Host": shop.host("m1")})[0], 200)

    told.dead = set(seconds.given)
    before = len(seconds.calls)
    report.equal("derive: one that the upstream refuses is replaced, and the request sent again", ask("/orders/v0/orders")[0], 200)
    report.equal("derive: by one call", len(seconds.calls) - before, 1)
    report.equal("derive: the first token was not touched", platform.granted["m1"], 1)

    shown = bench.command("explain", "GET", "https://m1.sp.example/orders/v0/orders", "-c", proxy.folder / "proxy.toml")
    other = bench.command("explain", "GET", "https://m1.sp.example/catalog", "-c", proxy.folder / "proxy.toml")
    report.check("derive: explain shows which token goes where", f"{TOKEN}: [derived_token]" in shown.stdout
                 and f"{TOKEN}: [access_token]" in other.stdout, shown.stdout + shown.stderr + other.stdout)

    seconds.refuse = 403, {"errors": [{"code": "Unauthorized", "message": "no role"}]}
    status, fields, body = ask("/orders/v0/orders", "m3")
    problem = json.loads(body)
    report.equal("derive: a platform that refuses is told of", (status, fields.get("countersign-error"), problem["reason"], problem["tenant"]),
                 (503, "token_unavailable", "bad_answer", "m3"))
    report.equal("derive: what needs the first token alone works", ask("/catalog", "m3")[0], 200)
    before = len(seconds.calls)
    report.equal("derive: nobody asks again at once", (ask("/orders/v0/orders", "m3")[0], len(seconds.calls) - before), (503, 0))
    pages = proxy.log + body.decode() + proxy.page("/metrics")[2].decode() + proxy.page("/api/connections")[2].decode() + shown.stdout
    report.check("derive: no token is in log, answers, metrics, list or explain", "CANARY" not in pages)
    crossed = [(path, owner) for path, owner, headers in told.seen if owner and dict(headers).get("host", "").split(".")[0] not in ("", owner)]
    report.equal("derive: no token reached another tenant", crossed, [])
    report.equal("derive: SIGTERM ends countersign with status 0", proxy.stop(), 0)
