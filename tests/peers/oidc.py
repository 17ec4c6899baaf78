"""Connections against oidc-provider, a certified authorization server: `connect` through its login and consent pages,
refreshes with rotation, a request with the token, revocation. Refresh tokens rotate, and one that is used twice ends its family.
"""

import html.parser
import http.cookiejar
import json
import subprocess
import urllib.error
import urllib.parse
import urllib.request

import lib
import provider

KEY = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="


class Form(html.parser.HTMLParser):
    """The first form of a page: where it goes, and its hidden fields."""

    def __init__(self, page):
        super().__init__()
        self.action, self.fields = None, {}
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag == "form" and self.action is None:
            self.action = given.get("action")
        if tag == "input" and given.get("type") == "hidden":
            self.fields[given["name"]] = given.get("value", "")


class Browser:
    """Follows redirects, keeps cookies, fills forms."""

    def __init__(self):
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))

    def open(self, url, fields=None):
        data = urllib.parse.urlencode(fields).encode() if fields is not None else None
        try:
            answer = self.opener.open(urllib.request.Request(url, data), timeout=20)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            return answer.status, answer.url, answer.read().decode()

    def approve(self, url, account):
        """Signs in and consents; the page that the last redirect leads to."""
        pages = []
        page = self.open(url)
        for _ in range(4):
            pages.append(page[1])
            form = Form(page[2])
            if form.action is None or "/interaction/" not in form.action:
                return page, pages
            extra = {"login": account, "password": "any"} if 'name="login"' in page[2] else {}
            page = self.open(urllib.parse.urljoin(page[1], form.action), {**form.fields, **extra})
        return page, pages

    def abort(self, url):
        """Goes to the sign-in page and then back to where it came from, without signing in."""
        _, place, _ = self.open(url)
        return self.open(place.rstrip("/") + "/abort")


def asked(platform, path, fields):
    """A call of the provider by its client."""
    headers = {"Authorization": provider.BASIC, "Content-Type": "application/x-www-form-urlencoded"}
    status, _, body = lib.ask(platform.address, path, "POST", headers, urllib.parse.urlencode(fields))
    return status, json.loads(body) if body else {}


def connecting(bench, folder, *words):
    """`connect` as it runs; its first line is the URL."""
    process = subprocess.Popen([bench.binary, "connect", "shop", "--no-browser", "--format", "json", *words], cwd=folder,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    bench.stack.callback(process.kill)
    return process, process.stdout.readline().strip()


def checks(bench):
    report = bench.report
    platform = provider.Provider(bench, LIFE="3600")
    secrets = bench.subfolder("secrets")
    bench.secrets(secrets, client=provider.CLIENT_SECRET, admin="the-admin", state=KEY)
    proxy = bench.proxy("oidc", f"""
[admin]
token = "admin"

[state]
url = "sqlite:state/connections.db"
key = "state"

[credential.shop]
oauth2 = {{ grant = "authorization_code", client_id = "{provider.CLIENT_ID}", client_secret = {{ secret = "client" }}, scope = "openid", token_url = "{platform.url}/token", authorize_url = "{platform.url}/auth", revoke_url = "{platform.url}/token/revocation" }}

[[route]]
name       = "me"
host       = "op.test"
upstream   = "{platform.url}"
credential = "shop"
tenant     = {{ header = "Countersign-Tenant" }}
""", secrets)
    folder = proxy.folder

    def connections(*words):
        done = bench.command("connections", *words, "--format", "json", cwd=folder)
        return done, json.loads(done.stdout) if done.stdout.startswith(("{", "[")) else {}

    def me(tenant):
        return lib.ask(("127.0.0.1", proxy.port), "/me", headers={"Host": "op.test", "Countersign-Tenant": tenant})

    status, headers, _ = me("m1")
    report.equal("before an approval a request is told so", (status, headers.get("countersign-error")), (403, "reauthorize"))

    process, url = connecting(bench, folder, "--tenant", "m1")
    (status, place, page), pages = Browser().approve(url, "merchant-one")
    out, err = process.communicate(timeout=30)
    report.check("the browser went through login and consent", len(pages) >= 3, pages)
    report.check("the provider named itself in the answer (RFC 9207)", "iss=" in place, place)
    report.check("the browser comes back to a page that says so", status == 200 and "connected for m1" in page, (status, page))
    report.check("connect stores and prints the connection", process.returncode == 0 and json.loads(out)["state"] == "active", err)
    first = json.loads(out)
    report.check("no token is printed", len(first["access_token"]) == 8 and len(first["refresh_token"]) == 8, out)

    status, _, body = me("m1")
    report.equal("a request has the merchant's token", (status, json.loads(body).get("sub")), (200, "merchant-one"))

    process, url = connecting(bench, folder, "--tenant", "m2")
    Browser().approve(url, "merchant-two")
    process.communicate(timeout=30)
    status, _, body = me("m2")
    report.equal("another tenant has its own", (status, json.loads(body).get("sub")), (200, "merchant-two"))

    process, url = connecting(bench, folder, "--tenant", "m3")
    status, place, page = Browser().abort(url)
    _, err = process.communicate(timeout=30)
    report.check("who does not sign in ends connect with 3", process.returncode == 3 and "access_denied" in err, (process.returncode, err, page))

    prints = {first["access_token"]}
    for turn in range(3):
        done, now = connections("refresh", "shop", "--tenant", "m1")
        report.check(f"refresh {turn + 1} brings a new pair", done.returncode == 0 and now["access_token"] not in prints, done.stderr)
        prints.add(now.get("access_token"))
    status, _, body = me("m1")
    report.equal("the refreshed token works", (status, json.loads(body).get("sub")), (200, "merchant-one"))

    lines = bench.command("connections", "export", "shop", "--tenant", "m1", "--yes-print-tokens", cwd=folder).stdout
    token = json.loads(lines)["refresh_token"]
    done, said = connections("revoke", "shop", "--tenant", "m1")
    report.equal("revoke tells the platform and the routes", (said.get("state"), said.get("platform"), said.get("routes")), ("revoked", "revoked", ["me"]))
    status, said = asked(platform, "/token", {"grant_type": "refresh_token", "refresh_token": token})
    report.equal("the platform takes its refresh token no more", (status, said.get("error")), (400, "invalid_grant"))
    lib.wait_for("the running proxy to stop using it", lambda: me("m1")[0] == 403, seconds=10, step=0.2)
    report.check("the running proxy stops within 10 s", True)
    status, _, body = me("m2")
    report.equal("the other tenant goes on", (status, json.loads(body).get("sub")), (200, "merchant-two"))

    # A refresh token that somebody else used: the family ends at the platform, and a person must approve again.
    lines = bench.command("connections", "export", "shop", "--tenant", "m2", "--yes-print-tokens", cwd=folder).stdout
    asked(platform, "/token", {"grant_type": "refresh_token", "refresh_token": json.loads(lines)["refresh_token"]})
    done, _ = connections("refresh", "shop", "--tenant", "m2")
    report.check("a refresh token that was used elsewhere is said", done.returncode == 3 and "invalid_grant" in done.stderr, done.stderr)

    # The product's own page: the admin listener begins, the browser comes back to /callback of the product, its back end finishes.
    def post(path, body):
        status, _, text = lib.ask(("127.0.0.1", proxy.admin), path, "POST", {"Authorization": "Bearer the-admin"}, json.dumps(body))
        return status, json.loads(text)

    product = bench.serve(lib.Recorder())
    status, begun = post("/api/connect", {"credential": "shop", "tenant": "m2", "redirect_url": f"http://127.0.0.1:{product.port}/callback"})
    report.equal("an approval begins at the admin listener", status, 200)
    Browser().approve(begun["approval_url"], "merchant-two")
    query = product.take()[-1].target.partition("?")[2]
    status, said = post("/api/connect/finish", {"query": query})
    report.equal("and is finished with what the browser brought", (status, said.get("state"), said.get("reason")), (200, "active", None))
    report.equal("once", post("/api/connect/finish", {"query": query})[0], 409)
    status, _, body = me("m2")
    report.equal("the merchant is connected again", (status, json.loads(body).get("sub")), (200, "merchant-two"))
