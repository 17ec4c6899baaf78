"""An OAuth 1.0a resource server: oauthlib's ResourceEndpoint judges what a Recorder receives. No check lives here."""

import json
import time

from oauthlib.oauth1 import RequestValidator, ResourceEndpoint
from oauthlib.oauth1.rfc5849 import errors

METHODS = ("HMAC-SHA1", "HMAC-SHA256", "HMAC-SHA512", "RSA-SHA256", "PLAINTEXT")


class Validator(RequestValidator):
    """Knows consumers and tokens by their secrets; takes a nonce once."""

    enforce_ssl = False  # the scheme is the launcher's to say
    timestamp_lifetime = 60
    dummy_client = dummy_access_token = "nobody"
    allowed_signature_methods = METHODS

    def __init__(self, consumers, tokens, rsa_public):
        super().__init__()
        self.consumers, self.tokens, self.rsa_public, self.nonces = consumers, tokens, rsa_public, set()

    def check_client_key(self, client_key):
        return bool(client_key)

    def check_access_token(self, request_token):
        return bool(request_token)

    def check_nonce(self, nonce):
        return 16 <= len(nonce) <= 64 and nonce.isalnum()

    def validate_client_key(self, client_key, request):
        return client_key in self.consumers

    def validate_access_token(self, client_key, token, request):
        return token in self.tokens

    def validate_realms(self, client_key, token, request, uri=None, realms=None):
        return True

    def validate_timestamp_and_nonce(self, client_key, timestamp, nonce, request, request_token=None, access_token=None):
        fresh = (client_key, nonce) not in self.nonces and abs(time.time() - int(timestamp)) < self.timestamp_lifetime
        self.nonces.add((client_key, nonce))
        return fresh

    def get_client_secret(self, client_key, request):
        return self.consumers.get(client_key, "nobody's")

    def get_access_token_secret(self, client_key, token, request):
        return self.tokens.get(token, "")

    def get_rsa_key(self, client_key, request):
        return self.rsa_public


class ConsumerAlone(ResourceEndpoint):
    """Requests without a token, which WooCommerce has: oauthlib's endpoint wants one, its checks do not."""

    def judge(self, uri, method, body, headers):
        try:
            request = self._create_request(uri, method, body, headers)
            self._check_transport_security(request)
            request.resource_owner_key = request.resource_owner_key or ""
            self._check_mandatory_parameters(request)
        except errors.OAuth1Error as error:
            return error.description
        validator = self.request_validator
        known = validator.validate_client_key(request.client_key, request)
        fresh = validator.validate_timestamp_and_nonce(request.client_key, request.timestamp, request.nonce, request)
        return None if known and fresh and self._check_signature(request) else "refused"


class Judge:
    """The `answer` of a Recorder: 200 with `document` for a request that verifies, else 401 with the reason."""

    def __init__(self, consumers, tokens=(), rsa_public=None, scheme="http", document=None):
        validator = Validator(consumers, dict(tokens), rsa_public)
        self.endpoint, self.alone = ResourceEndpoint(validator), ConsumerAlone(validator)
        self.scheme, self.document, self.reasons = scheme, document, []

    def reason(self, request):
        """Why a request is refused; None when it is not."""
        uri = f"{self.scheme}://{request.one('host')}{request.target}"
        body, headers = request.body.decode("latin-1"), {name.title(): value for name, value in request.headers}
        form = body if (request.one("content-type") or "").startswith("application/x-www-form-urlencoded") else ""
        if "oauth_token" not in f"{request.target}{headers.get('Authorization')}{form}":
            return self.alone.judge(uri, request.method, body, headers)
        valid, _ = self.endpoint.validate_protected_resource_request(uri, request.method, body, headers)
        return None if valid else "refused"

    def __call__(self, request):
        try:
            reason = self.reason(request)
        except Exception as error:  # what it cannot read it refuses, as a server would
            reason = repr(error)
        self.reasons.append(reason)
        answer = {"code": "refused", "message": reason} if reason else self.document(request) if self.document else {"ok": True}
        text = json.dumps(answer).encode()
        status = "401 Unauthorized" if reason else "200 OK"
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n"
        return head.encode() + (b"" if request.method == "HEAD" else text)
