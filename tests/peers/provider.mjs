// npm's oidc-provider (certified by the OpenID Foundation) as the platform of `refresh` and `oidc`: every use of a refresh
// token replaces it, and using one twice ends its whole family. Its approval pages are its own.
//
//   LIFE      seconds that an access token lives (default 2)
//   REDIRECT  a redirect URL of the client (default http://127.0.0.1/callback, with any port)
//
// Prints {"port": N}, then one line for each token call and each family that was ended. Beside the provider's paths, for
// the checks: GET /control/seed/NAME makes a grant of account NAME and answers its first refresh token, as an approval
// would have; /control/pause?before=MS&after=MS delays token calls before they do anything and after they did everything.
import { Provider } from "oidc-provider";

const life = Number(process.env.LIFE ?? 2);
const scope = "offline_access"; // without openid: no ID token to sign at each refresh
const client = {
  client_id: "countersign/test",
  client_secret: "s3cret/with+odd&signs=:% and more of them",
  token_endpoint_auth_method: "client_secret_basic",
  application_type: "native",
  redirect_uris: [process.env.REDIRECT ?? "http://127.0.0.1/callback"],
  response_types: ["code"],
  grant_types: ["authorization_code", "refresh_token"],
};

// The provider's own memory adapter keeps a thousand entries; the checks need them all.
class Memory {
  static entries = new Map();
  static members = new Map();

  constructor(model) {
    this.model = model;
  }
  name(id) {
    return `${this.model}:${id}`;
  }
  async upsert(id, payload) {
    Memory.entries.set(this.name(id), payload);
    if (payload.uid) Memory.entries.set(`uid:${payload.uid}`, payload);
    if (payload.grantId) {
      const of = Memory.members.get(payload.grantId) ?? new Set();
      Memory.members.set(payload.grantId, of.add(this.name(id)));
    }
  }
  async find(id) {
    return Memory.entries.get(this.name(id));
  }
  async findByUid(uid) {
    return Memory.entries.get(`uid:${uid}`);
  }
  async consume(id) {
    Memory.entries.get(this.name(id)).consumed = Math.floor(Date.now() / 1000);
  }
  async destroy(id) {
    Memory.entries.delete(this.name(id));
  }
  async revokeByGrantId(id) {
    for (const member of Memory.members.get(id) ?? []) Memory.entries.delete(member);
    Memory.members.delete(id);
  }
}

const say = (what) => process.stdout.write(JSON.stringify({ at: Date.now(), ...what }) + "\n");
const provider = new Provider("http://127.0.0.1", {
  clients: [client],
  adapter: Memory,
  scopes: ["openid", "offline_access"],
  cookies: { keys: ["of the checks alone"] },
  features: { introspection: { enabled: true, allowedPolicy: () => true }, revocation: { enabled: true, allowedPolicy: () => true } },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  issueRefreshToken: () => true,
  rotateRefreshToken: () => true,
  ttl: { AccessToken: life, AuthorizationCode: 60, Grant: 86400, IdToken: 600, Interaction: 600, RefreshToken: 86400, Session: 86400 },
});
provider.proxy = true;

let pause = { before: 0, after: 0 };
const wait = (ms) => (ms ? new Promise((done) => setTimeout(done, ms)) : undefined);

async function seed(account) {
  const grant = new provider.Grant({ accountId: account, clientId: client.client_id });
  grant.addOIDCScope(scope);
  const grantId = await grant.save();
  const token = new provider.RefreshToken({
    accountId: account, client: await provider.Client.find(client.client_id), grantId, gty: "authorization_code", scope,
  });
  return token.save();
}

provider.use(async (context, next) => {
  const [, control, action, name] = context.path.split("/");
  if (control === "control" && action === "seed") {
    context.body = await seed(decodeURIComponent(name));
  } else if (control === "control" && action === "pause") {
    pause = { before: Number(context.query.before), after: Number(context.query.after) };
    context.body = "";
  } else if (context.path === "/token") {
    say({ event: "call" });
    await wait(pause.before);
    await next();
    await wait(pause.after);
  } else {
    await next();
  }
});

const whose = (context) => context.oidc.entities.RefreshToken?.accountId ?? context.oidc.account?.accountId;
provider.on("grant.success", (context) => say({ event: "grant", account: whose(context), grant: context.oidc.params.grant_type }));
provider.on("grant.error", (context, error) => say({ event: "refused", account: whose(context), error: error.error, why: error.error_detail ?? error.error_description }));
provider.on("grant.revoked", (context, id) => say({ event: "family ended", account: whose(context), id }));
provider.on("server_error", (_, error) => say({ event: "broken", why: String(error?.stack ?? error) }));

const server = provider.listen(0, "127.0.0.1", () => say({ port: server.address().port }));
server.keepAliveTimeout = 60_000;
