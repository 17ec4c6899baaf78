//! The request that a worker would send, made of the command line.

use std::io::Read as _;
use std::net::{IpAddr, SocketAddr};

use anyhow::Context as _;
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderValue, Request, Uri, Version};

use crate::cli::args::ExplainArgs;
use crate::cli::exit::{Ended, Exit};
use crate::config::model::{Config, ListenAddr};
use crate::proxy::inbound::is_loopback_name;
use crate::proxy::matching::{Entry, EntryKind, local_name};
use crate::snapshot::plan::Plan;

/// Largest body that is read, in bytes; what a route allows is asked later.
const BODY_LIMIT: u64 = 64 * 1024 * 1024;

/// A request and where it arrives.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) parts: Parts,
    pub(super) entry: Entry,
    pub(super) body: Vec<u8>,
}

impl Asked {
    /// A URL of this machine is what a worker calls (own port, prefix, localhost name, or another Host given); that of
    /// another host is an upstream's, and comes as through a forward proxy.
    pub(super) fn new(plan: &Plan, args: &ExplainArgs) -> anyhow::Result<Self> {
        let config = &plan.config;
        let uri: Uri = args.url.parse().map_err(|_| bad_url(&args.url))?;
        let (uri, host, entry) = match (uri.scheme_str(), uri.authority()) {
            (None, None) if args.url.starts_with('/') => (uri, None, shared(config, None)),
            (Some("http" | "https"), Some(authority)) => {
                let host = authority.host().to_ascii_lowercase();
                let authority = authority.clone();
                let here = is_loopback_name(&host, &config.listen.names)
                    || local_name(&host).is_some_and(|name| plan.table.knows(name));
                if here && !plan.table.knows(&host) {
                    (origin_form(&uri)?, Some(authority.clone()), arrival(config, &authority)?)
                } else {
                    (uri, Some(authority), shared(config, None))
                }
            }
            _ => return Err(bad_url(&args.url).into()),
        };
        let body = args.body.as_deref().map(read_body).transpose()?;
        let mut parts = Request::new(()).into_parts().0;
        (parts.method, parts.uri, parts.version) = (args.method.clone(), uri, Version::HTTP_11);
        for (name, value) in &args.headers {
            parts.headers.append(name.clone(), value.clone());
        }
        if let (Some(host), false) = (host, parts.headers.contains_key(HOST)) {
            parts.headers.insert(HOST, HeaderValue::from_str(host.as_str())?);
        }
        let framed = parts.headers.contains_key(CONTENT_LENGTH) || parts.headers.contains_key(TRANSFER_ENCODING);
        if let (Some(body), false) = (&body, framed) {
            parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        Ok(Self { parts, entry, body: body.unwrap_or_default() })
    }
}

fn bad_url(url: &str) -> Ended {
    Ended::new(Exit::Bad, format!("{url} is no URL that can be explained"))
        .with_hint("write https://HOST/PATH of an upstream, http://127.0.0.1:PORT/PATH, or /PATH with -H 'Host: HOST'")
}

fn origin_form(uri: &Uri) -> anyhow::Result<Uri> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Ok(path.parse()?)
}

/// The listener that a worker's URL reaches.
fn arrival(config: &Config, authority: &Authority) -> anyhow::Result<Entry> {
    let port = authority.port_u16().unwrap_or(80);
    let bare = authority.host().trim_start_matches('[').trim_end_matches(']');
    let ip = bare.parse::<IpAddr>().ok();
    let here = |address: &SocketAddr| {
        address.port() == port && ip.is_none_or(|ip| ip == address.ip() || address.ip().is_unspecified())
    };
    for route in &config.routes {
        if let Some(ListenAddr::Tcp(address)) = route.listen.as_ref()
            && here(address)
        {
            return Ok(Entry {
                address: ListenAddr::Tcp(*address),
                port: Some(port),
                kind: EntryKind::OwnPort(route.name.clone()),
            });
        }
    }
    let tcp =
        || config.listen.proxy.iter().filter_map(|one| if let ListenAddr::Tcp(tcp) = one { Some(tcp) } else { None });
    // Which port the system will give for port 0 cannot be known here.
    if tcp().any(|address| here(address) || address.port() == 0) {
        return Ok(shared(config, Some(port)));
    }
    let known: Vec<String> = tcp().map(ToString::to_string).collect();
    Err(Ended::new(Exit::Bad, format!("nothing listens on {authority} for workers"))
        .with_hint(format!("listen.proxy is {}", if known.is_empty() { "empty".to_owned() } else { known.join(", ") }))
        .into())
}

/// A listener for all routes.
fn shared(config: &Config, port: Option<u16>) -> Entry {
    let tcp = config.listen.proxy.iter().find_map(|one| if let ListenAddr::Tcp(tcp) = one { Some(*tcp) } else { None });
    let address = tcp.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)));
    Entry { address: ListenAddr::Tcp(address), port: port.or(Some(address.port())), kind: EntryKind::Shared }
}

fn read_body(text: &str) -> anyhow::Result<Vec<u8>> {
    let Some(path) = text.strip_prefix('@') else { return Ok(text.as_bytes().to_vec()) };
    let mut bytes = Vec::new();
    let read = match path {
        "-" => std::io::stdin().lock().take(BODY_LIMIT + 1).read_to_end(&mut bytes),
        path => std::fs::File::open(path).and_then(|file| file.take(BODY_LIMIT + 1).read_to_end(&mut bytes)),
    };
    read.with_context(|| format!("cannot read the body from {path}"))?;
    if bytes.len() as u64 > BODY_LIMIT {
        anyhow::bail!("the body is over {BODY_LIMIT} bytes");
    }
    Ok(bytes)
}
