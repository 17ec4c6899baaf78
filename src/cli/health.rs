//! `health`: asks the running proxy whether it is ready, for exec probes of those who listen on loopback only.

use std::time::Duration;

use http::{StatusCode, Uri};

use super::args::{Format, Global};
use super::exit::{Ended, Exit};
use super::status::{reachable, refused};
use super::{small_runtime, source, terminal};
use crate::control::Control;

/// Under the second that a kubelet gives a probe by default (probe v1, `timeoutSeconds`).
const PATIENCE: Duration = Duration::from_millis(900);
/// The answer is a few lines.
const ANSWER_LIMIT: usize = 1024 * 1024;

/// Asks and says the one word.
pub(super) fn command(global: &Global) -> anyhow::Result<Exit> {
    let config = source::config(global)?;
    let Some(address) = config.listen.health.or(config.listen.admin) else {
        return Err(Ended::new(Exit::Bad, "there is no listener to ask: [listen] has no health, and admin is off")
            .with_hint("give [listen] a health or an admin address")
            .into());
    };
    let address = reachable(address)?;
    let (status, body) = small_runtime()?.block_on(async {
        let control = Control::new(PATIENCE, ANSWER_LIMIT)?;
        let uri: Uri = format!("http://{address}/readyz").parse()?;
        control.ask(uri, None).await.map_err(|error| refused(error, address))
    })?;
    let ready = status == StatusCode::OK;
    let said = terminal::harmless(&String::from_utf8_lossy(&body));
    match global.format {
        Format::Json => terminal::json(&serde_json::json!({ "ready": ready, "answer": said.trim_end() }))?,
        Format::Text => terminal::data(&said),
    }
    Ok(if ready { Exit::Fine } else { Exit::Bad })
}
