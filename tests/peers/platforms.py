"""Tables of docs/TEMPLATES.md before marketplaces' own SDKs, and before Azurite.

What arrives upstream is signed once more by the SDK's own function (pyshopee, lazop-sdk, mws, krakenex, edgegrid-python) or, where a
vendor has none, by its rule; the two signatures must be equal, and must differ with another secret. Azurite checks SharedKey itself.
"""

import base64
import hashlib
import hmac
import json
import os
import pathlib
import re
import subprocess
import sys
import time
import types
import urllib.parse

import lib

GUIDE = (pathlib.Path(__file__).resolve().parents[2] / "docs/TEMPLATES.md").read_text()
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
JSON = {"Content-Type": "application/json"}


def sdks(home):
    """The SDKs; lazop-sdk writes a log folder into $HOME when it is imported, pyshopee wants selenium and never uses it here."""
    # Other topics start programs that look into the real one.
    before = os.environ.get("HOME")
    os.environ["HOME"] = str(home)
    try:
        return imported()
    finally:
        if before is None:
            del os.environ["HOME"]
        else:
            os.environ["HOME"] = before


def imported():
    """The same, with $HOME as it is."""
    selenium = types.ModuleType("selenium")
    selenium.webdriver = types.ModuleType("selenium.webdriver")
    sys.modules.setdefault("selenium", selenium)
    import krakenex
    import lazop_sdk.base
    import mws
    import pyshopee2.client
    from akamai.edgegrid import EdgeGridAuth
    return types.SimpleNamespace(krakenex=krakenex, lazop=lazop_sdk.base, mws=mws, shopee=pyshopee2.client, edgegrid=EdgeGridAuth)


def block(name):
    """The guide's table of a platform."""
    blocks = re.findall(r"```toml\n(.*?)\n```", GUIDE, re.S)
    return next(b for b in blocks if f"[credential.{name}.hmac]" in b)


def query(request):
    return dict(urllib.parse.parse_qsl(request.target.partition("?")[2], keep_blank_values=True))


def path(request):
    return request.target.partition("?")[0]


def mac(key, text, algorithm="sha256"):
    return hmac.new(key, text.encode(), algorithm).digest()


def form(request):
    return dict(urllib.parse.parse_qsl(request.body.decode(), keep_blank_values=True))


# Each judge gets the SDKs, the secret of the platform and what arrived: (what the platform makes of it, what was sent).

def shopee(sdk, secret, r):
    q = query(r)
    client = sdk.shopee.Client(1001, 2000, secret, "", access_token="sp-at")
    if "/auth/" in path(r):
        return client._api_short_sign(path(r), q["timestamp"]), q["sign"]
    return (client._api_sign(path(r), q["timestamp"]), "sp-at", "1001"), (q["sign"], q["access_token"], q["shop_id"])


def lazada(sdk, secret, r, api=True):
    parameters = query(r) | (form(r) if r.one("content-type") == FORM["Content-Type"] else {})
    sign = parameters.pop("sign")
    return sdk.lazop.sign(secret, path(r)[len("/rest"):] if api else "", parameters), sign


def tiktok(_, secret, r):
    q = query(r)
    sign = q.pop("sign")
    body = "" if "multipart" in r.one("content-type") else r.body.decode()
    text = secret + path(r) + "".join(k + q[k] for k in sorted(q)) + body + secret
    return mac(secret.encode(), text).hex(), sign


def amazon(sdk, secret, r):
    parameters = query(r)
    sign = parameters.pop("Signature")
    orders = sdk.mws.Orders("AKMWS0", secret, "SELLER", region="US")
    orders.domain, orders.uri = "https://" + r.one("host"), path(r)
    canonical = sdk.mws.mws.calc_request_description(sdk.mws.mws.clean_params_dict(parameters))
    return orders.calc_signature(r.method, canonical).decode(), sign


def kraken(sdk, secret, r):
    return sdk.krakenex.API(key="kk", secret=secret)._sign(form(r), path(r)), r.one("api-sign")


def coinbase(_, secret, r):
    text = r.one("cb-access-timestamp") + r.method + r.target + r.body.decode()
    return base64.b64encode(mac(base64.b64decode(secret), text)).decode(), r.one("cb-access-sign")


def edgegrid(sdk, secret, r):
    import requests
    sent = r.one("authorization")
    fields = dict(field.split("=", 1) for field in sent.split(" ", 1)[1].rstrip(";").split(";"))
    signer = sdk.edgegrid("ct", secret, "at", headers_to_sign=["x-a", "x-b"]).ah
    headers = {name: r.one(name) for name in ("x-a", "x-b") if r.one(name)}
    prepared = requests.Request(r.method, f"https://{r.one('host')}{r.target}", headers=headers, data=r.body or None).prepare()
    return signer.make_auth_header(prepared, fields["timestamp"], fields["nonce"]), sent


def meta(_, secret, r):
    return mac(secret.encode(), r.one("authorization").removeprefix("Bearer ")).hex(), query(r)["appsecret_proof"]


def encoded(secret):
    return base64.b64encode(secret.encode()).decode()


# table, host, judge, its secret, another one, other secrets, requests (method, target, headers, body)
PLATFORMS = [
    ("shopee", "partner.shopeemobile.com", shopee, "shopee/partner-key", "shpk_1", "shpk_2",
     {"shopee/m1/access-token": "sp-at", "shopee/m1/shop-id": "1001"},
     [("GET", "/api/v2/order/get_order_list?page_size=20&sign=forged&timestamp=1", {}, None),
      ("POST", "/api/v2/product/update_item?access_token=worker", JSON, b'{"item_id":1}')]),
    ("shopee-public", "openplatform.shopeemobile.com", shopee, "shopee/partner-key", "shpk_1", "shpk_2", {},
     [("POST", "/api/v2/auth/token/get", JSON, b"{}")]),
    ("lazada", "api.lazada.sg", lazada, "lazada/app-secret", "lz-1", "lz-2", {"lazada/m1/access-token": "lz-at"},
     [("GET", "/rest/order/get?order_id=1&name=a%20b%2Bc&sign=forged", {}, None),
      ("POST", "/rest/product/update?x=%C3%A9", FORM, b"payload=%3Cxml%3E+%26&Z=&a=1")]),
    ("aliexpress", "api-sg.aliexpress.com", lambda s, k, r: lazada(s, k, r, False), "aliexpress/app-secret", "ae-1", "ae-2",
     {"aliexpress/m1/session": "ae-session"}, [("POST", "/sync?method=aliexpress.ds.order.get&b=2&a=1", {}, None)]),
    ("tiktok", "open-api.tiktokglobalshop.com", tiktok, "tiktok/app-secret", "tt-1", "tt-2", {"tiktok/m1/access-token": "tt-at"},
     [("POST", "/order/202309/orders/search?shop_cipher=GCP_x&page_size=10", JSON, b'{"order_status":"UNPAID"}'),
      ("POST", "/product/202309/images/upload?b=1&a=2", {"Content-Type": "multipart/form-data; boundary=b"}, b"--b--\r\n")]),
    ("mws", "mws.amazonservices.com", amazon, "mws/secret-key", "mws/secret+1", "mws/secret+2", {},
     [("GET", "/Orders/2013-09-01?Action=ListOrders&Version=2013-09-01&SellerId=S&MarketplaceId.Id.1=A&Name=a%20b*~", {}, None)]),
    ("kraken", "api.kraken.com", kraken, "kraken/private-key", encoded("kraken-1"), encoded("kraken-2"), {"kraken/api-key": "kk"},
     [("POST", "/0/private/AddOrder", FORM, b"nonce=1790000000000&pair=XBTUSD")]),
    ("coinbase", "api.exchange.coinbase.com", coinbase, "coinbase/secret", encoded("cb-1"), encoded("cb-2"),
     {"coinbase/key": "cb", "coinbase/passphrase": "pp"},
     [("GET", "/accounts?limit=1", {}, None), ("POST", "/orders", JSON, b'{"size":"0.01"}')]),
    ("edgegrid", "akab-h1.luna.akamaiapis.net", edgegrid, "akamai/client-secret", "cs1=", "cs2=",
     {"akamai/client-token": "ct", "akamai/access-token": "at"},
     [("GET", "/papi/v1/groups?a=1&b=%20", {"X-A": "  one   two "}, None), ("POST", "/papi/v1/x", JSON, b"x" * 140_000),
      ("PUT", "/papi/v1/x", JSON, b"{}"), ("POST", "/papi/v1/empty", {"X-B": "b", "X-A": "a"}, b"")]),
    ("meta", "graph.facebook.com", meta, "meta/app-secret", "ms-1", "ms-2", {"meta/m1/access-token": "EAAG"},
     [("GET", "/v19.0/me/accounts?appsecret_proof=forged", {}, None)]),
]


def marketplaces(bench, sdk):
    authority, folder = lib.Authority(), bench.subfolder("pki")
    hosts = [platform[1] for platform in PLATFORMS]
    upstream = bench.serve(lib.Recorder(lib.server_context(folder, authority, hosts)))
    blocks = dict.fromkeys(block(platform[0]) for platform in PLATFORMS)
    routes = "".join(
        f'[[route]]\nname = "{name}"\nhost = "{host}"\nupstream = "https://127.0.0.1:{upstream.port}"\ncredential = "{name}"\n'
        f'tls = {{ ca = "ca.crt" }}\ntenant = {{ header = "Countersign-Tenant" }}\n\n' for name, host, *_ in PLATFORMS)
    for other in (False, True):
        secrets = bench.subfolder(f"secrets-{other}")
        (secrets / "ca.crt").write_bytes(authority.pem)
        for _, _, _, name, good, bad, more, _ in PLATFORMS:
            for file, text in {name: bad if other else good, **more}.items():
                (secrets / file).parent.mkdir(parents=True, exist_ok=True)
                (secrets / file).write_text(text)
        proxy = bench.proxy(f"proxy-{other}", "\n".join(blocks) + "\n" + routes, secrets)
        for table, host, judge, _, good, _, _, asked in PLATFORMS:
            for method, target, headers, body in asked:
                headers = {"Host": host, "Countersign-Tenant": "m1", "Authorization": "worker", **headers}
                status, _, answer = lib.ask(("127.0.0.1", proxy.port), target, method, headers, body)
                seen = upstream.take()
                what = f"{table} {method} {target.partition('?')[0]}"
                if status != 200 or len(seen) != 1:
                    bench.report.check(f"{what} arrives", False, f"status {status}, {answer!r}, {len(seen)} requests")
                    continue
                wanted, found = judge(sdk, good, seen[0])
                if other:
                    bench.report.check(f"{what} with another secret is refused", wanted != found, repr(found))
                else:
                    bench.report.equal(f"{what} has the SDK's signature", found, wanted)


ACCOUNT, KEY = "acct1", base64.b64encode(b"azure-account-key-0123456789abcdef").decode()
NAMES = ["plain.txt", "a b+c%&=;,!'()*~.txt", "ü/é/日本.txt", "dir//odd%2Fname", "x" * 200]


def azurite(bench):
    port, place = lib.free_port(), bench.subfolder("azurite")
    main = bench.node / "node_modules/azurite/dist/src/blob/main.js"
    bench.program("node", main, "--silent", "--disableTelemetry", "--skipApiVersionCheck", "--blobHost", "127.0.0.1", "--blobPort", port,
                  "--location", place, log="azurite.log", env=os.environ | {"AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}"})
    lib.wait_for("azurite", lambda: lib.listening(port), seconds=60)
    secrets = bench.subfolder("azure-secrets")
    (secrets / "azure").mkdir()
    (secrets / "azure/account-key").write_text(KEY)
    (secrets / "azure/other-key").write_text(encoded("another key"))
    host = f"{ACCOUNT}.blob.localhost.test"
    table = block("azure")
    other = table.replace("[credential.azure.", "[credential.other.").replace("azure/account-key", "azure/other-key")
    routes = "".join(f'[[route]]\nname = "{name}"\nhost = "{host}"\npath = "{path}"\nupstream = "http://127.0.0.1:{port}"\ncredential = "{name}"\n\n'
                     for name, path in (("azure", "/con1"), ("other", "/con2")))
    proxy = bench.proxy("azure", f"{table}\n{other}\n{routes}", secrets)

    def ask(method, target, body=None, **headers):
        headers = {"Host": host, "x-ms-version": "2024-11-04", **{k.replace("_", "-"): v for k, v in headers.items()}}
        return lib.ask(("127.0.0.1", proxy.port), target, method, headers, body, timeout=30)

    status, _, answer = ask("PUT", "/con1?restype=container", b"")
    bench.report.equal("azurite makes a container", (status, answer), (201, b""))
    for name in NAMES:
        target = "/con1/" + urllib.parse.quote(name)
        content = f"content of {name}".encode()
        status, _, answer = ask("PUT", target, content, x_ms_blob_type="BlockBlob", Content_Type="text/plain; charset=utf-8",
                                x_ms_meta_b="  two   words ", x_ms_meta_a="1")
        bench.report.equal(f"azurite takes {name[:24]!r}", (status, answer), (201, b""))
        status, _, answer = ask("GET", target, Range="bytes=0-6")
        bench.report.equal(f"azurite gives {name[:24]!r}", (status, answer), (206, content[:7]))
    prefix = urllib.parse.quote(NAMES[1][:5])
    status, _, answer = ask("GET", f"/con1?restype=container&comp=list&prefix={prefix}&include=metadata%2Ccopy&Timeout=30")
    bench.report.check("azurite lists, with a parameter in capitals", status == 200 and b"<Name>a b+c" in answer, (status, answer[:300]))
    status, _, _ = ask("PUT", "/con2?restype=container", b"")
    bench.report.equal("azurite refuses another key", status, 403)
    replayed(bench, proxy, host, port)


def replayed(bench, proxy, host, port):
    """What `explain` prints, sent by curl straight to Azurite; its text, signed by OpenSSL, has the signature that it prints."""
    target = "/con1?restype=container&comp=list&prefix=a%20b"
    done = bench.command("explain", "GET", f"http://{host}{target}", "-H", "x-ms-version: 2024-11-04", "--format", "json",
                         "-c", proxy.folder / "proxy.toml")
    if not bench.report.check("explain shows an Azure request", done.returncode == 0, done.stdout + done.stderr):
        return
    shown = json.loads(done.stdout)
    headers = [part for name, value in shown["headers"] for part in ("-H", f"{name}: {value}")]
    sent = subprocess.run(["curl", "-s", "-o", bench.folder / "listed", "-w", "%{http_code}", "-X", shown["method"], *headers,
                           f"http://127.0.0.1:{port}{shown['target']}"], capture_output=True, text=True, timeout=30)
    bench.report.equal("curl with explain's headers is accepted by azurite", sent.stdout, "200")
    tag = subprocess.run(["openssl", "dgst", "-sha256", "-mac", "HMAC", "-macopt", f"hexkey:{base64.b64decode(KEY).hex()}", "-binary"],
                         input=shown["canonical"][0]["text"].encode(), capture_output=True, check=True).stdout
    printed = dict(shown["headers"])["authorization"]
    bench.report.equal("explain's text has explain's signature by OpenSSL", printed, f"SharedKey {ACCOUNT}:{base64.b64encode(tag).decode()}")


def checks(bench):
    marketplaces(bench, sdks(bench.subfolder("home")))
    azurite(bench)
