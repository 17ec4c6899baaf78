//! CONNECT: refused, or answered with 200 and TLS that ends here. Never a tunnel to anywhere.

use std::sync::{Arc, Mutex, PoisonError};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

use crate::observe::Outcome;
use crate::proxy::answer::WorkerAnswer;
use crate::proxy::callers::{self, Arrival, Peer};
use crate::proxy::failure::{Failure, Then};
use crate::proxy::live::Live;
use crate::proxy::matching::{EntryKind, Inside};
use crate::proxy::tally::Tally;
use crate::proxy::{Proxy, inbound, request};
use crate::snapshot::authority::NAME;

/// An accepted CONNECT, once its 200 was written.
pub struct Opened {
    /// The name that TLS is to end for.
    pub inside: Inside,
    /// Who is calling, with the proof that came here.
    pub peer: Peer,
    /// The connection as it was before HTTP.
    pub stream: OnUpgrade,
}

/// Where the service of a connection leaves it for the connection.
#[derive(Clone, Default)]
pub struct Slot(Arc<Mutex<Option<Opened>>>);

impl Slot {
    /// Takes out what was accepted.
    pub fn take(&self) -> Option<Opened> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put(&self, accepted: Opened) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(accepted);
    }
}

/// Answers a CONNECT. A refused one ends the connection: what follows it may be anything. An accepted one has no access
/// line of its own; the requests inside have.
pub fn answer(
    proxy: &Arc<Proxy>,
    arrival: &Arrival,
    mut connect: Request<Incoming>,
    slot: &Slot,
) -> Response<WorkerAnswer> {
    let live = proxy.live.load_full();
    let upgrade = hyper::upgrade::on(&mut connect);
    let (parts, _body) = connect.into_parts();
    match decide(proxy, &live, arrival, &parts) {
        Ok(inside) => {
            let peer = arrival.peer.within(&parts.headers);
            slot.put(Opened { inside, peer, stream: upgrade });
            Response::new(WorkerAnswer::nothing())
        }
        Err(failure) => {
            let tally = Box::new(Tally::start(proxy.clone(), live.clone(), &parts.method, &parts.uri));
            request::refuse(Failure { then: Then::Close, ..failure }, &live, tally)
        }
    }
}

fn decide(proxy: &Proxy, live: &Live, arrival: &Arrival, parts: &http::request::Parts) -> Result<Inside, Failure> {
    let plan = &live.snapshot.plan;
    let (host, port) = inbound::read_connect(parts, &plan.config.limits)?;
    if inbound::has_passed(&parts.headers, &proxy.via) {
        return Err(Failure::new(Outcome::Loop, "the request has already passed through this proxy"));
    }
    let Some(intercept) = &live.snapshot.authority else {
        return Err(Failure::no_route("CONNECT: this proxy opens no tunnels, and interception is off ([intercept])"));
    };
    match &arrival.entry.kind {
        EntryKind::Shared => {}
        EntryKind::OwnPort(route) => {
            let why = format!("CONNECT: this port belongs to route {route}; use one of [listen] proxy");
            return Err(Failure::no_route(why));
        }
        EntryKind::TlsByName | EntryKind::Inside(_) => {
            return Err(Failure::no_route("CONNECT inside TLS that is already intercepted"));
        }
    }
    if !plan.table.knows(&host) {
        return Err(Failure::no_route(format!("no route has the host {host}, and this proxy opens no tunnels")));
    }
    if !plan.table.takes_port(&host, port) {
        return Err(Failure::no_route(format!("no route of host {host} has the port {port}")));
    }
    callers::admit_connect(&plan.config, &host, (parts, &arrival.peer))?;
    let Some(ca) = &intercept.authority else {
        let why = intercept.part.bad.as_ref().map(|(secret, reason)| format!("secret {secret}: {reason}"));
        let why = format!("the CA of interception has no usable value: {}", why.unwrap_or_default());
        return Err(Failure { credential: Some(NAME.to_owned()), ..Failure::new(Outcome::CredentialUnavailable, why) });
    };
    if !ca.permits(&host) {
        return Err(Failure::no_route(format!(
            "the CA of interception may not vouch for {host}: its route is newer than the CA; a restart makes a new one"
        )));
    }
    Ok(Inside { host: host.into_owned(), port: Some(port) })
}
