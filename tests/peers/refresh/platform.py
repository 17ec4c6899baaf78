"""A platform of our own with grace: a token endpoint that takes the previous refresh token until the new one was used, as
Shopify's does, or refuses it; tokens that say whose they are. No check lives here.
"""

import asyncio
import collections
import secrets
import time
import urllib.parse

from . import stage


class Account:
    def __init__(self, refresh):
        self.current, self.previous, self.revoked = refresh, None, False


class Gated:
    """A platform whose calls stop at gates, before they take effect and after, until those are opened or the calls dropped."""

    def __init__(self, *arguments, **options):
        self.shut, self.reached, self.dropped = set(), collections.Counter(), False
        super().__init__(*arguments, **options)

    async def moment(self, which):
        self.reached[which] += 1
        while which in self.shut:
            if self.dropped:
                raise ConnectionError("dropped")
            await asyncio.sleep(0.005)


class Platform:
    """Access tokens live `life` seconds; a call takes effect after `before` seconds and is answered `after` seconds later."""

    def __init__(self, loop, life, grace=True, context=None):
        self.life, self.grace, self.before, self.after = life, grace, 0, 0
        self.accounts, self.owner, self.access = {}, {}, {}
        self.granted, self.refused, self.revocations = collections.Counter(), [], collections.Counter()
        self.loop = loop

        async def start():
            return await asyncio.start_server(self.accept, "127.0.0.1", 0, ssl=context, backlog=2048)
        self.server = loop.run(start())
        self.port = self.server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/token"

    def seed(self, tenant):
        """The first refresh token of a new grant."""
        refresh = self.fresh(tenant, "refresh")
        self.accounts[tenant], self.owner[refresh] = Account(refresh), tenant
        return refresh

    @staticmethod
    def fresh(tenant, kind):
        return f"CANARY-{tenant}-{kind}-{secrets.token_urlsafe(24)}"

    async def account_of(self, token):
        """For the upstream: whose a living access token is."""
        tenant, end = self.access.get(token, (None, 0))
        return tenant if end > time.monotonic() and not self.accounts[tenant].revoked else None

    def is_current(self, tenant, refresh):
        """Whether the platform would take this refresh token now."""
        account = self.accounts[tenant]
        return not account.revoked and refresh in ({account.current, account.previous} if self.grace else {account.current})

    async def accept(self, reader, writer):
        try:
            while True:
                line, _, body = await stage.read_message(reader)
                form = dict(urllib.parse.parse_qsl(body.decode()))
                if line.split()[1].endswith("/revocation"):
                    writer.write(self.revoke(form))
                else:
                    await self.moment("before")
                    answer = self.token(form)
                    await self.moment("after")
                    writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def moment(self, which):
        """What a call takes before and after it takes effect."""
        await asyncio.sleep(self.before if which == "before" else self.after)

    def revoke(self, form):
        tenant = self.owner.get(form.get("token"))
        if tenant:
            self.accounts[tenant].revoked = True
            self.revocations[tenant] += 1
        return stage.message(200, b"")

    def token(self, form):
        refresh = form.get("refresh_token")
        tenant = self.owner.get(refresh)
        if form.get("grant_type") != "refresh_token" or tenant is None or not self.is_current(tenant, refresh):
            self.refused.append((time.monotonic(), tenant))
            return stage.message(400, {"error": "invalid_grant", "error_description": "no such refresh token"})
        account = self.accounts[tenant]
        # The previous one stays good until this answer's was used.
        account.previous, account.current = refresh, self.fresh(tenant, "refresh")
        self.owner[account.current] = tenant
        access = self.fresh(tenant, "access")
        self.access[access] = tenant, time.monotonic() + self.life
        self.granted[tenant] += 1
        return stage.message(200, {"access_token": access, "token_type": "Bearer", "expires_in": self.life,
                                   "refresh_token": account.current}, Cache_Control="no-store")


class GatedPlatform(Gated, Platform):
    """Both."""
