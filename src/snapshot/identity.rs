//! Client identities: certificate, key and roots of one or more routes as a TLS client.
//!
//! A new identity is a new [`TlsClient`] with its own session store, so that no session of the old
//! one is ever resumed; the old one is marked as retired, and the pool closes its connections.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use rustls::ClientConfig;

use super::Moment;
use super::health::{Health, Problem};
use crate::clock::Timestamp;
use crate::config::model::{OnMissing, RouteTls, TlsVersion, Trust};
use crate::secret::name::NamePattern;
use crate::secret::set::{Digest, SecretSet};
use crate::secret::value::{BadReason, Second};
use crate::tls;

/// Which files make an identity.
#[derive(Clone, Debug)]
pub struct IdentitySpec {
    /// PEM certificate chain.
    pub client_cert: Option<NamePattern>,
    /// PEM key.
    pub client_key: Option<NamePattern>,
    /// PEM roots, together; empty is those of [`IdentitySpec::system`], else the public ones.
    pub ca: Vec<NamePattern>,
    /// The platform's roots, where they are trusted.
    pub system: Option<SystemRoots>,
    /// Minimum version.
    pub min: TlsVersion,
    /// Keys of which the upstream's chain must have one; empty pins nothing.
    pub pins: Vec<tls::Pin>,
    /// Who uses it first, `route:NAME` or `credential:NAME`; names the identity in messages.
    pub owner: String,
}

/// Roots that are the same when their digests are.
#[derive(Clone, Debug)]
pub struct SystemRoots {
    roots: tls::Roots,
    digest: [u8; 32],
}

impl IdentitySpec {
    /// What makes two owners share an identity; all but the name of the first owner.
    fn key(&self) -> impl Eq + std::hash::Hash {
        let system = self.system.as_ref().map(|system| &system.digest);
        (&self.client_cert, &self.client_key, &self.ca, system, self.min, &self.pins)
    }
}

impl PartialEq for IdentitySpec {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for IdentitySpec {}

impl std::hash::Hash for IdentitySpec {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

/// The owner of a route's own identity.
pub fn owner_of_route(name: &str) -> String {
    format!("route:{name}")
}

/// The owner of the identity that a credential has towards its token endpoints.
pub fn owner_of_credential(name: &str) -> String {
    format!("credential:{name}")
}

impl IdentitySpec {
    /// The identity of a `tls` table, where it leaves `trust` to `[tls] roots`.
    pub fn of(tls: &RouteTls, trust: &Trust) -> Self {
        let name =
            |spanned: &Option<crate::config::model::Spanned<NamePattern>>| spanned.as_ref().map(|s| s.value.clone());
        let client_cert = name(&tls.client_cert);
        let (ca, system) = match (name(&tls.ca), trust) {
            (Some(own), _) => (vec![own], None),
            (None, Trust::Bundled) => (Vec::new(), None),
            (None, Trust::Secrets(names)) => (names.iter().map(|name| name.value.clone()).collect(), None),
            (None, Trust::System(roots)) => {
                (Vec::new(), Some(SystemRoots { roots: roots.clone(), digest: roots.digest() }))
            }
        };
        Self {
            // One file may hold both.
            client_key: name(&tls.client_key).or_else(|| client_cert.clone()),
            client_cert,
            ca,
            system,
            min: tls.min,
            pins: tls.pins.clone(),
            owner: String::new(),
        }
    }
}

/// What connections are made with.
#[derive(Debug)]
struct Configs {
    /// HTTP/2, else HTTP/1.1.
    both: Arc<ClientConfig>,
    /// HTTP/1.1 alone; made when the first is asked for.
    http1: OnceLock<Arc<ClientConfig>>,
}

/// TLS towards upstreams with one identity.
#[derive(Debug)]
pub struct TlsClient {
    id: u64,
    /// While it is the newest.
    live: Configs,
    /// Once it is retired; made when the first request that began before asks for it.
    unresumed: OnceLock<Configs>,
    /// The end of the client certificate.
    pub not_after: Option<Timestamp>,
    retired: AtomicBool,
}

impl TlsClient {
    /// Unique in the process.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// For a new connection whose handshake begins now. That of a retired identity, for a request which began
    /// before it was replaced, resumes no session.
    pub fn config(&self) -> &Arc<ClientConfig> {
        &self.configs().both
    }

    /// As [`TlsClient::config`], for what must speak HTTP/1.1, such as a WebSocket. The sessions that it keeps
    /// end with this identity, as the others do.
    pub fn http1_config(&self) -> &Arc<ClientConfig> {
        let Configs { both, http1 } = self.configs();
        http1.get_or_init(|| match self.is_retired() {
            false => tls::http1_only(both),
            true => tls::unresumed(&tls::http1_only(both)),
        })
    }

    fn configs(&self) -> &Configs {
        match self.is_retired() {
            false => &self.live,
            true => {
                self.unresumed.get_or_init(|| Configs { both: tls::unresumed(&self.live.both), http1: OnceLock::new() })
            }
        }
    }

    /// Whether a newer identity has replaced it.
    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// From now on its connections take no new request, and new ones resume no session.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }
}

/// One half of an identity (the certificate pair, or the roots) as the admin interface shows it.
#[derive(Clone, Debug)]
pub struct Part {
    /// Its health.
    pub health: Health,
    /// Why it is not [`Health::Ok`].
    pub bad: Option<(NamePattern, BadReason)>,
    /// 8 hex digits.
    pub fingerprint: Option<String>,
    /// When the value in use was read.
    pub loaded_at: Option<Timestamp>,
    /// The end of the certificate.
    pub expires_at: Option<Timestamp>,
    /// The generation of the value in use.
    pub generation: u64,
    digest: Digest,
}

impl Part {
    /// When a certificate that came too early may be used.
    pub fn valid_from(&self) -> Option<Timestamp> {
        match self.bad {
            Some((_, BadReason::NotYetValid(Second(from)))) => Some(Timestamp::from_seconds(from)),
            _ => None,
        }
    }
}

/// An identity as of one generation of secrets.
#[derive(Debug)]
pub struct IdentityState {
    /// Which files.
    pub spec: IdentitySpec,
    /// The newest good client; `None` when there never was one.
    pub client: Option<Arc<TlsClient>>,
    /// The certificate and its key, where the route has one.
    pub pair: Option<Part>,
    /// The roots, where the route has its own.
    pub roots: Option<Part>,
    digests: [Digest; 3],
    good_pair: Option<Arc<tls::Identity>>,
    good_roots: Option<Arc<tls::Roots>>,
}

impl IdentityState {
    /// Compiles. A bad pair or bad roots keep the last good ones.
    pub fn compile(
        spec: &IdentitySpec,
        set: &SecretSet,
        before: Option<&Arc<Self>>,
        on_missing: OnMissing,
        moment: &Moment,
    ) -> Arc<Self> {
        let digest =
            |name: &Option<NamePattern>| name.as_ref().map_or_else(Digest::default, |name| set.digest(name.as_str()));
        let digests = [digest(&spec.client_cert), digest(&spec.client_key), digest_of_all(&spec.ca, set)];
        if let Some(before) = before
            && before.digests == digests
            && before.spec.owner == spec.owner
            && before.pair.as_ref().and_then(Part::valid_from).is_none_or(|from| moment.now < from)
        {
            return before.clone();
        }
        let (pair, good_pair) = half(
            spec.client_cert.as_ref(),
            before.and_then(|b| b.pair.as_ref().zip(b.good_pair.as_ref())),
            on_missing,
            set.generation,
            moment,
            |cert| load_pair(cert, spec.client_key.as_ref().unwrap_or(cert), set, moment.now),
            |pair| Some(pair.not_after()),
        );
        let (roots, good_roots) = half(
            spec.ca.first(),
            before.and_then(|b| b.roots.as_ref().zip(b.good_roots.as_ref())),
            on_missing,
            set.generation,
            moment,
            |_| load_roots(&spec.ca, set),
            |_| None,
        );
        let client = Self::client(spec, before, good_pair.as_ref(), good_roots.as_ref());
        Arc::new(Self { spec: spec.clone(), client, pair, roots, digests, good_pair, good_roots })
    }

    /// The client of before when neither half changed; else a new one, and the old one retires.
    fn client(
        spec: &IdentitySpec,
        before: Option<&Arc<Self>>,
        pair: Option<&Arc<tls::Identity>>,
        roots: Option<&Arc<tls::Roots>>,
    ) -> Option<Arc<TlsClient>> {
        let same = |old: &Self| {
            let same_pair = old.good_pair.as_ref().map(Arc::as_ptr) == pair.map(Arc::as_ptr);
            same_pair && old.good_roots.as_ref().map(Arc::as_ptr) == roots.map(Arc::as_ptr)
        };
        if let Some(old) = before.filter(|old| same(old)) {
            return old.client.clone();
        }
        let complete = spec.client_cert.is_some() == pair.is_some() && spec.ca.is_empty() == roots.is_none();
        if !complete {
            return None;
        }
        let public;
        let roots = match (roots, &spec.system) {
            (Some(roots), _) => roots.as_ref(),
            (None, Some(system)) => &system.roots,
            (None, None) => {
                public = tls::Roots::public();
                &public
            }
        };
        // Fails only for combinations of versions and algorithms that `min` does not admit.
        let config = tls::client_config(roots, pair.map(Arc::as_ref), spec.min, &spec.pins).ok()?;
        Some(Arc::new(TlsClient {
            id: next_id(),
            live: Configs { both: config, http1: OnceLock::new() },
            unresumed: OnceLock::new(),
            not_after: pair.map(|pair| pair.not_after()),
            retired: AtomicBool::new(false),
        }))
    }

    /// The names under which this identity's halves are shown: `client_cert`, `ca`.
    pub fn parts(&self) -> impl Iterator<Item = (&'static str, &Part)> {
        let pair = self.pair.iter().map(|part| ("client_cert", part));
        pair.chain(self.roots.iter().map(|part| ("ca", part)))
    }

    /// What is bad, for messages.
    pub fn problems(&self) -> Vec<Problem> {
        self.parts()
            .filter_map(|(half, part)| {
                let (name, reason) = part.bad.as_ref()?;
                Some(Problem {
                    credential: format!("{}/{half}", self.spec.owner),
                    secret: name.as_static()?,
                    reason: reason.clone(),
                    last_good: part.loaded_at.is_some(),
                })
            })
            .collect()
    }
}

fn next_id() -> u64 {
    use std::sync::atomic::AtomicU64;
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

pub(super) type Loaded<T> = Result<(T, Digest), (NamePattern, BadReason)>;

/// The rule of the last good value for one half of an identity.
pub(super) fn half<T>(
    name: Option<&NamePattern>,
    before: Option<(&Part, &Arc<T>)>,
    on_missing: OnMissing,
    generation: u64,
    moment: &Moment,
    load: impl FnOnce(&NamePattern) -> Loaded<T>,
    expires: impl Fn(&T) -> Option<Timestamp>,
) -> (Option<Part>, Option<Arc<T>>) {
    let Some(name) = name else { return (None, None) };
    match load(name) {
        Ok((value, digest)) => {
            if let Some((part, good)) = before.filter(|(part, _)| part.digest == digest) {
                // The same value again, perhaps after a bad one: nothing retires.
                return (Some(Part { health: Health::Ok, bad: None, ..part.clone() }), Some(good.clone()));
            }
            let part = Part {
                health: Health::Ok,
                bad: None,
                fingerprint: Some(moment.fingerprint_key.of(&digest).to_string()),
                loaded_at: Some(moment.now),
                expires_at: expires(&value),
                generation,
                digest,
            };
            (Some(part), Some(Arc::new(value)))
        }
        Err((name, reason)) => {
            let ended = on_missing == OnMissing::Fail && reason == BadReason::Missing;
            match before.filter(|_| !ended) {
                Some((part, good)) => {
                    let stale = Part { health: Health::Stale, bad: Some((name, reason)), ..part.clone() };
                    (Some(stale), Some(good.clone()))
                }
                None => {
                    let missing = Part {
                        health: Health::Missing,
                        bad: Some((name, reason)),
                        fingerprint: None,
                        loaded_at: None,
                        expires_at: None,
                        generation,
                        digest: Digest::default(),
                    };
                    (Some(missing), None)
                }
            }
        }
    }
}

fn load_pair(cert: &NamePattern, key: &NamePattern, set: &SecretSet, now: Timestamp) -> Loaded<tls::Identity> {
    let cert_bytes = set.content(cert.as_str()).map_err(|reason| (cert.clone(), reason))?;
    let key_bytes = set.content(key.as_str()).map_err(|reason| (key.clone(), reason))?;
    // Each file alone first, so that the one that is damaged is named.
    tls::Chain::parse(cert_bytes).map_err(|reason| (cert.clone(), reason))?;
    tls::PrivateKey::parse(key_bytes).map_err(|reason| (key.clone(), reason))?;
    let identity = tls::Identity::load(cert_bytes, key_bytes, now).map_err(|reason| (cert.clone(), reason))?;
    let mut digest = set.digest(cert.as_str());
    digest.iter_mut().zip(set.digest(key.as_str())).for_each(|(a, b)| *a = a.rotate_left(1) ^ b);
    Ok((identity, digest))
}

/// All or nothing: a bundle that cannot be used keeps the last good ones of all.
fn load_roots(names: &[NamePattern], set: &SecretSet) -> Loaded<tls::Roots> {
    let load = |name: &NamePattern| {
        set.content(name.as_str()).and_then(tls::Roots::load).map_err(|reason| (name.clone(), reason))
    };
    let bundles = names.iter().map(load).collect::<Result<Vec<_>, _>>()?;
    Ok((tls::Roots::join(bundles), digest_of_all(names, set)))
}

fn digest_of_all(names: &[NamePattern], set: &SecretSet) -> Digest {
    let mut all = Digest::default();
    for name in names {
        all.iter_mut().zip(set.digest(name.as_str())).for_each(|(a, b)| *a = a.rotate_left(1) ^ b);
    }
    all
}
