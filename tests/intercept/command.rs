//! `countersign ca`.

use countersign::clock::{Clock as _, SystemClock};
use countersign::tls::{Authority, Subtree};

use super::ca;
use crate::support::{Scratch, countersign};

const CONFIG: &str = "[listen]\nproxy = [\"127.0.0.1:0\"]\nadmin = \"off\"\n[secrets]\ndir = \"secrets\"\n[intercept]\nephemeral = true\n\
[[route]]\nname = \"api\"\nhost = \"api.test\"\ncredential = \"none\"\n";

#[test]
fn it_is_off_or_not_there_yet() {
    let scratch = Scratch::with("", &[]);
    let ran = countersign(&scratch.path(""), &["ca"]);
    assert_eq!(ran.status, 1);
    assert!(ran.err.contains("interception is off") && ran.err.contains("hint: add [intercept]"), "{}", ran.err);
    std::fs::write(scratch.path("proxy.toml"), CONFIG).unwrap();
    let ran = countersign(&scratch.path(""), &["ca"]);
    assert_eq!((ran.status, ran.out.as_str()), (1, ""));
    assert!(ran.err.contains("there is no CA yet"), "{}", ran.err);
}

#[tokio::test]
async fn it_prints_the_certificate_and_how_to_trust_it() {
    let scratch = Scratch::with(CONFIG, &[]);
    std::fs::create_dir_all(scratch.path("secrets")).unwrap();
    let program = crate::support::child::Program::run(&scratch, &[]);
    program.said("\"listening\"").await;
    let folder = scratch.path("");
    let pem = String::from_utf8(ca(&folder)).unwrap().replace('\r', "");
    let ran = countersign(&folder, &["ca", "--pem"]);
    assert_eq!((ran.status, ran.out.as_str()), (0, pem.as_str()));
    let ran = countersign(&folder, &["ca"]);
    let rest = ran.out.strip_prefix(&pem).unwrap();
    assert!(rest.lines().all(|line| line.starts_with('#')), "{rest}");
    for word in [
        "--cacert",
        "REQUESTS_CA_BUNDLE",
        "SSL_CERT_FILE",
        "NODE_EXTRA_CA_CERTS",
        "keytool",
        "AWS_CA_BUNDLE",
        "http.sslCAInfo",
        "curl.cainfo",
        "Ruby",
        "http_proxy=",
        "HTTPS_PROXY",
    ] {
        assert!(rest.contains(word), "{word}");
    }
    let shown = countersign(&folder, &["ca", "--format", "json"]).json();
    assert_eq!(shown["pem"], pem);
}

#[test]
fn a_key_in_the_same_file_is_never_printed() {
    let names = [Subtree::of("api.test")].into();
    let made = Authority::make(&names, SystemClock.now()).unwrap();
    let key = std::str::from_utf8(made.key.expose()).unwrap();
    let config = CONFIG.replace("ephemeral = true", "ca_cert = \"ca.pem\"\nca_key = \"ca.pem\"");
    let scratch = Scratch::with(&config, &[("ca.pem", &(key.to_owned() + &made.certificate))]);
    let ran = countersign(&scratch.path(""), &["ca", "--pem"]);
    assert_eq!((ran.status, ran.out.as_str()), (0, made.certificate.replace('\r', "").as_str()));
    let checked = countersign(&scratch.path(""), &["check", "--format", "json"]).json();
    let row = &checked["secrets"][0];
    assert_eq!((row["credential"].as_str(), row["ok"].as_bool()), (Some("intercept/ca"), Some(true)), "{checked}");
    assert!(row["expires_at"].is_string());
}

#[test]
fn check_says_that_a_certificate_is_not_a_cas() {
    let pair = countersign::playground::certs::Authority::new("x").unwrap().server(&["api.test"]).unwrap();
    let config = CONFIG.replace("ephemeral = true", "ca_cert = \"ca.crt\"\nca_key = \"ca.key\"");
    let scratch = Scratch::with(&config, &[("ca.crt", &pair.certificate), ("ca.key", &pair.key)]);
    let ran = countersign(&scratch.path(""), &["check"]);
    assert_eq!(ran.status, 1);
    assert!(ran.err.contains("the secret ca.crt cannot be used: the certificate is not a CA's"), "{}", ran.err);
    assert!(ran.err.contains("[intercept] needs it"), "{}", ran.err);
}
