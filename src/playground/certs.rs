//! Development certificates, and the secrets that `[playground]` needs.
//!
//! An [`Authority`] lives in memory only: its key is never written, so nobody can mint further
//! certificates from what lies in a secrets directory. Callers: `run`, `demo`, tests.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SerialNumber,
};
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::clock::{Clock as _, SystemClock, Timestamp};

/// The folder of the playground's secrets, below the secrets directory.
pub const FOLDER: &str = "playground";
/// The name that the playground's upstream has in its certificate, beside the loopback ones.
pub const SERVER_NAME: &str = "playground.example";

/// Files that belong together: they come from one authority, whose key is not kept.
const CERTIFICATES: [&str; 5] = ["ca.crt", "client.crt", "client.key", "server.crt", "server.key"];
const HMAC_KEY: &str = "hmac-key";
const HMAC_KEY_BYTES: usize = 32;
const DAY: i64 = 86_400;
/// Certificates are dated back, so that a clock that is a little behind accepts them.
const BACKDATED: i64 = 3_600;

/// Why certificates or secrets of the playground could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CertsError {
    /// The certificate library refused, for example a name that is none.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes")]
    Random,
    /// A file or folder could not be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Some of the certificates are there and others are not; the authority that made them is gone.
    #[error(
        "{folder} has {} but not {}: they are made together, so remove the former to have all of them made anew",
        .present.join(", "), .absent.join(", ")
    )]
    Incomplete {
        /// The playground's folder.
        folder: PathBuf,
        /// Files that exist.
        present: Vec<&'static str>,
        /// Files that do not.
        absent: Vec<&'static str>,
    },
}

/// From when to when a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub not_before: Timestamp,
    /// The last second.
    pub not_after: Timestamp,
}

impl Validity {
    /// From an hour before `now` to `days` days after it.
    pub const fn days_from(now: Timestamp, days: i64) -> Self {
        Self { not_before: now.plus_seconds(-BACKDATED), not_after: now.plus_seconds(days * DAY) }
    }
}

/// A certificate and its key.
pub struct Pair {
    /// PEM, the certificate alone.
    pub certificate: String,
    /// PEM, PKCS #8.
    pub key: String,
    /// The certificate's serial number, lower-case hexadecimal as `openssl x509 -serial` shows it but for the case.
    pub serial: String,
}

/// A certificate authority for development; its key never leaves memory.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
    validity: Validity,
}

impl Authority {
    /// A new authority with this common name, valid for ten years, as what it issues.
    pub fn new(name: &str) -> Result<Self, CertsError> {
        Self::with_validity(name, Validity::days_from(SystemClock.now(), 3650))
    }

    /// A new authority that is valid, and issues certificates that are valid, within these dates.
    pub fn with_validity(name: &str, validity: Validity) -> Result<Self, CertsError> {
        let key = KeyPair::generate()?;
        let mut params = params(&[], name, validity)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), certificate, validity })
    }

    /// The authority's own certificate, PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// A server certificate for these names and addresses.
    pub fn server(&self, names: &[&str]) -> Result<Pair, CertsError> {
        let name = names.first().copied().unwrap_or("server");
        let params = params(names, name, self.validity)?;
        self.issue(params, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A client certificate with this common name.
    pub fn client(&self, name: &str) -> Result<Pair, CertsError> {
        self.client_within(name, self.validity)
    }

    /// A client certificate with this common name and these dates.
    pub fn client_within(&self, name: &str, validity: Validity) -> Result<Pair, CertsError> {
        self.issue(params(&[], name, validity)?, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn issue(&self, mut params: CertificateParams, usage: ExtendedKeyUsagePurpose) -> Result<Pair, CertsError> {
        let mut serial: [u8; 16] = random()?;
        serial[0] = serial[0] & 0x3F | 0x40; // positive, and never a leading zero
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Pair { certificate, key: key.serialize_pem(), serial: hex(&serial) })
    }
}

fn params(names: &[&str], common_name: &str, validity: Validity) -> Result<CertificateParams, CertsError> {
    let mut params = CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let since = |at: Timestamp| Duration::from_secs(u64::try_from(at.seconds).unwrap_or(0));
    params.not_before = epoch + since(validity.not_before);
    params.not_after = epoch + since(validity.not_after);
    Ok(params)
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // writing to a String cannot fail
        text
    })
}

/// A new HMAC key: 32 random bytes as base64 text, which is used as text.
pub fn random_key() -> Result<String, CertsError> {
    let bytes: [u8; HMAC_KEY_BYTES] = random()?;
    Ok(base64::engine::general_purpose::STANDARD.encode(bytes))
}

fn random<const N: usize>() -> Result<[u8; N], CertsError> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| CertsError::Random)?;
    Ok(bytes)
}

/// Makes what the playground needs and `dir` (the secrets directory) does not have yet: `playground/`
/// (mode 0700) with `ca.crt`, `client.crt`, `client.key`, `server.crt`, `server.key` and `hmac-key`
/// (mode 0600 each). Never overwrites a file. Returns the files that it made.
///
/// The certificates are made together or not at all, because the authority's key is not kept.
pub fn make_missing(dir: &Path) -> Result<Vec<PathBuf>, CertsError> {
    let folder = dir.join(FOLDER);
    let (present, absent): (Vec<_>, Vec<_>) =
        CERTIFICATES.into_iter().partition(|name| fs::symlink_metadata(folder.join(name)).is_ok());
    if !present.is_empty() && !absent.is_empty() {
        return Err(CertsError::Incomplete { folder, present, absent });
    }
    let key_absent = fs::symlink_metadata(folder.join(HMAC_KEY)).is_err();
    if absent.is_empty() && !key_absent {
        return Ok(Vec::new());
    }
    let written = |path: &Path, result: io::Result<()>| {
        result.map_err(|source| CertsError::Write { path: path.to_owned(), source })
    };
    written(&folder, DirBuilder::new().recursive(true).mode(0o700).create(&folder))?;
    let mut files = Vec::new();
    if !absent.is_empty() {
        let authority = Authority::new("countersign playground CA")?;
        let client = authority.client("playground-worker")?;
        let server = authority.server(&[SERVER_NAME, "localhost", "127.0.0.1", "::1"])?;
        files.push(("ca.crt", authority.certificate));
        files.extend([("client.crt", client.certificate), ("client.key", client.key)]);
        files.extend([("server.crt", server.certificate), ("server.key", server.key)]);
    }
    if key_absent {
        files.push((HMAC_KEY, random_key()? + "\n"));
    }
    let mut made = Vec::new();
    for (name, text) in files {
        let path = folder.join(name);
        written(&path, write_new(&folder, name, text.as_bytes()))?;
        made.push(path);
    }
    Ok(made)
}

/// Writes aside and links into place: a reader never sees half a file, and one that appeared
/// meanwhile is an error instead of being replaced.
fn write_new(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let aside = folder.join(format!(".{name}.{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    let result = file.write_all(bytes).and_then(|()| fs::hard_link(&aside, folder.join(name)));
    fs::remove_file(&aside)?;
    result
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::playground::rotate::tests::TempDir;

    #[test]
    fn missing_secrets_are_made_once_with_tight_modes() {
        let dir = TempDir::new("certs-once");
        let made = make_missing(&dir.0.join("secrets")).unwrap();
        assert_eq!(made.len(), 6);
        let folder = dir.0.join("secrets/playground");
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        for path in &made {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600, "{path:?}");
        }
        let before: Vec<_> = made.iter().map(|path| fs::read(path).unwrap()).collect();
        assert!(make_missing(&dir.0.join("secrets")).unwrap().is_empty());
        assert_eq!(before, made.iter().map(|path| fs::read(path).unwrap()).collect::<Vec<_>>());
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 6, "nothing is left aside");
    }

    #[test]
    fn a_missing_key_alone_is_made_and_a_torn_set_of_certificates_is_refused() {
        let dir = TempDir::new("certs-torn");
        make_missing(&dir.0).unwrap();
        let folder = dir.0.join(FOLDER);
        fs::remove_file(folder.join(HMAC_KEY)).unwrap();
        assert_eq!(make_missing(&dir.0).unwrap(), [folder.join(HMAC_KEY)]);
        fs::remove_file(folder.join("client.key")).unwrap();
        let error = make_missing(&dir.0).unwrap_err().to_string();
        assert!(error.contains("but not client.key"), "{error}");
        assert!(!folder.join("client.key").exists());
    }

    #[test]
    fn certificates_have_the_dates_names_and_serial_that_were_asked_for() {
        let validity = Validity {
            not_before: Timestamp::from_seconds(1_700_000_000),
            not_after: Timestamp::from_seconds(1_700_000_060),
        };
        let authority = Authority::new("test").unwrap();
        let pair = authority.client_within("worker 7", validity).unwrap();
        let (_, pem) = x509_parser::pem::parse_x509_pem(pair.certificate.as_bytes()).unwrap();
        let x509 = pem.parse_x509().unwrap();
        assert_eq!(x509.validity().not_before.timestamp(), 1_700_000_000);
        assert_eq!(x509.validity().not_after.timestamp(), 1_700_000_060);
        assert_eq!(x509.subject().iter_common_name().next().unwrap().as_str().unwrap(), "worker 7");
        assert_eq!(hex(x509.raw_serial()), pair.serial);
    }
}
