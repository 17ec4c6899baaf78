//! Small calls that the program makes on its own account, apart from the request path: to the admin listener
//! of a running proxy. One time limit over all, bounded answers, no redirects, plain HTTP to this machine only.
//!
//! Calls to platforms are in [`outward`]. Callers: `cli`. Requests of workers never come here.

pub mod egress;
pub mod outward;

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// Why a call brought no answer. An answer with whatever status is no error.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// `http://` to another machine.
    #[error("plain http is for this machine alone: {0}")]
    Insecure(Uri),
    /// Nobody answered.
    #[error("{uri} cannot be reached")]
    Unreachable {
        /// Where.
        uri: Uri,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The time was over.
    #[error("{uri} did not answer within {limit:?}")]
    Timeout {
        /// Where.
        uri: Uri,
        /// The limit.
        limit: Duration,
    },
    /// What came was no HTTP, or broke off.
    #[error("{uri} did not answer in HTTP")]
    Protocol {
        /// Where.
        uri: Uri,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// More than the limit.
    #[error("the answer of {uri} is over {limit} bytes")]
    TooLarge {
        /// Where.
        uri: Uri,
        /// In bytes.
        limit: usize,
    },
}

/// Makes calls. Connections are kept for the next call.
#[derive(Clone, Debug)]
pub struct Control {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    time: Duration,
    answer: usize,
}

impl Control {
    /// Each call takes at most `time`, its answer at most `answer` bytes. TLS trusts the bundled public roots.
    pub fn new(time: Duration, answer: usize) -> Result<Self, rustls::Error> {
        let https = HttpsConnectorBuilder::new().with_provider_and_webpki_roots(crate::tls::provider())?;
        let connector = https.https_or_http().enable_http1().build();
        Ok(Self { client: Client::builder(TokioExecutor::new()).build(connector), time, answer })
    }

    /// One call, from connecting to the whole answer.
    pub async fn call(&self, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, ControlError> {
        let uri = request.uri().clone();
        if uri.scheme_str() != Some("https") && !is_this_machine(&uri) {
            return Err(ControlError::Insecure(uri));
        }
        match tokio::time::timeout(self.time, self.exchange(request, &uri)).await {
            Ok(answered) => answered,
            Err(_) => Err(ControlError::Timeout { uri, limit: self.time }),
        }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>, uri: &Uri) -> Result<Response<Bytes>, ControlError> {
        let sent = self.client.request(request).await.map_err(|error| {
            let (connecting, source) = (error.is_connect(), error.into());
            match connecting {
                true => ControlError::Unreachable { uri: uri.clone(), source },
                false => ControlError::Protocol { uri: uri.clone(), source },
            }
        })?;
        let (head, body) = sent.into_parts();
        let whole = Limited::new(body, self.answer).collect().await.map_err(|source| {
            match source.is::<LengthLimitError>() {
                true => ControlError::TooLarge { uri: uri.clone(), limit: self.answer },
                false => ControlError::Protocol { uri: uri.clone(), source },
            }
        })?;
        Ok(Response::from_parts(head, whole.to_bytes()))
    }

    /// A GET.
    pub async fn ask(&self, uri: Uri, token: Option<&http::HeaderValue>) -> Result<(StatusCode, Bytes), ControlError> {
        let mut request = Request::new(Full::default());
        *request.uri_mut() = uri;
        if let Some(token) = token {
            request.headers_mut().insert(http::header::AUTHORIZATION, token.clone());
        }
        let (head, body) = self.call(request).await?.into_parts();
        Ok((head.status, body))
    }
}

fn is_this_machine(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
#[path = "control_tests.rs"]
mod tests;
