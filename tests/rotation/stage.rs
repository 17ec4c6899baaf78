//! One proxy, one token, one upstream: what a scenario rotates, and how it looks at what came of it.

use std::path::{Path, PathBuf};

use super::{GET, bearer};
use crate::support::wait::until;
use crate::support::{Running, Upstream, files};

/// No polling: events must do.
pub(super) const EVENTS: &str = "poll = \"off\"";
/// No events: polling must do.
pub(super) const POLL: &str = "watch = \"poll\"\npoll = \"50ms\"";

/// Runs each scenario by events alone and by polling alone.
macro_rules! both_ways {
    ($($name:ident($mode:ident) $body:block)+) => {
        mod scenarios {
            use super::*;
            $(pub(super) async fn $name($mode: &str) $body)+
        }
        mod by_events {
            $(#[tokio::test]
            async fn $name() {
                super::scenarios::$name(crate::rotation::stage::EVENTS).await;
            })+
        }
        mod by_polling {
            $(#[tokio::test]
            async fn $name() {
                super::scenarios::$name(crate::rotation::stage::POLL).await;
            })+
        }
    };
}
pub(super) use both_ways;

pub(super) struct Stage {
    pub(super) upstream: Upstream,
    pub(super) proxy: Running,
}

impl Stage {
    /// A secrets directory as `prepare` makes it; the token is `partner/key`.
    pub(super) async fn prepared(mode: &str, prepare: impl FnOnce(&Path)) -> Self {
        let upstream = Upstream::ok().await;
        let setup = bearer(&upstream).secrets(mode);
        prepare(&setup.secrets_dir());
        Self { proxy: setup.start().await, upstream }
    }

    /// With a plain file that says `one`.
    pub(super) async fn plain(mode: &str) -> Self {
        Self::prepared(mode, |dir| files::write_new(dir, "partner/key", b"one")).await
    }

    pub(super) fn dir(&self) -> PathBuf {
        self.proxy.scratch.path("secrets")
    }

    pub(super) fn key(&self) -> PathBuf {
        self.proxy.secret("partner/key")
    }

    /// What the next request carries; a request that fails is a failure of the scenario.
    pub(super) async fn token(&self) -> String {
        let answer = self.proxy.raw(GET).await;
        assert_eq!(answer.status, 200, "no request fails because of a rotation: {answer:?}");
        self.upstream.last().head.header("authorization").unwrap().strip_prefix("Bearer ").unwrap().to_owned()
    }

    /// Waits until requests carry this value, and sees that they carry a whole one of these until then.
    pub(super) async fn serves(&self, value: &str, until_then: &[&str]) {
        until(value, async || {
            let token = self.token().await;
            assert!(token == value || until_then.contains(&&*token), "{token:?} is neither old nor new");
            token == value
        })
        .await;
        assert_eq!(self.proxy.health("k").await, "ok");
        assert_eq!(self.proxy.metric("countersign_credential_stale{credential=\"k\"}").await, 0.0);
    }

    /// Waits until the file is refused for this reason, and sees that the last good value goes on and nothing is unready.
    pub(super) async fn keeps(&self, value: &str, label: &str, words: &str) {
        until(label, async || {
            let row = self.proxy.credential("k").await;
            row["health"] == "stale" && row["reason"].as_str().unwrap().contains(words)
        })
        .await;
        let series =
            format!("countersign_secret_reloads_total{{credential=\"k\",result=\"error\",reason=\"{label}\"}}");
        assert!(self.proxy.metric(&series).await >= 1.0, "{label}");
        assert_eq!(self.proxy.metric("countersign_credential_stale{credential=\"k\"}").await, 1.0);
        assert_eq!(self.proxy.admin("/readyz").await.status, 200);
        assert_eq!(self.token().await, value);
    }

    /// How many new values were adopted.
    pub(super) async fn reloads(&self) -> f64 {
        self.proxy.metric("countersign_secret_reloads_total{credential=\"k\",result=\"ok\",reason=\"\"}").await
    }
}
