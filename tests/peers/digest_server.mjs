// npm http-auth: /md5/ /sess/ (MD5-sess) /old/ (no qop). POST /forget ends every nonce; GET /count says how many requests came, by kind.
import http from 'node:http'
import crypto from 'node:crypto'
import { createRequire } from 'node:module'

const auth = createRequire(process.cwd() + '/')('http-auth')
const md5 = (text) => crypto.createHash('md5').update(text).digest('hex')
const digest = (options) =>
  auth.digest({ realm: 'verify', ...options }, (user, done) => (user === 'Mufasa' ? done(md5('Mufasa:verify:Circle of Life')) : done()))
const judges = { md5: digest({}), sess: digest({ algorithm: 'MD5-sess' }), old: digest({ qop: 'none' }) }
const count = {}

http
  .createServer((request, response) => {
    const kind = request.url.split('/')[1]
    if (kind === 'forget') {
      for (const judge of Object.values(judges)) judge.nonces = []
      return response.end('forgotten')
    }
    if (kind === 'count') return response.end(JSON.stringify(count))
    count[kind] = (count[kind] ?? 0) + 1
    const check = judges[kind].check((asked, answer) => {
      let length = 0
      asked.on('data', (part) => (length += part.length))
      asked.on('end', () => answer.end(JSON.stringify({ user: asked.user, method: asked.method, length })))
    })
    return check(request, response)
  })
  .listen(Number(process.env.PORT), '127.0.0.1')
