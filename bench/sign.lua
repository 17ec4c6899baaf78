-- SHA-256 and HMAC-SHA256 through OpenSSL, for nginx as a peer and for the origin, which verifies.
-- One call of the library each, buffers reused: what somebody who cares about speed would write.
local ffi = require "ffi"
ffi.cdef [[
typedef struct evp_md_st EVP_MD;
const EVP_MD *EVP_sha256(void);
unsigned char *HMAC(const EVP_MD *, const void *, int, const unsigned char *, size_t, unsigned char *, unsigned int *);
unsigned char *SHA256(const unsigned char *, size_t, unsigned char *);
]]
local crypto = ffi.load("libcrypto.so.3")
local sha256, out, text = crypto.EVP_sha256(), ffi.new("unsigned char[32]"), ffi.new("unsigned char[64]")
local digits = "0123456789abcdef"

local function hex()
  for i = 0, 31 do
    local byte = out[i]
    text[2 * i] = digits:byte(bit.rshift(byte, 4) + 1)
    text[2 * i + 1] = digits:byte(bit.band(byte, 15) + 1)
  end
  return ffi.string(text, 64)
end

local M = {}

-- What is signed: time, method, target and the body's digest, a line each.
function M.signature(key, time, method, target, body)
  crypto.SHA256(body, #body, out)
  local message = time .. "\n" .. method .. "\n" .. target .. "\n" .. hex()
  crypto.HMAC(sha256, key, #key, message, #message, out, nil)
  return hex()
end

return M
