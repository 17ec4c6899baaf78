//! Standard Webhooks (standardwebhooks.com, specification 1.0): the signature of a delivery. PURE.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use zeroize::Zeroizing;

/// How keys are written: this, and then base64.
const PREFIX: &[u8] = b"whsec_";

/// The key of signatures.
pub(super) struct Key(hmac::Key);

/// A secret that is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what follows whsec_ is not base64")]
pub(super) struct NotAKey;

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key")
    }
}

impl Key {
    /// Reads a secret: `whsec_` and base64, or the bytes as they are.
    ///
    /// # Errors
    /// `whsec_` with anything else behind it.
    pub(super) fn read(secret: &[u8]) -> Result<Self, NotAKey> {
        let key = match secret.strip_prefix(PREFIX) {
            Some(text) => Zeroizing::new(STANDARD.decode(text).map_err(|_| NotAKey)?),
            None => Zeroizing::new(secret.to_vec()),
        };
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &key)))
    }

    /// The value of `webhook-signature` for the values of `webhook-id` and `webhook-timestamp` and a body.
    pub(super) fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(format!("{id}.{timestamp}.").as_bytes());
        context.update(body);
        format!("v1,{}", STANDARD.encode(context.sign()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The example of the specification's reference libraries (standard-webhooks, `libraries/*/tests`).
    #[test]
    fn the_published_example_is_signed_alike() {
        let key = Key::read(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = key.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn raw_bytes_are_a_key_too_and_a_broken_one_is_none() {
        let raw = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed =
            Key::read(&raw).unwrap().sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(Key::read(b"whsec_!").unwrap_err(), NotAKey);
    }
}
