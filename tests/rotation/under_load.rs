//! Key and certificate rotate together forty times under load: nothing fails, nothing is mixed, nothing goes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use countersign::clock::SystemClock;
use countersign::playground::certs::{self, Pair};
use countersign::playground::rotate::Volume;
use countersign::playground::upstream::{Clients, Signature, Transport, Upstream, UpstreamConfig};
use countersign::secret::value::SecretBytes;

use crate::support::Setup;
use crate::support::wait::until;
use crate::support::worker::Worker;

const ROTATIONS: usize = 40;
const WORKERS: usize = 3;

/// One request of a worker.
#[derive(Debug)]
struct Sent {
    number: u64,
    began: Instant,
    ended: Instant,
    status: u16,
}

/// Sends one request after the other until it is told to stop.
async fn work(address: std::net::SocketAddr, numbers: Arc<AtomicU64>, stop: Arc<AtomicBool>) -> Vec<Sent> {
    let mut worker = Worker::tcp(address).await;
    let mut sent = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        let began = Instant::now();
        let request = match number % 2 {
            0 => format!("GET /?n={number} HTTP/1.1\r\nHost: api.test\r\n\r\n"),
            _ => format!("POST /?n={number} HTTP/1.1\r\nHost: api.test\r\nContent-Length: 2\r\n\r\n{{}}"),
        };
        let status = worker.exchange(request).await.status;
        sent.push(Sent { number, began, ended: Instant::now(), status });
    }
    sent
}

fn write(volume: &Volume, ca: &str, key: &str, pair: &Pair) {
    let files = [
        ("api/ca.crt", ca.as_bytes()),
        ("api/key", key.as_bytes()),
        ("api/tls.crt", pair.certificate.as_bytes()),
        ("api/tls.key", pair.key.as_bytes()),
    ];
    volume.write(&files).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forty_rotations_under_load_fail_nothing_mix_nothing_and_never_go_back() {
    let (ca, clients) = (certs::Authority::new("ca").unwrap(), certs::Authority::new("clients").unwrap());
    let server = ca.server(&["api.test"]).unwrap();
    let upstream = Upstream::start(UpstreamConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        transport: Transport::Tls {
            certificate: server.certificate,
            key: server.key,
            clients: Clients::SignedBy(vec![clients.certificate().to_owned()]),
        },
        signature: Signature::Hmac(Vec::new()),
        clock: Arc::new(SystemClock),
    })
    .await
    .unwrap();
    let address = upstream.address();
    let setup = Setup::new(format!(
        r#"
        [credential.sig.hmac]
        secret = "api/key"
        sign = "{{method}}\n{{target}}\n{{timestamp}}\n{{body|sha256|hex}}"
        set = {{ "X-Timestamp" = "{{timestamp}}", "X-Signature" = "{{signature}}" }}
        [[route]]
        name = "api"
        host = "api.test"
        upstream = "https://{address}"
        credential = "sig"
        tls = {{ client_cert = "api/tls.crt", client_key = "api/tls.key", ca = "api/ca.crt" }}
        "#
    ));
    let volume = Volume::new(setup.secrets_dir()).unwrap();
    let mut serials = Vec::new();
    let rotate = |serials: &mut Vec<String>| {
        let key = certs::random_key().unwrap();
        let pair = clients.client("worker").unwrap();
        upstream.accept_key(SecretBytes::new(key.clone().into_bytes()));
        write(&volume, ca.certificate(), &key, &pair);
        serials.push(pair.serial);
    };
    rotate(&mut serials);
    let proxy = setup.start().await;

    let (numbers, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let workers: Vec<_> =
        (0..WORKERS).map(|_| tokio::spawn(work(proxy.address, numbers.clone(), stop.clone()))).collect();
    let newest = |upstream: &Upstream| upstream.seen().iter().filter_map(|seen| seen.key).max();
    until("the first request", async || newest(&upstream) == Some(0)).await;
    for rotation in 1..=ROTATIONS {
        rotate(&mut serials);
        until("the new key in use", async || newest(&upstream) == Some(rotation)).await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut sent = Vec::new();
    for worker in workers {
        sent.extend(worker.await.unwrap());
    }

    let seen = upstream.seen();
    assert!(sent.len() > ROTATIONS * 2, "a load of {} requests", sent.len());
    let failed: Vec<_> = sent.iter().filter(|sent| sent.status != 200).collect();
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(seen.len(), sent.len(), "nothing was sent twice");
    let mut keys = vec![None; sent.len()];
    for one in &seen {
        assert_eq!(one.refused, None);
        let key = one.key.unwrap();
        assert_eq!(one.serial.as_deref(), Some(&*serials[key]), "key and certificate come from one generation");
        let number: usize = one.target.split("n=").nth(1).unwrap().parse().unwrap();
        keys[number] = Some(key);
    }
    never_back(sent, &keys);
}

/// What began after another request had ended has no older key than that one.
fn never_back(mut sent: Vec<Sent>, keys: &[Option<usize>]) {
    let key = |one: &Sent| keys[usize::try_from(one.number).unwrap()].unwrap();
    let mut by_end: Vec<(Instant, usize)> = sent.iter().map(|one| (one.ended, key(one))).collect();
    by_end.sort();
    sent.sort_by_key(|one| one.began);
    let (mut ended, mut newest) = (by_end.into_iter().peekable(), 0);
    for one in &sent {
        while let Some((_, key)) = ended.next_if(|(end, _)| *end < one.began) {
            newest = newest.max(key);
        }
        assert!(key(one) >= newest, "request {} has key {} after key {newest}", one.number, key(one));
    }
}
