//! For which tenant a request is: from the host, a header, the query, the path, or what stands where a secret belongs.
//!
//! Who may ask for a tenant is `callers`' question. Callers: `ready`, `callers`, `stand_in`.

use http::request::Parts;

use super::failure::Failure;
use super::matching::Matched;
use crate::config::model::{Route, TenantSource};
use crate::observe::Outcome;
use crate::route::table::has_dot_segment;
use crate::route::tenant::{Spoken, is_tenant, spoken};
use crate::sign::spoken::{query_values, texts};
use crate::snapshot::plan::Plan;

/// The tenant of a request, where its route asks for one. Reads slots before they are emptied.
pub fn find(plan: &Plan, matched: &Matched<'_>, parts: &Parts) -> Result<Option<String>, Failure> {
    let route = &plan.config.routes[matched.route];
    let Some(source) = &route.tenant else { return Ok(None) };
    let found = match source {
        TenantSource::Capture(name) => {
            matched.captures.iter().filter(|(n, _)| n == name).map(|(_, value)| value.clone()).collect()
        }
        TenantSource::Header(name) => {
            // Bytes that are no text become characters that no tenant has.
            let lines = parts.headers.get_all(name).iter();
            lines.map(|line| String::from_utf8_lossy(line.as_bytes()).into_owned()).collect()
        }
        TenantSource::Query(name) => query_values(parts.uri.query().unwrap_or_default(), name),
        TenantSource::Path(number) => segment(&parts.uri.path()[matched.cut..], *number)?,
        TenantSource::Slot => {
            let credentials = route.credentials.iter().map(|&index| &plan.config.credentials[index]);
            let all = credentials.flat_map(|one| texts(&one.signer, &parts.headers, parts.uri.query()));
            return in_slots(route, all.collect()).map(Some);
        }
    };
    only(route, found).map(Some)
}

/// Of what stands in slots: marked texts win over all others, which may be an SDK's own constants.
pub(super) fn in_slots(route: &Route, texts: Vec<String>) -> Result<String, Failure> {
    let (mut marked, mut bare) = (Vec::new(), Vec::new());
    for text in &texts {
        match spoken(text) {
            Spoken::Marked(name) => marked.push(name.to_owned()),
            Spoken::Bare(name) => bare.push(name.to_owned()),
        }
    }
    only(route, if marked.is_empty() { bare } else { marked })
}

/// What a log may say of a failure. A worker that still sends its real secret names with it a tenant whose file is not
/// there; the worker gets its own words back, the log does not get them.
pub fn loggable<'f>(route: Option<&Route>, failure: &'f Failure) -> &'f str {
    let from_slot = route.is_some_and(|route| route.tenant == Some(TenantSource::Slot));
    let about_tenant = [Outcome::CredentialUnavailable, Outcome::Reauthorize, Outcome::TokenUnavailable];
    if from_slot && about_tenant.contains(&failure.name) {
        return "the tenant named in the place of the secret has no usable secret";
    }
    &failure.detail
}

/// One tenant, however often it is named. Nothing of what was found is repeated: it may be somebody's secret.
fn only(route: &Route, mut found: Vec<String>) -> Result<String, Failure> {
    found.dedup();
    match found.pop() {
        Some(_) if !found.is_empty() => {
            let mark = if route.tenant == Some(TenantSource::Slot) { "; write it as countersign-TENANT" } else { "" };
            let detail = format!(
                "two different values in {}, from which route {} takes the tenant{mark}",
                place(route),
                route.name
            );
            Err(Failure::new(Outcome::TenantAmbiguous, detail))
        }
        Some(tenant) if is_tenant(&tenant) => Ok(tenant),
        _ => Err(Failure::new(
            Outcome::TenantUnknown,
            format!(
                "route {} takes the tenant from {}: it is absent or not of the form [A-Za-z0-9._-]{{1,128}}",
                route.name,
                place(route)
            ),
        )),
    }
}

fn place(route: &Route) -> String {
    match &route.tenant {
        Some(TenantSource::Header(name)) => format!("the header {name}"),
        Some(TenantSource::Capture(name)) => format!("the capture {{{name}}} of the host"),
        Some(TenantSource::Query(name)) => format!("the query parameter {name}"),
        Some(TenantSource::Path(number)) => format!("segment {number} of the path"),
        Some(TenantSource::Slot) => "the place of the secret".to_owned(),
        None => String::new(),
    }
}

/// One segment of the path. A path that a server could read with other segments is refused: the tenant would be
/// another one there.
fn segment(path: &str, number: usize) -> Result<Vec<String>, Failure> {
    if has_dot_segment(path) {
        return Err(Failure::new(Outcome::BadRequest, "dot segments in a path that names the tenant"));
    }
    let mut segments = path.strip_prefix('/').unwrap_or(path).split('/');
    let plain = |segment: &str| {
        let lower = segment.to_ascii_lowercase();
        !segment.is_empty() && !lower.contains("%2f") && !lower.contains("%5c")
    };
    let before = segments.by_ref().take(number - 1).filter(|segment| plain(segment)).count();
    let named = segments.next().filter(|segment| before == number - 1 && plain(segment));
    Ok(named.map(str::to_owned).into_iter().collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::segment;

    #[test]
    fn a_segment_is_one_that_every_server_counts_alike() {
        let at = |path: &str, number| segment(path, number).unwrap().pop();
        assert_eq!(at("/m1/orders", 1).as_deref(), Some("m1"));
        assert_eq!(at("/v2/m1", 2).as_deref(), Some("m1"));
        for (path, number) in
            [("/", 1), ("", 1), ("/m1", 2), ("//m1", 2), ("/a%2Fb/m1", 2), ("/a%5cb/m1", 2), ("/v2/", 2)]
        {
            assert_eq!(at(path, number), None, "{path}");
        }
        for path in ["/m1/../m2/orders", "/m1/%2e%2e/m2", "/m1/..%2fm2"] {
            assert!(segment(path, 1).is_err(), "{path}");
        }
    }
}
