//! `ca`: the certificate that workers have to trust, and the lines that make shells and languages do so.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde::Serialize;

use super::args::{CaArgs, Format, Global};
use super::exit::{Ended, Exit};
use super::{source, terminal};
use crate::config::intercept::CERTIFICATE_FILE;
use crate::config::model::{AuthoritySource, Config, ListenAddr};
use crate::observe::line::time_text;
use crate::secret::value::{BadReason, SecretBytes};
use crate::tls::{Chain, validity};

/// The CA, for programs.
#[derive(Serialize)]
struct Shown {
    pem: String,
    file: PathBuf,
    expires_at: Option<String>,
}

/// Prints it.
pub(super) fn command(global: &Global, own: &CaArgs) -> anyhow::Result<Exit> {
    let config = source::config(global)?;
    let Some(intercept) = &config.intercept else {
        return Err(Ended::new(
            Exit::Bad,
            "interception is off: the configuration has no [intercept], or enabled = false",
        )
        .with_hint("add [intercept] with enabled = true; docs/INTERCEPTION.md says what it is for")
        .into());
    };
    let file = match &intercept.authority {
        AuthoritySource::Made { dir, .. } => dir.join(CERTIFICATE_FILE),
        AuthoritySource::Secrets { cert, .. } => config.secrets.dir.join(cert.value.as_str()),
    };
    let bytes = std::fs::read(&file).map_err(|error| absent(&intercept.authority, &file, &error))?;
    let chain = Chain::parse(&SecretBytes::new(bytes)).map_err(|reason| bad(&file, &reason))?;
    let pem: String = chain.certificates().iter().map(|der| pem_of(der)).collect();
    let expires_at = validity(&chain.certificates()[0]).ok().map(|validity| time_text(validity.not_after));
    match global.format {
        Format::Json => terminal::json(&Shown { pem, file, expires_at })?,
        Format::Text if own.pem => terminal::data(&pem),
        Format::Text => {
            let expires = expires_at.unwrap_or_default();
            terminal::data(&format!("{pem}{}", lines(&config, &file.display().to_string(), &expires)));
        }
    }
    Ok(Exit::Fine)
}

fn absent(authority: &AuthoritySource, file: &std::path::Path, error: &std::io::Error) -> Ended {
    let hint = match authority {
        AuthoritySource::Made { .. } => "it is made when `countersign run` starts for the first time",
        AuthoritySource::Secrets { .. } => "put the CA's certificate there: ca_cert of [intercept] names it",
    };
    Ended::new(Exit::Bad, format!("there is no CA yet: cannot read {}: {error}", file.display())).with_hint(hint)
}

fn bad(file: &std::path::Path, reason: &BadReason) -> Ended {
    Ended::new(Exit::Bad, format!("{} is no certificate: {reason}", file.display()))
}

/// Certificates alone, also where the file holds the key as well.
fn pem_of(der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut out = "-----BEGIN CERTIFICATE-----\n".to_owned();
    for line in text.as_bytes().chunks(64) {
        out.push_str(&String::from_utf8_lossy(line));
        out.push('\n');
    }
    out + "-----END CERTIFICATE-----\n"
}

/// What to write into which environment. Every line is a comment of shells, and of PEM readers too.
fn lines(config: &Config, file: &str, expires: &str) -> String {
    let proxy = config.listen.proxy.iter().find_map(|address| match address {
        ListenAddr::Tcp(address) => Some(address.to_string()),
        ListenAddr::Unix(_) => None,
    });
    let proxy = proxy.unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let mut out = String::new();
    let mut say = |line: &str| {
        let _ = writeln!(out, "{}", format!("# {line}").trim_end()); // writing to a String cannot fail
    };
    let bundle = "$HOME/with-countersign.pem";
    for line in [
        format!("The CA of countersign's interception, valid until {expires}. It vouches for the hosts of the routes alone."),
        format!("In the worker's environment (FILE is {file}, or a copy that the worker can read):"),
        String::new(),
        format!("  export HTTPS_PROXY=http://{proxy}        # curl reads it too; hosts without a route are refused:"),
        "  export NO_PROXY=localhost,127.0.0.1     # name here what the worker reaches without countersign".to_owned(),
        String::new(),
        "These replace the public CAs. A worker that also calls hosts without countersign takes a bundle of both instead:".to_owned(),
        format!("  cat /etc/ssl/certs/ca-certificates.crt {file} > {bundle}"),
        String::new(),
        format!("  curl                      curl --proxy http://{proxy} --cacert {file} https://...   or  export CURL_CA_BUNDLE={file}"),
        format!("  Python requests           export REQUESTS_CA_BUNDLE={file}"),
        format!("  Python httpx, ssl, aiohttp  export SSL_CERT_FILE={file}"),
        "  Python with certifi only  pass verify=\"FILE\" to the client, or append FILE to `python -m certifi`".to_owned(),
        format!("  Node                      export NODE_EXTRA_CA_CERTS={file}   (adds to the public ones; HTTPS_PROXY by an agent, or NODE_USE_ENV_PROXY=1 from Node 24)"),
        format!("  Go                        export SSL_CERT_FILE={file}"),
        format!("  Ruby                      export SSL_CERT_FILE={file} http_proxy=http://{proxy}   (net/http does not read HTTPS_PROXY, but this one for https too)"),
        format!("  PHP                       php -d curl.cainfo={file} -d openssl.cafile={file}"),
        format!("  Java                      keytool -importcert -noprompt -cacerts -storepass changeit -alias countersign -file {file}"),
        "                            and -Dhttps.proxyHost=HOST -Dhttps.proxyPort=PORT, which Java does not read from the environment".to_owned(),
        format!("  .NET, OpenSSL             export SSL_CERT_FILE={file}"),
        format!("  AWS SDKs and CLI          export AWS_CA_BUNDLE={file}"),
        format!("  git                       git config --global http.sslCAInfo {file}"),
        format!("  Debian, Ubuntu images     cp {file} /usr/local/share/ca-certificates/countersign.crt && update-ca-certificates"),
    ] {
        say(&line);
    }
    out
}
