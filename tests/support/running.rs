//! The proxy started within the test process, from the text of a `proxy.toml` in a directory of its own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use countersign::config;
use countersign::observe::Format;
use countersign::server::{Server, Start, StartError};
use serde_json::Value;

use super::Scratch;
use super::worker::{Answer, Worker};

/// What a scenario starts from. Ports are 0, access lines are off, secrets lie in `secrets/`.
pub(crate) struct Setup {
    pub(crate) scratch: Scratch,
    listen: String,
    secrets: String,
    rest: String,
}

/// A running proxy and its directory; both end with it.
pub(crate) struct Running {
    pub(crate) server: Server,
    pub(crate) scratch: Scratch,
    pub(crate) address: SocketAddr,
}

impl Setup {
    /// Everything after `[listen]` and `[secrets]`: routes, credentials, limits.
    pub(crate) fn new(rest: impl Into<String>) -> Self {
        let scratch = Scratch::new();
        std::fs::create_dir_all(scratch.path("secrets")).unwrap();
        Self { scratch, listen: r#"proxy = ["127.0.0.1:0"]"#.into(), secrets: String::new(), rest: rest.into() }
    }

    /// Other lines below `[listen]`; `admin` is set anyway.
    pub(crate) fn listen(mut self, lines: &str) -> Self {
        lines.clone_into(&mut self.listen);
        self
    }

    /// Lines below `[secrets]`; `dir` is set anyway.
    pub(crate) fn secrets(mut self, lines: &str) -> Self {
        lines.clone_into(&mut self.secrets);
        self
    }

    /// A file below the secrets directory, replaceable by every means.
    pub(crate) fn secret(self, name: &str, bytes: impl AsRef<[u8]>) -> Self {
        super::files::write_new(&self.secrets_dir(), name, bytes.as_ref());
        self
    }

    /// More tables at the end.
    pub(crate) fn add(mut self, more: &str) -> Self {
        self.rest.push_str(more);
        self
    }

    /// In the directory of an earlier proxy, with the secrets of both.
    pub(crate) fn in_folder(mut self, folder: Scratch) -> Self {
        self.scratch = folder;
        self
    }

    pub(crate) fn secrets_dir(&self) -> PathBuf {
        self.scratch.path("secrets")
    }

    /// The text of `proxy.toml`.
    pub(crate) fn text(&self, rest: &str) -> String {
        format!(
            "[listen]\n{}\nadmin = \"127.0.0.1:0\"\n\n[log]\naccess = \"off\"\n\n[secrets]\ndir = \"secrets\"\n{}\n\n{rest}",
            self.listen, self.secrets
        )
    }

    pub(crate) async fn try_start(self) -> Result<Running, StartError> {
        let path = self.scratch.path("proxy.toml");
        std::fs::write(&path, self.text(&self.rest)).unwrap();
        let loaded = config::load(&path);
        let texts: Vec<String> = loaded.diagnostics.iter().map(|one| one.render(&loaded.source)).collect();
        let config = loaded.config.unwrap_or_else(|| panic!("{}", texts.join("\n")));
        let server = Server::start(Start { config, path, overrides: Arc::new(|_| {}), format: Format::Json }).await?;
        // Without a shared port a scenario uses its own addresses.
        let address = server.address.unwrap_or(([127, 0, 0, 1], 0).into());
        Ok(Running { server, scratch: self.scratch, address })
    }

    pub(crate) async fn start(self) -> Running {
        match self.try_start().await {
            Ok(running) => running,
            Err(error) => panic!("{error}"),
        }
    }
}

impl Running {
    /// A new connection of a worker.
    pub(crate) async fn worker(&self) -> Worker {
        Worker::tcp(self.address).await
    }

    /// One request with the bytes as they are, on a connection of its own.
    pub(crate) async fn raw(&self, bytes: impl AsRef<[u8]>) -> Answer {
        self.worker().await.exchange(bytes).await
    }

    /// `GET target` with this Host, on a connection of its own.
    pub(crate) async fn get(&self, host: &str, target: &str) -> Answer {
        self.raw(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await
    }

    /// `POST target` with this Host and body, on a connection of its own.
    pub(crate) async fn post(&self, host: &str, target: &str, body: &str) -> Answer {
        let length = body.len();
        self.raw(format!("POST {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n{body}")).await
    }

    /// A file below the secrets directory.
    pub(crate) fn secret(&self, name: &str) -> PathBuf {
        self.scratch.path("secrets").join(name)
    }

    /// An answer of the admin listener.
    pub(crate) async fn admin(&self, target: &str) -> Answer {
        let address = self.server.admin.unwrap();
        let request = format!("GET {target} HTTP/1.1\r\nHost: {address}\r\n\r\n");
        Worker::tcp(address).await.exchange(request).await
    }

    pub(crate) async fn admin_json(&self, target: &str) -> Value {
        let answer = self.admin(target).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        serde_json::from_slice(&answer.body).unwrap()
    }

    /// The value of one metric with exactly these labels, `name{label="value"}`; 0 where it is not shown.
    pub(crate) async fn metric(&self, series: &str) -> f64 {
        let text = String::from_utf8(self.admin("/metrics").await.body).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    /// A row of `/api/credentials`.
    pub(crate) async fn credential(&self, name: &str) -> Value {
        let all = self.admin_json("/api/credentials").await;
        let rows = all["credentials"].as_array().unwrap();
        rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("no {name} in {all}")).clone()
    }

    pub(crate) async fn health(&self, name: &str) -> String {
        self.credential(name).await["health"].as_str().unwrap().to_owned()
    }

    /// The real address of a listener of this kind.
    pub(crate) fn listener(&self, kind: &str) -> SocketAddr {
        let found = self.server.listeners.iter().find(|listener| listener.kind == kind);
        found.unwrap().address.parse().unwrap()
    }
}
