//! What the worker gets when the proxy, not the upstream, answers: product of one table, told apart by one header.

mod limits;
mod loops;
mod malformed;
mod shape;
mod tls;
mod upstream_faults;

use crate::support::worker::Answer;
use crate::support::{Running, Setup};

/// Checks everything that a problem answer has, and gives its `detail`.
#[track_caller]
fn problem(answer: &Answer, status: u16, name: &str, route: Option<&str>) -> String {
    assert_eq!((answer.status, answer.error()), (status, Some(name)), "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert_eq!(answer.header("content-length"), Some(&*answer.body.len().to_string()));
    let problem = answer.json();
    assert_eq!(problem["type"], format!("urn:countersign:error:{name}"));
    assert_eq!(problem["status"], status);
    assert_eq!(problem["route"].as_str(), route);
    assert!(problem["title"].as_str().is_some_and(|title| !title.is_empty()));
    let retry = matches!(name, "overloaded");
    assert_eq!(answer.header("retry-after").is_some(), retry, "Retry-After of {name}");
    problem["detail"].as_str().filter(|detail| !detail.is_empty()).unwrap().to_owned()
}

/// A proxy with one route `api` for `api.test` that proves nothing.
async fn open(url: &str, keys: &str) -> Running {
    Setup::new(route(url, keys)).start().await
}

fn route(url: &str, keys: &str) -> String {
    format!("[[route]]\nname = \"api\"\nhost = \"api.test\"\nupstream = \"{url}\"\ncredential = \"none\"\n{keys}\n")
}

const GET: &str = "GET / HTTP/1.1\r\nHost: api.test\r\n\r\n";
