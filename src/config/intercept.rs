//! `[intercept]`: its keys, how they are read, and what they mean together.

use std::path::{Path, PathBuf};

use super::credential;
use super::fields::{Fields, Mistakes};
use super::keys::key;
use super::model::{Dns, Listen, Spanned};
use super::schema::{Fallback, Kind, Section};
use crate::secret::name::NamePattern;

use Fallback::{Absent, Is};

/// The name of the certificate in `dir`, beside which nothing else is written there.
pub const CERTIFICATE_FILE: &str = "countersign-ca.crt";
/// The name of the key in `key_dir`.
pub const KEY_FILE: &str = "countersign-ca.key";

/// The table of keys.
pub(super) static INTERCEPT: Section = Section {
    title: "[intercept]",
    help: "For workers whose SDK insists on `https` or fixes the host: `HTTPS_PROXY=http://127.0.0.1:8080` and the CA's certificate among those that the \
worker trusts. CONNECT is answered for hosts that have a route, on `[listen] proxy`; `[listen] tls` does the same without a proxy setting. \
See [INTERCEPTION.md](INTERCEPTION.md). The whole table needs a restart to change; a new certificate and key in the secrets directory do not.",
    keys: &[
        key("enabled", Kind::Flag, Is("true"), "`false` is as if the table were not there"),
        key(
            "ca_cert",
            Kind::SecretName,
            Absent,
            "a CA's certificate, PEM; absent: the CA is made at the first start, for the hosts of the routes alone",
        ),
        key("ca_key", Kind::SecretName, Absent, "its key, PEM (PKCS #8); may be the same file"),
        key(
            "dir",
            Kind::Text("a directory"),
            Is("certs"),
            "where the certificate of a CA that is made lies for workers to read, as `countersign-ca.crt` (mode 0644)",
        ),
        key(
            "key_dir",
            Kind::Text("a directory"),
            Is("/var/lib/countersign"),
            "where its key lies, as `countersign-ca.key` (mode 0600); workers must not reach it",
        ),
        key(
            "ephemeral",
            Kind::Flag,
            Is("false"),
            "keeps the key in memory alone: each start makes a new CA, which workers have to read anew from `dir`",
        ),
    ],
    later: &[],
    example: "[intercept]\nenabled   = true\ndir       = \"/etc/countersign/public\"\nephemeral = true\n",
};

/// `[intercept]`, enabled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intercept {
    /// Where the CA comes from.
    pub authority: AuthoritySource,
}

/// Where the CA of interception comes from.
#[derive(Clone, Debug)]
pub enum AuthoritySource {
    /// `ca_cert` and `ca_key`
    Secrets {
        /// PEM certificate, with those above it where it is an intermediate one.
        cert: Spanned<NamePattern>,
        /// PEM key.
        key: Spanned<NamePattern>,
    },
    /// Made at the first start.
    Made {
        /// The folder of [`CERTIFICATE_FILE`].
        dir: PathBuf,
        /// The folder of [`KEY_FILE`]; `None` is `ephemeral = true`.
        key_dir: Option<PathBuf>,
    },
}

impl PartialEq for AuthoritySource {
    /// Without the places in the file.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Secrets { cert, key }, Self::Secrets { cert: other_cert, key: other_key }) => {
                cert.value == other_cert.value && key.value == other_key.value
            }
            (Self::Made { dir, key_dir }, Self::Made { dir: other_dir, key_dir: other_key_dir }) => {
                dir == other_dir && key_dir == other_key_dir
            }
            _ => false,
        }
    }
}

impl Eq for AuthoritySource {}

/// Reads the table; `None` where it is absent or disabled.
pub(super) fn read(fields: &Fields<'_, '_>, folder: &Path) -> Option<Intercept> {
    let mistakes = fields.mistakes();
    let enabled = fields.flag("enabled");
    let [cert, key] = ["ca_cert", "ca_key"].map(|name| plain(fields, name));
    let ephemeral = fields.flag("ephemeral");
    let [dir, key_dir] = ["dir", "key_dir"].map(|name| directory(fields, name, folder));
    let given = |name: &str| fields.value(name).is_some();
    for (name, without) in [("ca_cert", "ca_key"), ("ca_key", "ca_cert")] {
        if given(name) && !given(without) {
            let message = format!("`{name}` needs `{without}`");
            mistakes.hinted(
                fields.span_of(name),
                message,
                "give both, or neither to have a CA made at the first start",
            );
        }
    }
    let no_effect = |name: &str, because: &str| {
        if given(name) {
            let message = format!("`{name}` has no effect with `{because}`");
            mistakes.hinted(fields.span_of(name), message, format!("remove `{name}` or `{because}`"));
        }
    };
    if given("ca_cert") {
        ["dir", "key_dir", "ephemeral"].iter().for_each(|name| no_effect(name, "ca_cert"));
    } else if ephemeral {
        no_effect("key_dir", "ephemeral");
    }
    // A table that is not there has a section all the same.
    if fields.span() == (0..0) || !enabled {
        return None;
    }
    let authority = match (cert, key) {
        (Some(cert), Some(key)) => AuthoritySource::Secrets { cert, key },
        _ => AuthoritySource::Made { dir, key_dir: (!ephemeral).then_some(key_dir) },
    };
    Some(Intercept { authority })
}

/// The name of a secret without variables: the CA belongs to no route.
fn plain(fields: &Fields<'_, '_>, name: &str) -> Option<Spanned<NamePattern>> {
    let found = fields.secret(name)?;
    if found.value.as_static().is_none() {
        let message = format!("`{name}` belongs to no route, so its name cannot have variables");
        fields.mistakes().hinted(found.span.clone(), message, "write a plain name such as \"intercept/ca.crt\"");
        return None;
    }
    Some(found)
}

fn directory(fields: &Fields<'_, '_>, name: &str, folder: &Path) -> PathBuf {
    let text = fields.text_or_default(name);
    if text.value.is_empty() || text.value.contains('\0') {
        let message = format!("`{name}` is no directory");
        fields.mistakes().hinted(text.span.clone(), message, "write its path, such as \"/var/lib/countersign\"");
    }
    folder.join(text.value)
}

/// `listen.tls` has no certificate without a CA.
pub(super) fn needed(root: &Fields<'_, '_>, intercept: Option<&Intercept>) {
    let listen = root.value("listen").and_then(|listen| listen.get_ref().as_table());
    if let (None, Some(tls)) = (intercept, listen.and_then(|listen| listen.get("tls"))) {
        root.mistakes().hinted(
            tls.span(),
            "`tls` needs [intercept], whose CA signs this listener's certificates",
            "add [intercept], or remove `tls`",
        );
    }
}

/// With TLS by name the worker's hosts file leads the names of upstreams here, and the proxy may share that file.
pub(super) fn dns(dns: Dns, listen: &Listen, root: &Fields<'_, '_>) -> Dns {
    if listen.tls.is_none() {
        return dns;
    }
    let written =
        root.value("dns").and_then(|table| table.get_ref().as_table()).and_then(|table| table.get("hosts_file"));
    if let Some(hosts_file) = written.filter(|_| dns.hosts_file) {
        root.mistakes().hinted(
            hosts_file.span(),
            "`hosts_file = true` does not go with `tls` in [listen]: that file may lead the names of upstreams to this proxy",
            "remove `hosts_file`, or `tls`",
        );
    }
    Dns { hosts_file: false, ..dns }
}

/// A CA's files are no text of a credential.
pub(super) fn kinds(intercept: Option<&Intercept>, credentials: &[credential::Declared], mistakes: &Mistakes) {
    let Some(Intercept { authority: AuthoritySource::Secrets { cert, key } }) = intercept else { return };
    for credential in credentials.iter().filter_map(|c| c.made.as_ref()) {
        for need in credential.signer.requirements() {
            if let Some(name) = [cert, key].into_iter().find(|name| name.value.as_str() == need.pattern.as_str()) {
                let message = format!(
                    "the secret \"{}\" is a CA's key or certificate here and a text in credential `{}`",
                    name.value, credential.name
                );
                mistakes.hinted(name.span.clone(), message, "keep them in two files; kinds of secrets do not mix");
            }
        }
    }
}
