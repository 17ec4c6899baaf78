"""What the checks of `refresh` share: an event loop in a thread, the TLS upstream that believes no token by itself, workers,
and countersign with a credential that refreshes. No check lives here.
"""

import asyncio
import collections
import contextlib
import datetime
import json
import signal
import sqlite3
import subprocess
import threading
import time
import urllib.parse

import lib
import provider

KEY = "7c" * 32  # of the store, in hex
STATE = """
[state]
url = {state}
key = "state/key"

[limits]
in_flight = 4096
"""
CREDENTIAL = """
[credential.{name}.oauth2]
grant         = "refresh_token"
token_url     = "{token}"
revoke_url    = "{token}/revocation"
client_id     = "countersign/test"
client_secret = {{ secret = "{secret}" }}
refresh_token = {{ secret = "{name}/{{tenant}}/refresh-token" }}
refresh       = {{ timeout = "{timeout}", wait = "{wait}", parallel = 64, {refresh} }}
{more}
"""
ROUTE = """
[[route]]
name       = "{name}"
host       = "{{shop}}.{domain}"
upstream   = "https://127.0.0.1:{port}"
credential = "{name}"
tenant     = "{{shop}}"
tls        = {{ ca = "ca-crt" }}
limits     = {{ in_flight = 4096 }}
"""


class Loop:
    """An event loop in a thread of its own: servers and workers live there, checks in the main thread."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def begin(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def run(self, coroutine, seconds=120):
        return self.begin(coroutine).result(seconds)


async def read_message(reader):
    """(first line, headers in lower case, body) of a request or an answer with a Content-Length."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    return head[0], fields, await reader.readexactly(int(fields.get("content-length", 0)))


def message(status, body, content_type="application/json", **fields):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body


class Introspection:
    """Asks oidc-provider about each token (RFC 7662), over connections that it keeps. Nothing is remembered."""

    def __init__(self, port):
        self.port, self.idle = port, []

    async def __call__(self, token):
        """The account of a token that is active, else None."""
        reader, writer = self.idle.pop() if self.idle else await asyncio.open_connection("127.0.0.1", self.port)
        body = urllib.parse.urlencode({"token": token}).encode()
        writer.write(f"POST /token/introspection HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nAuthorization: {provider.BASIC}\r\n"
                     f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        _, _, answer = await read_message(reader)
        self.idle.append((reader, writer))
        found = json.loads(answer)
        return found["sub"] if found["active"] else None


class Upstream:
    """Serves a tenant, the first label of Host, to whoever has a token that `account_of` says is active and the tenant's."""

    def __init__(self, bench, loop, authority, account_of, domain="shops.example"):
        self.account_of, self.served, self.refused, self.crossed = account_of, collections.Counter(), [], []
        context = lib.server_context(bench.subfolder("pki"), authority, [f"*.{domain}"])

        async def start():
            return await asyncio.start_server(self.accept, "127.0.0.1", 0, ssl=context, backlog=2048)
        self.server = loop.run(start())
        self.port = self.server.sockets[0].getsockname()[1]

    async def accept(self, reader, writer):
        try:
            while True:
                _, fields, _ = await read_message(reader)
                tenant, token = fields["host"].split(".")[0], fields.get("authorization", "").removeprefix("Bearer ")
                account = await self.account_of(token)
                if account == tenant:
                    self.served[tenant] += 1
                    writer.write(message(200, tenant.encode(), "text/plain"))
                    continue
                (self.refused if account is None else self.crossed).append((time.monotonic(), tenant, account))
                writer.write(message(401, {"error": "invalid_token"}))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


class Answer:
    """What a worker got."""

    def __init__(self, status, fields, body, began, took):
        self.status, self.fields, self.body, self.began, self.took = status, fields, body, began, took

    def __repr__(self):
        return f"{self.status} {self.fields.get('countersign-error', '')} {self.body[:300]!r}"

    @property
    def problem(self):
        return json.loads(self.body) if self.fields.get("content-type") == "application/problem+json" else {}


async def ask(streams, host, target="/orders"):
    """One request over a worker's connection."""
    reader, writer = streams
    began = time.monotonic()
    writer.write(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    line, fields, body = await asyncio.wait_for(read_message(reader), 40)
    return Answer(int(line.split()[1]), fields, body, began, time.monotonic() - began)


async def burst(port, host, count, at=0.0):
    """`count` requests at one moment, by the time of day, each over a connection that is there already."""
    streams = [await asyncio.open_connection("127.0.0.1", port) for _ in range(count)]
    await asyncio.sleep(max(0.0, at - time.time()))
    answers = await asyncio.gather(*[ask(pair, host) for pair in streams])
    for _, writer in streams:
        writer.close()
    return answers


class Held:
    """Writes to a store wait as long as this is entered: somebody else has a transaction open. Reading goes on."""

    def __init__(self, store):
        self.store = store

    def __enter__(self):
        self.end = self.store.hold()
        return self

    def __exit__(self, *exc):
        self.end()


class File:
    """A SQLite file as another process sees it."""

    def __init__(self, url):
        self.state, self.path = url, url.removeprefix("sqlite:")

    def connect(self):
        return sqlite3.connect(self.path, isolation_level=None, timeout=10, check_same_thread=False)

    def hold(self):
        connection = self.connect()
        connection.execute("BEGIN IMMEDIATE")
        return connection.close

    def read(self, statement):
        with contextlib.closing(self.connect()) as connection:
            return connection.execute(statement).fetchone()[0]


class Server:
    """A PostgreSQL database as another session sees it."""

    def __init__(self, database, name, state):
        self.database, self.name, self.state = database, name, state

    def hold(self):
        session = self.database.session(self.name)
        session.stdin.write("BEGIN; LOCK TABLE countersign_connections IN EXCLUSIVE MODE;\n\\echo held\n")
        session.stdin.flush()
        while session.stdout.readline().strip() != "held":
            if session.poll() is not None:
                raise RuntimeError("psql ended")

        def end():
            session.communicate("ROLLBACK;\n")
        return end

    def read(self, statement):
        return int(self.database.psql(self.name, statement))


class Workers:
    """Requests for each tenant at a steady pace, until told to stop; a connection that breaks is a failure and made anew."""

    def __init__(self, loop, ports, hosts, pace):
        self.answers, self.broken, self.running = [], [], True
        self.tasks = [loop.begin(self.one(port, host, pace, number / max(1, len(hosts))))
                      for port in ports for number, host in enumerate(hosts)]

    async def one(self, port, host, pace, phase):
        streams, due = None, time.monotonic() + pace * phase
        while self.running:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            due = max(due + pace, time.monotonic())
            try:
                streams = streams or await asyncio.open_connection("127.0.0.1", port)
                self.answers.append((host, await ask(streams, host)))
            except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError) as error:
                self.broken.append((time.monotonic(), host, repr(error)))
                streams = None
        if streams:
            streams[1].close()

    def stop(self):
        self.running = False
        for task in self.tasks:
            task.result(60)

    @property
    def failed(self):
        return [(host, answer) for host, answer in self.answers if answer.status != 200] + self.broken


class Shop:
    """A credential `name` at a token endpoint, the route `{tenant}.<domain>` to an upstream, and the files of both."""

    def __init__(self, name, token, upstream, refresh="", domain="shops.example"):
        self.name, self.token, self.upstream, self.refresh, self.domain = name, token, upstream, refresh, domain
        # `more`: further keys of the credential.
        self.timeout, self.wait, self.secret, self.more = "5s", "15s", "shop/client-secret", ""

    async def ask(self, port, tenant):
        """One request for a tenant, over a connection of its own."""
        streams = await asyncio.open_connection("127.0.0.1", port)
        try:
            return await ask(streams, self.host(tenant))
        finally:
            streams[1].close()

    def text(self):
        return CREDENTIAL.format(name=self.name, token=self.token, refresh=self.refresh or 'first = "1s"', timeout=self.timeout, wait=self.wait,
                                 secret=self.secret, more=self.more) + ROUTE.format(name=self.name, domain=self.domain, port=self.upstream.port)

    def host(self, tenant):
        return f"{tenant}.{self.domain}"


class Stage:
    """Loop, CA and secrets of one topic, and the configuration of its shops."""

    def __init__(self, bench):
        self.bench, self.report, self.loop, self.authority = bench, bench.report, Loop(), lib.Authority()
        self.secrets = bench.subfolder("secrets")
        bench.secrets(self.secrets, ca_crt=self.authority.pem, state__key=KEY, shop__client_secret=provider.CLIENT_SECRET)

    def seed(self, shop, tenant, refresh_token):
        self.bench.secrets(self.secrets, **{f"{shop.name}__{tenant}__refresh_token": refresh_token})

    def proxy(self, name, state, shops, more="", **options):
        """Starts countersign; `state` is a URL, or {"secret": NAME} of a file with one."""
        url = json.dumps(state) if isinstance(state, str) else f'{{ secret = "{state["secret"]}" }}'
        return self.bench.proxy(name, STATE.format(state=url) + "".join(shop.text() for shop in shops) + more,
                                self.secrets, **options)

    def sqlite(self, name):
        return f"sqlite:{self.bench.folder / (name + '.state')}/state.db"


def show(bench, proxy, credential, tenant):
    """`countersign connections show`, as a dict."""
    done = bench.command("connections", "show", credential, "--tenant", tenant, "-c", proxy.folder / "proxy.toml", "--format", "json")
    if done.returncode:
        raise RuntimeError(f"connections show: {done.returncode} {done.stderr[-500:]}")
    return json.loads(done.stdout)


def exported(bench, proxy):
    """Every connection with its tokens as they are stored, by (credential, tenant); a proxy may be running or not."""
    done = bench.command("connections", "export", "--yes-print-tokens", "-c", proxy.folder / "proxy.toml")
    if done.returncode:
        raise RuntimeError(f"connections export: {done.returncode} {done.stderr[-500:]}")
    return {(row["credential"], row["tenant"]): row for row in map(json.loads, done.stdout.splitlines())}


def listed(proxy):
    """`GET /api/connections`, by (credential, tenant)."""
    rows, after = {}, ""
    while after is not None:
        page = json.loads(proxy.page(f"/api/connections?limit=1000{after and '&after=' + after}")[2])
        rows.update({(row["credential"], row["tenant"]): row for row in page["connections"]})
        after = page["next"]
    return rows


def at_rest(proxy, seconds=30):
    """The same, each as it is between two attempts: at the moment of asking a retry of its own may be under way, and then the
    state is `refreshing`. Rows that were never seen otherwise stay as they are."""
    rows, end = listed(proxy), time.monotonic() + seconds
    while any(row["state"] == "refreshing" for row in rows.values()) and time.monotonic() < end:
        time.sleep(0.05)
        rows.update({key: row for key, row in listed(proxy).items() if rows.get(key, row)["state"] == "refreshing"})
    return rows


def when(text):
    """A time of `connections` as seconds since 1970."""
    return datetime.datetime.fromisoformat(text).timestamp() if text else 0.0


def kill(proxy):
    proxy.process.send_signal(signal.SIGKILL)
    proxy.process.wait()


def again(bench, proxy):
    """Starts it again with the same configuration and ports."""
    with open(proxy.folder / "countersign.log", "ab") as out:
        proxy.process = subprocess.Popen([bench.binary, "run", "-c", proxy.folder / "proxy.toml"], stdout=out, stderr=out,
                                         stdin=subprocess.DEVNULL, cwd=proxy.folder)
    proxy.wait_ready(30)
