//! A request that began before its identity was replaced may still open a connection with the old one. It resumes no
//! session of it: the handshake is a whole one, whatever protocol is spoken.

use countersign::playground::certs::Pair;
use countersign::playground::rotate::Volume;
use h2::server::Builder;

use crate::support::http2::{Exchange, Http2};
use crate::support::pki::{self, Clients, server};
use crate::support::wait::until;
use crate::support::worker::Worker;
use crate::support::{Running, Setup, Upstream};

/// Serial number of the client's certificate and whether its session was resumed, of the newest request.
type Newest<'u> = &'u dyn Fn() -> (Option<String>, bool);

/// The signature covers the body, so that a request waits for its end before it connects. No connection is used twice.
fn setup(url: &str, pool: &str) -> Setup {
    Setup::new(format!(
        "[credential.k.hmac]\nsecret = \"key\"\nalgorithm = \"sha256\"\nencoding = \"hex\"\n\
         sign = \"{{body|sha256|hex}}\"\nset = {{ \"X-Signature\" = \"{{signature}}\" }}\n\
         [[route]]\nname = \"api\"\nhost = \"api.test\"\nupstream = \"{url}\"\ncredential = \"k\"\n{pool}\n\
         tls = {{ client_cert = \"tls/client.crt\", client_key = \"tls/client.key\", ca = \"ca.crt\" }}\n"
    ))
    .secret("key", "key")
}

fn write(secrets: &std::path::Path, pair: &Pair) {
    let files = [("client.crt", pair.certificate.as_bytes()), ("client.key", pair.key.as_bytes())];
    Volume::new(secrets.join("tls")).unwrap().write(&files).unwrap();
}

async fn get(proxy: &Running) {
    let answer = proxy.get("api.test", "/").await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// A request whose body is awaited: it holds the snapshot of now and has no connection yet.
async fn begun(proxy: &Running) -> Worker {
    let mut late = proxy.worker().await;
    late.send("POST /late HTTP/1.1\r\nHost: api.test\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n").await;
    assert_eq!(late.head().await.unwrap().status(), 100);
    late
}

async fn late_request_resumes_nothing(proxy: Running, one: &Pair, two: &Pair, newest: Newest<'_>) {
    get(&proxy).await;
    get(&proxy).await;
    assert_eq!(newest(), (Some(one.serial.clone()), true), "sessions of the identity in use are resumed");
    let mut late = begun(&proxy).await;
    write(&proxy.scratch.path("secrets"), two);
    until("the new certificate", async || {
        get(&proxy).await;
        newest().0.as_ref() == Some(&two.serial)
    })
    .await;
    late.send("hi").await;
    assert_eq!(late.answer().await.status, 200);
    assert_eq!(newest(), (Some(one.serial.clone()), false), "with the identity that it began with, anew");
    get(&proxy).await;
    assert_eq!(newest(), (Some(two.serial.clone()), true));
}

#[tokio::test]
async fn a_request_that_began_before_the_swap_resumes_no_session_of_the_old_identity() {
    let (ca, clients) = (pki::authority("ca"), pki::authority("clients"));
    let upstream = Upstream::tls(server(&ca, Clients::Of(clients.certificate()))).await;
    let (one, two) = (clients.client("one").unwrap(), clients.client("two").unwrap());
    let setup = setup(&upstream.url(), "timeouts = { pool = \"0s\" }").secret("ca.crt", ca.certificate());
    write(&setup.secrets_dir(), &one);
    let newest = || {
        let peer = upstream.last().peer;
        (peer.serial, peer.resumed)
    };
    late_request_resumes_nothing(setup.start().await, &one, &two, &newest).await;
}

#[tokio::test]
async fn over_http_2_a_request_that_began_before_the_swap_resumes_no_session_either() {
    let (ca, clients) = (pki::authority("ca"), pki::authority("clients"));
    let config = server(&ca, Clients::Of(clients.certificate()));
    let upstream = Http2::serving(&config, &Builder::new(), |Exchange { mut respond, .. }| async move {
        respond.send_response(http::Response::new(()), true).unwrap();
    })
    .await;
    let (one, two) = (clients.client("one").unwrap(), clients.client("two").unwrap());
    let url = format!("https://{}", upstream.address);
    let setup = setup(&url, "timeouts = { pool = \"0s\" }").secret("ca.crt", ca.certificate());
    write(&setup.secrets_dir(), &one);
    let newest = || {
        let seen = upstream.seen().pop().unwrap();
        (seen.serial, seen.resumed)
    };
    late_request_resumes_nothing(setup.start().await, &one, &two, &newest).await;
}
