//! `countersign ca`.

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
        "HTTPS_PROXY",
    ] {
        assert!(rest.contains(word), "{word}");
    }
    let shown = countersign(&folder, &["ca", "--format", "json"]).json();
    assert_eq!(shown["pem"], pem);
}
