// An upstream that verifies HTTP Message Signatures with npm http-message-signatures, and the body's digest with Node itself.
//   KEYS={"KEYID":{"alg":"..","pem":".."}|{"alg":"hmac-sha256","secret":".."}} node signatures.mjs PORT
import http from "node:http";
import crypto from "node:crypto";
import { httpbis, createVerifier } from "http-message-signatures";

const keys = JSON.parse(process.env.KEYS);

async function lookUp({ keyid }) {
  const known = keys[keyid];
  if (!known) return null;
  const key = known.pem ? crypto.createPublicKey(known.pem) : Buffer.from(known.secret);
  return { id: keyid, algs: [known.alg], verify: createVerifier(key, known.alg) };
}

async function judge(request, body) {
  const message = { method: request.method, url: `http://${request.headers.host}${request.url}`, headers: request.headersDistinct };
  const verdict = await httpbis.verifyMessage({ keyLookup: lookUp, maxAge: 300, requiredFields: ["content-digest"] }, message);
  if (verdict !== true) throw new Error(`verdict ${verdict}`);
  const [, hash, digest] = /^sha-(256|512)=:([^:]+):$/.exec(request.headers["content-digest"]) ?? [];
  if (!hash || crypto.createHash(`sha${hash}`).update(body).digest("base64") !== digest) throw new Error("digest");
}

http
  .createServer((request, response) => {
    const parts = [];
    request.on("data", (part) => parts.push(part));
    request.on("end", async () => {
      const said = await judge(request, Buffer.concat(parts)).then(() => "ok", (error) => `${error.name}: ${error.message}`);
      response.writeHead(said === "ok" ? 200 : 401, { "content-type": "text/plain" });
      response.end(said);
    });
  })
  .listen(Number(process.argv[2]), "127.0.0.1");
