//! Credentials: the secrets of one signer, resolved, checked and prepared; the last good value kept.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::health::{Health, Problem};
use super::{Fingerprint, Moment};
use crate::clock::Timestamp;
use crate::config::model::{Credential as Config, OnMissing, Secrets};
use crate::secret::name::{NamePattern, SecretName};
use crate::secret::set::{Digest, SecretFile, SecretSet};
use crate::secret::value::BadReason;
use crate::sign::Signer;
use crate::sign::digest::Nonces;
use crate::sign::material::Material;
use crate::sign::seal::Kept;

/// Instances of one credential at most (tenants whose files exist).
const INSTANCES: usize = 200_000;

/// One credential as of one generation of secrets.
#[derive(Debug)]
pub struct CredentialState {
    /// Its name.
    pub name: String,
    /// Its scheme.
    pub signer: Arc<Signer>,
    /// The variables of its secrets' names, sorted, each once; empty for a plain credential.
    pub variables: Vec<String>,
    instances: Instances,
}

/// The instances of a credential. There may be ten thousand credentials with one each.
#[derive(Debug)]
enum Instances {
    /// Of a plain credential.
    One(Arc<Instance>),
    /// By the values of the variables, joined by `/`.
    Many(Box<ByValues>),
}

type ByValues = HashMap<Box<str>, Arc<Instance>>;

impl Instances {
    fn under(&self, values: &str) -> Option<&Arc<Instance>> {
        match self {
            Self::One(instance) => Some(instance).filter(|_| values.is_empty()),
            Self::Many(instances) => instances.get(values),
        }
    }

    fn each(&self) -> impl Iterator<Item = (&str, &Arc<Instance>)> {
        let (one, many) = match self {
            Self::One(instance) => (Some(("", instance)), None),
            Self::Many(instances) => (None, Some(instances.iter())),
        };
        one.into_iter().chain(many.into_iter().flatten().map(|(values, instance)| (&**values, instance)))
    }

    fn by_values(&self) -> Option<&ByValues> {
        match self {
            Self::One(_) => None,
            Self::Many(instances) => Some(instances),
        }
    }
}

/// One set of secrets of a credential: the only one, or one tenant's.
#[derive(Debug)]
pub struct Instance {
    /// The value in use; `None` when there is none.
    pub current: Option<Arc<Value>>,
    /// The value before, while it may still be used; newest answers decide.
    pub previous: Option<Arc<Value>>,
    /// When `previous` ends.
    pub previous_until: Timestamp,
    /// What is wrong with the files as they are now.
    pub bad: Option<Box<(SecretName, BadReason)>>,
    /// Whether the upstream has refused the newest value and the previous one was used instead.
    pub fell_back: AtomicBool,
    digest: Digest,
}

/// Secrets ready for signing.
pub struct Value {
    /// In the order of [`Signer::requirements`].
    pub keys: Box<[Material]>,
    /// What the keys alone make, for schemes that cover nothing of the request.
    pub kept: Kept,
    /// What upstreams have asked of `digest` with these keys.
    pub nonces: Nonces,
    fingerprint: Fingerprint,
    /// When it was read.
    pub loaded_at: Timestamp,
    /// The generation that brought it.
    pub generation: u64,
    /// Whether the upstream has once answered it with anything but 401.
    pub accepted: AtomicBool,
    digest: Digest,
}

impl Value {
    /// A token: the materials of [`crate::sign::token::Token::parts`], in that order. `version` is that of its
    /// connection. It has no fingerprint here; that of a connection is made where connections are shown.
    pub fn of_token(keys: Vec<Material>, now: Timestamp, version: u64) -> Self {
        Self {
            keys: keys.into(),
            kept: Kept::default(),
            nonces: Nonces::default(),
            fingerprint: Fingerprint([0; 4]),
            loaded_at: now,
            generation: version,
            accepted: AtomicBool::new(false),
            digest: Digest::default(),
        }
    }

    /// 8 hex digits that tell it apart and say nothing about it.
    pub fn fingerprint(&self) -> String {
        self.fingerprint.to_string()
    }
}

impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Value({})", self.fingerprint())
    }
}

/// Why a request finds no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable {
    /// The file that is missing or bad.
    pub secret: String,
    /// Why.
    pub reason: BadReason,
}

impl CredentialState {
    /// Compiles one credential from a generation of secrets.
    pub fn compile(
        config: &Config,
        set: &SecretSet,
        before: Option<&Arc<Self>>,
        on_missing: OnMissing,
        secrets: &Secrets,
        moment: &Moment,
    ) -> Arc<Self> {
        let variables = variables(&config.signer);
        let before = before.filter(|old| same_use(&old.signer, &config.signer));
        let compiler = Compiler { signer: &config.signer, set, on_missing, secrets, moment };
        if let ([_], [requirement]) = (&*variables, config.signer.requirements())
            && set.files.len() <= INSTANCES
        {
            let before = before.and_then(|before| before.instances.by_values());
            let instances = Instances::Many(Box::new(compiler.by_file(&requirement.pattern, before)));
            return Arc::new(Self { name: config.name.clone(), signer: config.signer.clone(), variables, instances });
        }
        if variables.is_empty() {
            let old = before.and_then(|old| old.instances.under(""));
            let instances = Instances::One(compiler.instance(&HashMap::new(), old));
            return Arc::new(Self { name: config.name.clone(), signer: config.signer.clone(), variables, instances });
        }
        let mut instances = HashMap::new();
        for values in existing(&config.signer, &variables, set, before.map(Arc::as_ref)) {
            if instances.len() == INSTANCES {
                break;
            }
            let old = before.and_then(|old| old.instances.under(&values));
            let lookup: HashMap<&str, &str> = variables.iter().map(String::as_str).zip(values.split('/')).collect();
            instances.insert(values.clone(), compiler.instance(&lookup, old));
        }
        let instances = Instances::Many(Box::new(instances));
        Arc::new(Self { name: config.name.clone(), signer: config.signer.clone(), variables, instances })
    }

    /// The instance for a request; `value` gives the tenant and captures.
    pub fn instance<'v>(&self, value: impl Fn(&str) -> Option<&'v str>) -> Result<&Arc<Instance>, Unavailable> {
        let found = match &*self.variables {
            [] => self.instances.under(""),
            [one] => value(one).and_then(|text| self.instances.under(text)),
            many => {
                let values: Option<Vec<&str>> = many.iter().map(|name| value(name)).collect();
                values.and_then(|values| self.instances.under(&values.join("/")))
            }
        };
        found.ok_or_else(|| self.unavailable(value))
    }

    /// Names the file that a request would have needed.
    fn unavailable<'v>(&self, value: impl Fn(&str) -> Option<&'v str>) -> Unavailable {
        let pattern = self.signer.requirements().first().map(|requirement| &requirement.pattern);
        let secret = pattern.map(|pattern| {
            pattern.resolve(&value).map_or_else(|| pattern.as_str().to_owned(), |name| name.as_str().to_owned())
        });
        Unavailable { secret: secret.unwrap_or_default(), reason: BadReason::Missing }
    }

    /// One instance, by the values of its variables joined by `/`.
    pub fn by_values(&self, values: &str) -> Option<&Arc<Instance>> {
        self.instances.under(values)
    }

    /// All instances, in no order.
    pub fn instances(&self) -> impl Iterator<Item = (&str, &Arc<Instance>)> {
        self.instances.each()
    }

    /// The worst health of its instances; a pattern that matches no file is no fault.
    pub fn health(&self) -> Health {
        self.instances.each().map(|(_, instance)| instance.health()).max().unwrap_or(Health::Ok)
    }

    /// What is bad, for messages.
    pub fn problems(&self) -> Vec<Problem> {
        self.instances
            .each()
            .filter_map(|(_, instance)| {
                let (secret, reason) = instance.bad.as_deref()?;
                Some(Problem {
                    credential: self.name.clone(),
                    secret: secret.clone(),
                    reason: reason.clone(),
                    last_good: instance.current.is_some(),
                })
            })
            .collect()
    }
}

impl Instance {
    /// A token in use. Nothing takes its place after a 401: what is newer is asked of the connection.
    pub fn of_token(value: Arc<Value>) -> Self {
        Self {
            current: Some(value),
            previous: None,
            previous_until: Timestamp::from_seconds(0),
            bad: None,
            fell_back: AtomicBool::new(false),
            digest: Digest::default(),
        }
    }

    /// The value to sign with.
    pub fn value(&self) -> Result<&Arc<Value>, Unavailable> {
        self.current.as_ref().ok_or_else(|| match self.bad.as_deref() {
            Some((secret, reason)) => Unavailable { secret: secret.as_str().to_owned(), reason: reason.clone() },
            None => Unavailable { secret: String::new(), reason: BadReason::Missing },
        })
    }

    /// The previous value, while a 401 to the newest may be answered with it.
    pub fn fallback(&self, now: Timestamp) -> Option<&Arc<Value>> {
        let newest = self.current.as_ref()?;
        let allowed = !newest.accepted.load(Ordering::Relaxed) && now < self.previous_until;
        self.previous.as_ref().filter(|_| allowed)
    }

    /// In the words of the admin interface.
    pub fn health(&self) -> Health {
        let accepted = self.current.as_ref().is_some_and(|value| value.accepted.load(Ordering::Relaxed));
        match (&self.current, &self.bad) {
            (None, _) => Health::Missing,
            (Some(_), Some(_)) => Health::Stale,
            (Some(_), None) if self.fell_back.load(Ordering::Relaxed) && !accepted => Health::Fallback,
            (Some(_), None) => Health::Ok,
        }
    }
}

struct Compiler<'c> {
    signer: &'c Arc<Signer>,
    set: &'c SecretSet,
    on_missing: OnMissing,
    secrets: &'c Secrets,
    moment: &'c Moment,
}

impl Compiler<'_> {
    /// The instances of a credential with one secret and one variable, the usual one with very many: each file is an
    /// instance, and one that did not change costs a look.
    fn by_file(&self, pattern: &NamePattern, before: Option<&ByValues>) -> ByValues {
        let mut instances = ByValues::with_capacity(before.map_or(self.set.files.len(), HashMap::len));
        for (name, file) in &*self.set.files {
            let Some(&[(variable, value)]) = pattern.captures(name.as_str()).as_deref() else { continue };
            let old = before.and_then(|before| before.get(value));
            let same = old.filter(|old| old.digest == digest_of([Some(file)]));
            let instance = same.cloned().unwrap_or_else(|| self.instance(&HashMap::from([(variable, value)]), old));
            instances.insert(value.into(), instance);
        }
        let Some(variable) = pattern.variables().next() else { return instances };
        // Values that were used before and whose file has gone.
        for (value, old) in before.into_iter().flatten() {
            if instances.len() < INSTANCES && !instances.contains_key(value) {
                instances.insert(value.clone(), self.instance(&HashMap::from([(variable, &**value)]), Some(old)));
            }
        }
        instances
    }

    fn instance(&self, values: &HashMap<&str, &str>, before: Option<&Arc<Instance>>) -> Arc<Instance> {
        let names: Vec<Option<SecretName>> = self
            .signer
            .requirements()
            .iter()
            .map(|requirement| requirement.pattern.resolve(|name| values.get(name).copied()))
            .collect();
        let digest = self.digest(&names);
        if let Some(before) = before.filter(|before| before.digest == digest) {
            return before.clone();
        }
        match self.load(&names) {
            Ok(keys) => self.renewed(keys, digest, before),
            Err(bad) => self.kept(bad, digest, before),
        }
    }

    /// One digest over the digests of all files, in order.
    fn digest(&self, names: &[Option<SecretName>]) -> Digest {
        digest_of(names.iter().flatten().map(|name| self.set.files.get(name.as_str())))
    }

    fn load(&self, names: &[Option<SecretName>]) -> Result<Vec<Material>, (SecretName, BadReason)> {
        let requirements = self.signer.requirements();
        let mut keys = Vec::with_capacity(requirements.len());
        for (requirement, name) in requirements.iter().zip(names) {
            // `existing` answers only values with which every name resolves.
            let Some(name) = name else { continue };
            let loaded = self.set.content(name.as_str()).and_then(|bytes| requirement.kind.load(bytes));
            keys.push(loaded.map_err(|reason| (name.clone(), reason))?);
        }
        Ok(keys)
    }

    fn renewed(&self, keys: Vec<Material>, digest: Digest, before: Option<&Arc<Instance>>) -> Arc<Instance> {
        let old = before.and_then(|before| before.current.clone());
        // The same value again after a bad one: nothing has changed for the upstream.
        if let (Some(old), Some(before)) = (old.as_ref().filter(|old| old.digest == digest), before) {
            return Arc::new(Instance {
                current: Some(old.clone()),
                previous: before.previous.clone(),
                previous_until: before.previous_until,
                bad: None,
                fell_back: AtomicBool::new(before.fell_back.load(Ordering::Relaxed)),
                digest,
            });
        }
        let value = Value {
            keys: keys.into(),
            kept: Kept::default(),
            nonces: Nonces::default(),
            fingerprint: self.moment.fingerprint_key.of(&digest),
            loaded_at: self.moment.now,
            generation: self.set.generation,
            accepted: AtomicBool::new(false),
            digest,
        };
        let overlap = self.secrets.overlap.as_secs() as i64;
        // A newest value that no upstream ever accepted is no fallback; what it replaced still is.
        let previous = match (old, before.and_then(|before| before.previous.clone())) {
            (Some(old), Some(older)) if !old.accepted.load(Ordering::Relaxed) => Some(older),
            (old, _) => old,
        };
        Arc::new(Instance {
            current: Some(Arc::new(value)),
            previous: previous.filter(|_| overlap > 0),
            previous_until: self.moment.now.plus_seconds(overlap),
            bad: None,
            fell_back: AtomicBool::new(false),
            digest,
        })
    }

    fn kept(&self, bad: (SecretName, BadReason), digest: Digest, before: Option<&Arc<Instance>>) -> Arc<Instance> {
        let ended = self.on_missing == OnMissing::Fail && bad.1 == BadReason::Missing;
        let before = before.filter(|_| !ended);
        Arc::new(Instance {
            current: before.and_then(|before| before.current.clone()),
            previous: before.and_then(|before| before.previous.clone()),
            previous_until: before.map_or(self.moment.now, |before| before.previous_until),
            fell_back: AtomicBool::new(before.is_some_and(|before| before.fell_back.load(Ordering::Relaxed))),
            bad: Some(Box::new(bad)),
            digest,
        })
    }
}

/// One digest over those of files, in order; `None` is a file that is not there.
fn digest_of<'f>(files: impl IntoIterator<Item = Option<&'f SecretFile>>) -> Digest {
    let mut files = files.into_iter().peekable();
    let first = files.next();
    // Of one file it is the file's own, which says what is wrong with it, too.
    if let (Some(Some(file)), None) = (&first, files.peek()) {
        return file.digest;
    }
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    for file in first.into_iter().chain(files) {
        context.update(&file.map_or(Digest::default(), |file| file.digest));
        match file.map(|file| &file.content) {
            None => context.update(BadReason::Missing.label().as_bytes()),
            Some(Err(reason)) => context.update(reason.label().as_bytes()),
            Some(Ok(_)) => {}
        }
    }
    let mut out = Digest::default();
    let length = out.len();
    out.copy_from_slice(&context.finish().as_ref()[..length]);
    out
}

/// The variables of all secret names of a signer, sorted, each once.
fn variables(signer: &Signer) -> Vec<String> {
    let mut names: Vec<String> =
        signer.requirements().iter().flat_map(|r| r.pattern.variables().map(str::to_owned)).collect();
    names.sort();
    names.dedup();
    names
}

/// Which instances there are: one for a plain credential, else one for each set of values under which a file
/// exists or a value was used before.
fn existing(signer: &Signer, variables: &[String], set: &SecretSet, before: Option<&CredentialState>) -> Vec<Box<str>> {
    if variables.is_empty() {
        return vec!["".into()];
    }
    let mut found: Vec<Box<str>> =
        before.iter().flat_map(|old| old.instances.each()).map(|(values, _)| values.into()).collect();
    // Patterns with all the variables say which instances exist.
    let whole = signer
        .requirements()
        .iter()
        .filter(|requirement| variables.iter().all(|name| requirement.pattern.variables().any(|other| other == name)));
    for requirement in whole {
        for name in set.files.keys() {
            let Some(captures) = requirement.pattern.captures(name.as_str()) else { continue };
            let value = |wanted: &str| captures.iter().find(|(n, _)| *n == wanted).map_or("", |(_, v)| *v);
            let values: Vec<&str> = variables.iter().map(|name| value(name)).collect();
            found.push(values.join("/").into());
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// Whether two signers use the same secrets in the same way, so that values carry over a changed configuration.
fn same_use(old: &Arc<Signer>, new: &Arc<Signer>) -> bool {
    let key =
        |signer: &Signer| -> Vec<_> { signer.requirements().iter().map(|r| (r.pattern.clone(), r.kind)).collect() };
    Arc::ptr_eq(old, new) || key(old) == key(new)
}
