//! The `demo` command: a partner on loopback, the proxy in front of it, a load through it, and
//! ten rotations of key and certificate meanwhile. Not one request may fail.
//!
//! What was seen is judged in [`verdict`]; the proxy is started by the caller's closure, so that
//! this file does not know how. Called by the command line, which prints.

pub mod verdict;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fs::{self, DirBuilder};
use std::future::Future;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use http::HeaderValue;
use tokio::time::{MissedTickBehavior, interval_at};

use crate::clock::SystemClock;
use crate::playground::certs::{Authority, Pair, random_key};
use crate::playground::load::{self, Load, Pace};
use crate::playground::rotate::Volume;
use crate::playground::upstream::{Clients, Signature, Transport, Upstream, UpstreamConfig};
use crate::secret::value::SecretBytes;
use verdict::{Outcome, Rotation};

/// The partner's name in its certificate and in the requests' Host.
const HOST: &str = "api.partner.example";
/// A replaced key is withdrawn by the partner this long after the swap, so that a proxy that holds
/// on to it fails visibly. A little more than [`verdict::PICKUP_LIMIT`], for requests in flight.
const WITHDRAWN_AFTER: Duration = Duration::from_millis(1200);
/// How long the proxy may take to start, and to stop.
const PATIENCE: Duration = Duration::from_secs(5);

/// The demo's `proxy.toml`; `UPSTREAM` stands for the partner's address.
const PROXY_TOML: &str = r#"
[listen]
proxy = ["127.0.0.1:0"]
admin = "127.0.0.1:0"

[log]
level = "warn"
access = "off"

[secrets]
dir = "secrets"

[credential.partner.hmac]
secret = "partner/hmac-key"
algorithm = "sha256"
encoding = "hex"
sign = "{method}\n{target}\n{timestamp}\n{body|sha256|hex}"
set = { "X-Timestamp" = "{timestamp}", "X-Signature" = "{signature}" }

[[route]]
name = "partner"
host = "api.partner.example"
upstream = "https://UPSTREAM"
credential = "partner"
tls = { client_cert = "partner/tls.crt", client_key = "partner/tls.key", ca = "partner/ca.crt" }
"#;

/// A proxy that runs in this process.
pub struct Running {
    /// Where workers send their requests.
    pub proxy: SocketAddr,
    /// The admin listener, if it is on.
    pub admin: Option<SocketAddr>,
    /// Stops the proxy; done when it has stopped.
    pub stop: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// How much is done.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How long the load lasts; rotations are spread over it, with one interval of quiet at each end.
    pub length: Duration,
    /// How often key and certificate are replaced.
    pub rotations: u32,
    /// Requests a second.
    pub rate: u32,
    /// The worker's connections.
    pub connections: usize,
}

impl Default for Plan {
    fn default() -> Self {
        Self { length: Duration::from_secs(6), rotations: 10, rate: 200, connections: 8 }
    }
}

/// Runs the demo in a temporary directory, which is removed at the end, on interruption too.
/// `start` gets the path of a `proxy.toml` and starts the proxy; `say` gets one line at a time.
pub async fn demo<S, F>(plan: Plan, start: S, mut say: impl FnMut(&str)) -> anyhow::Result<Outcome>
where
    S: FnOnce(PathBuf) -> F,
    F: Future<Output = anyhow::Result<Running>>,
{
    let dir = Scratch::new()?;
    tokio::select! {
        outcome = scenario(plan, dir.0.as_path(), start, &mut say) => outcome,
        _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
    }
}

async fn scenario<S, F>(plan: Plan, dir: &Path, start: S, say: &mut impl FnMut(&str)) -> anyhow::Result<Outcome>
where
    S: FnOnce(PathBuf) -> F,
    F: Future<Output = anyhow::Result<Running>>,
{
    let mut partner = Partner::start(dir, plan.rotations).await?;
    partner.rotate(0).await?;
    let address = partner.upstream.address();
    say(&format!("a partner on https://{address} demands a client certificate and a signature on every request"));

    let config = dir.join("proxy.toml");
    fs::write(&config, PROXY_TOML.replace("UPSTREAM", &address.to_string())).context("cannot write proxy.toml")?;
    let running = tokio::time::timeout(PATIENCE, start(config)).await.context("the proxy did not start in time")??;
    match running.admin {
        Some(admin) => say(&format!("the proxy on http://{}, its admin page on http://{admin}/", running.proxy)),
        None => say(&format!("the proxy on http://{}", running.proxy)),
    }

    say(&format!(
        "a worker without any secret sends {} requests a second on {} connections for {:.0?}",
        plan.rate, plan.connections, plan.length
    ));
    let traffic = tokio::spawn(load::run(traffic(&plan, running.proxy)));
    let rotations = partner.rotate_during(&plan, say).await?;
    let tally = traffic.await.context("the load broke off")?;
    if tokio::time::timeout(PATIENCE, running.stop).await.is_err() {
        say("the proxy did not stop in time");
    }
    let seen = partner.upstream.take_seen();
    Ok(verdict::judge(&tally, &seen, &rotations, &partner.serials))
}

fn traffic(plan: &Plan, proxy: SocketAddr) -> Load {
    Load {
        address: proxy,
        host: HeaderValue::from_static(HOST),
        path: "/v1/orders".to_owned(),
        body: Some(Bytes::from_static(br#"{"order":"1001","quantity":2}"#)),
        connections: plan.connections,
        pace: Pace::PerSecond(plan.rate),
        length: plan.length,
    }
}

/// The partner and the secrets that it hands out, one generation for each rotation and one before.
struct Partner {
    upstream: Upstream,
    volume: Arc<Volume>,
    authority: String,
    generations: Vec<Generation>,
    /// Serial number of a client certificate to its generation.
    serials: HashMap<String, usize>,
}

struct Generation {
    key: SecretBytes,
    pair: Arc<Pair>,
}

impl Partner {
    async fn start(dir: &Path, rotations: u32) -> anyhow::Result<Self> {
        let authority = Authority::new("countersign demo CA")?;
        let server = authority.server(&[HOST])?;
        let mut generations = Vec::new();
        let mut serials = HashMap::new();
        for number in 0..=rotations as usize {
            let pair = Arc::new(authority.client(&format!("demo-worker-{number}"))?);
            serials.insert(pair.serial.clone(), number);
            generations.push(Generation { key: SecretBytes::new(random_key()?.into_bytes()), pair });
        }
        let clients = Clients::SignedBy(vec![authority.certificate().to_owned()]);
        let upstream = Upstream::start(UpstreamConfig {
            listen: ([127, 0, 0, 1], 0).into(),
            transport: Transport::Tls { certificate: server.certificate, key: server.key, clients },
            signature: Signature::Hmac(Vec::new()),
            clock: Arc::new(SystemClock),
        });
        let upstream = upstream.await?;
        let volume = Arc::new(Volume::new(dir.join("secrets"))?);
        Ok(Self { upstream, volume, authority: authority.certificate().to_owned(), generations, serials })
    }

    /// The partner accepts the key first; then key, certificate and its key change in one swap.
    async fn rotate(&mut self, number: usize) -> anyhow::Result<Rotation> {
        let Generation { key, pair } = self.generations.get(number).context("no such generation")?;
        let (key, pair, authority) = (key.clone(), pair.clone(), self.authority.clone());
        self.upstream.accept_key(key.clone());
        let volume = self.volume.clone();
        let swapped = tokio::task::spawn_blocking(move || {
            volume.write(&[
                ("partner/hmac-key", key.expose()),
                ("partner/tls.crt", pair.certificate.as_bytes()),
                ("partner/tls.key", pair.key.as_bytes()),
                ("partner/ca.crt", authority.as_bytes()),
            ])
        });
        let at = swapped.await?.context("cannot write the secrets")?.context("nothing changed")?;
        Ok(Rotation { generation: number, at })
    }

    async fn rotate_during(&mut self, plan: &Plan, say: &mut impl FnMut(&str)) -> anyhow::Result<Vec<Rotation>> {
        let every = plan.length / (plan.rotations + 2);
        let mut ticks = interval_at((Instant::now() + every).into(), every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut done: Vec<Rotation> = Vec::new();
        for number in 1..=plan.rotations as usize {
            ticks.tick().await;
            self.report(done.last(), say);
            done.push(self.rotate(number).await?);
            for rotation in done.iter().filter(|rotation| rotation.at.elapsed() > WITHDRAWN_AFTER) {
                self.upstream.withdraw_key(rotation.generation - 1);
            }
        }
        ticks.tick().await;
        self.report(done.last(), say);
        Ok(done)
    }

    fn report(&self, rotation: Option<&Rotation>, say: &mut impl FnMut(&str)) {
        let Some(rotation) = rotation else { return };
        let number = rotation.generation;
        match verdict::pickup(rotation, &self.upstream.seen()) {
            Some(after) => say(&format!(
                "rotation {number}: key and certificate replaced in one swap, in use after {:.1} ms",
                after.as_secs_f64() * 1e3
            )),
            None => say(&format!("rotation {number}: key and certificate replaced in one swap, not in use yet")),
        }
    }
}

/// A directory of this run alone (mode 0700), removed when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> anyhow::Result<Self> {
        let mut random = [0; 8];
        let filled = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut random);
        filled.map_err(|_| anyhow::anyhow!("the operating system gave no random bytes"))?;
        let path = std::env::temp_dir().join(format!("countersign-demo-{:016x}", u64::from_be_bytes(random)));
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0); // nothing in it is of use to anyone after the run
    }
}
