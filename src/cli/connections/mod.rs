//! `connections` and `state`: what is in the store, shown and steered, with or without a running proxy. `connect` is
//! beside it, in [`super::connect`].

pub(crate) mod args;
mod export;
mod import;
mod lines;
pub(super) mod opened;
mod text;

use args::{ConnectionsArgs, ListArgs, RevokeArgs, StateArgs, StateVerb, Verb, Which};
use opened::{Opened, ended, open};

use super::args::{Format, Global};
use super::exit::{Ended, Exit};
use super::{small_runtime, terminal};
use crate::admin::Connections as _;
use crate::admin::connections::{ConnectionView, LIMIT_MAX, ListQuery, RevokedView, SEALED};

/// `connections ..`
pub(super) fn command(global: &Global, own: &ConnectionsArgs) -> anyhow::Result<Exit> {
    small_runtime()?.block_on(async {
        let opened = open(global).await?;
        let done = verb(global, &own.verb, &opened).await;
        opened.close().await;
        done
    })
}

async fn verb(global: &Global, verb: &Verb, opened: &Opened) -> anyhow::Result<Exit> {
    match verb {
        Verb::List(own) => list(global, own, opened).await,
        Verb::Show(which) => {
            let view = opened.steering.show(&which.credential, which.tenant()).await.map_err(|no| hinted(no, which))?;
            print(global, &view)
        }
        Verb::Refresh(which) => {
            let done = opened.steering.refresh(&which.credential, which.tenant()).await;
            print(global, &done.map_err(|no| hinted(no, which))?)
        }
        Verb::Revoke(own) => revoke(global, own, opened).await,
        Verb::Import(own) => import::import(global, own, opened).await,
        Verb::Export(own) => export::export(own, opened).await,
    }
}

/// `state ..`
pub(super) fn state(global: &Global, own: &StateArgs) -> anyhow::Result<Exit> {
    let StateVerb::Rekey = own.verb;
    small_runtime()?.block_on(async {
        let opened = open(global).await?;
        let rewritten = opened.steering.tokens().store().rekey().await;
        opened.close().await;
        let rewritten = rewritten.map_err(|error| ended(crate::server::connections::of_store(&error)))?;
        match global.format {
            Format::Json => terminal::json(&serde_json::json!({ "rewritten": rewritten }))?,
            Format::Text => terminal::data(&format!("{rewritten} sealed anew with the first key of [state] key\n")),
        }
        Ok(Exit::Fine)
    })
}

async fn list(global: &Global, own: &ListArgs, opened: &Opened) -> anyhow::Result<Exit> {
    let query = ListQuery {
        credential: own.credential.clone(),
        tenant: own.tenant.clone(),
        state: own.state.clone(),
        limit: own.limit,
        after: own.after.clone(),
    };
    let list = opened.steering.list(query).await.map_err(ended)?;
    match global.format {
        Format::Json => terminal::json(&list)?,
        Format::Text if list.connections.is_empty() => terminal::note("no connection"),
        Format::Text => {
            terminal::data(&text::table(&list.connections, opened.steering.tokens().now()));
            if let Some(next) = &list.next {
                terminal::note(&format!("more: --after {next}"));
            }
        }
    }
    let shut = list.connections.iter().filter(|view| view.reason == Some(SEALED)).count();
    if shut > 0 {
        let message = format!("the tokens of {shut} of these cannot be opened with any key of [state] key");
        return Err(Ended::new(Exit::Bad, message)
            .with_hint(
                "add the key that sealed them to [state] key; `connections revoke` and a new approval work without it",
            )
            .into());
    }
    Ok(Exit::Fine)
}

/// Prints one connection.
pub(super) fn print(global: &Global, view: &ConnectionView) -> anyhow::Result<Exit> {
    match global.format {
        Format::Json => terminal::json(view)?,
        Format::Text => terminal::data(&text::one(view)),
    }
    Ok(Exit::Fine)
}

/// What helps where somebody must act.
fn hinted(refused: crate::admin::connections::Refused, which: &Which) -> Ended {
    let ended = ended(refused);
    let tenant = which.tenant.as_deref().map(|tenant| format!(" --tenant {tenant}")).unwrap_or_default();
    match ended.exit {
        Exit::PersonMustAct => ended.with_hint(format!("countersign connect {}{tenant}", which.credential)),
        _ => ended,
    }
}

async fn revoke(global: &Global, own: &RevokeArgs, opened: &Opened) -> anyhow::Result<Exit> {
    let credential = &own.which.credential;
    if !own.all {
        let done = opened.steering.revoke(credential, own.which.tenant()).await.map_err(ended)?;
        match global.format {
            Format::Json => terminal::json(&done)?,
            Format::Text => terminal::data(&text::revoked(&[done])),
        }
        return Ok(Exit::Fine);
    }
    let done = revoke_all(credential, opened).await?;
    match global.format {
        Format::Json => terminal::json(&serde_json::json!({ "revoked": done }))?,
        Format::Text if done.is_empty() => terminal::note("no connection"),
        Format::Text => terminal::data(&text::revoked(&done)),
    }
    Ok(Exit::Fine)
}

/// All of a credential that are not revoked yet. What was ended stays ended if a later one fails.
async fn revoke_all(credential: &str, opened: &Opened) -> anyhow::Result<Vec<RevokedView>> {
    let mut done = Vec::new();
    let mut query = ListQuery { credential: Some(credential.to_owned()), limit: LIMIT_MAX, ..ListQuery::default() };
    loop {
        let page = opened.steering.list(query.clone()).await.map_err(ended)?;
        for view in page.connections.iter().filter(|view| view.state != "revoked") {
            let tenant = view.tenant.as_deref().unwrap_or_default();
            done.push(opened.steering.revoke(credential, tenant).await.map_err(ended)?);
        }
        let Some(next) = page.next else { return Ok(done) };
        query.after = Some(next);
    }
}
