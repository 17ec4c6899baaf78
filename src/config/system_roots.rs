//! The platform's own CA certificates: `[tls] roots = "system"`. Read when the configuration is.
//!
//! `SSL_CERT_FILE` and `SSL_CERT_DIR` as OpenSSL has them, else the first place of the well-known
//! ones that holds a certificate. Not a secret: public certificates in public files.

use std::path::{Path, PathBuf};

use crate::tls::Roots;

/// Where distributions keep all of them in one file.
const FILES: [&str; 7] = [
    "/etc/ssl/certs/ca-certificates.crt", // Debian, Ubuntu, Alpine, Arch, distroless
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // Fedora, RHEL
    "/etc/pki/tls/certs/ca-bundle.crt",   // older Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",             // openSUSE
    "/etc/ssl/cert.pem",                  // Alpine, the BSDs, macOS
    "/etc/pki/tls/cacert.pem",            // OpenELEC
    "/opt/etc/ssl/certs/ca-certificates.crt", // Entware
];
/// Where they are one file each.
const FOLDER: &str = "/etc/ssl/certs";
/// Largest file that is read, in bytes; the usual bundle has 220 KiB.
const FILE_LIMIT: u64 = 16 << 20;
/// Files of a folder that are read at most.
const FOLDER_LIMIT: usize = 4096;

/// The roots of the platform; else the places that were looked at.
pub(super) fn read() -> Result<Roots, String> {
    let (file, folder) = (from_environment("SSL_CERT_FILE"), from_environment("SSL_CERT_DIR"));
    if file.is_some() || folder.is_some() {
        let named = file.iter().chain(&folder).map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
        let files: Vec<Vec<u8>> =
            file.iter().filter_map(|path| content(path)).chain(folder.iter().flat_map(|path| below(path))).collect();
        return usable(&files).ok_or(format!("{named} (SSL_CERT_FILE, SSL_CERT_DIR)"));
    }
    let whole = FILES.iter().find_map(|path| usable(&[content(Path::new(path))?]));
    let found = whole.or_else(|| usable(&below(Path::new(FOLDER))));
    found.ok_or_else(|| format!("{}, {FOLDER}", FILES.join(", ")))
}

#[allow(clippy::disallowed_methods)] // names of public files that every TLS program on the system reads, no secret
fn from_environment(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn usable(files: &[Vec<u8>]) -> Option<Roots> {
    let roots = Roots::of_platform(files.iter().map(Vec::as_slice));
    (!roots.is_empty()).then_some(roots)
}

fn content(path: &Path) -> Option<Vec<u8>> {
    let meta = std::fs::metadata(path).ok()?;
    if meta.is_file() && meta.len() <= FILE_LIMIT { std::fs::read(path).ok() } else { None }
}

/// Every file of a folder, in the order of names, so that the same folder gives the same roots.
fn below(folder: &Path) -> Vec<Vec<u8>> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.take(FOLDER_LIMIT).filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    paths.iter().filter_map(|path| content(path)).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::playground::certs::Authority;

    #[test]
    fn what_cannot_be_used_is_skipped() {
        let (one, two) = (Authority::new("one").unwrap(), Authority::new("two").unwrap());
        let odd = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let bundle = format!("# a comment\n{}{odd}{}", one.certificate(), two.certificate());
        assert_eq!(usable(&[bundle.into_bytes()]).unwrap().len(), 2);
        assert!(usable(&[odd.as_bytes().to_vec()]).is_none());
        assert!(usable(&[b"no PEM at all".to_vec()]).is_none());
    }
}
