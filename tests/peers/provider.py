"""Starts oidc-provider (`provider.mjs`) for a topic, and asks it things. No check lives here; `refresh` and `oidc` use it."""

import base64
import json
import os
import shutil
import urllib.parse

import lib

CLIENT_ID = "countersign/test"
CLIENT_SECRET = "s3cret/with+odd&signs=:% and more of them"  # as in provider.mjs; form-encoded within Basic (RFC 6749 2.3.1)
BASIC = "Basic " + base64.b64encode(f"{urllib.parse.quote_plus(CLIENT_ID)}:{urllib.parse.quote_plus(CLIENT_SECRET)}".encode()).decode()


class Provider:
    """One running oidc-provider."""

    def __init__(self, bench, name="provider", **environment):
        self.log = bench.folder / f"{name}.log"
        shutil.copy(lib.pathlib.Path(__file__).parent / "provider.mjs", bench.node)  # Node looks for packages beside the file
        bench.program("node", bench.node / "provider.mjs", log=self.log.name, env={**os.environ, **environment})
        self.port = lib.wait_for("oidc-provider", lambda: next((e["port"] for e in self.events() if "port" in e), None), 30)
        self.address = ("127.0.0.1", self.port)
        self.url = f"http://127.0.0.1:{self.port}"

    def events(self):
        """What it printed so far: one dict a line."""
        whole = self.log.read_text().rpartition("\n")[0] if self.log.exists() else ""
        return [json.loads(line) for line in whole.splitlines() if line.startswith("{")]

    def grants(self, account=None):
        """Token calls that it granted."""
        return [e for e in self.events() if e.get("event") == "grant" and account in (None, e["account"])]

    def troubles(self):
        """Token calls that it refused, families that it ended, and its own failures."""
        return [e for e in self.events() if e.get("event") in ("refused", "family ended", "broken")]

    def control(self, path):
        status, _, body = lib.ask(self.address, f"/control/{path}")
        assert status == 200, (path, status, body)
        return body.decode()

    def seed(self, account):
        """The first refresh token of a new grant of that account."""
        return self.control(f"seed/{account}")

    def pause(self, before=0, after=0):
        """Delays token calls from now on: so many ms before it does anything, and after it has done everything."""
        self.control(f"pause?before={before}&after={after}")

    def introspect(self, token):
        """RFC 7662: what the provider says about a token."""
        _, _, body = lib.ask(self.address, "/token/introspection", "POST", body=urllib.parse.urlencode({"token": token}),
                             headers={"Authorization": BASIC, "Content-Type": "application/x-www-form-urlencoded"})
        return json.loads(body)
