//! The components of a request that an RFC 9421 signature covers: how the configuration names them, and what each is
//! worth in the signature base (section 2). Caller: `super`.

use std::borrow::Cow;

use http::{HeaderName, HeaderValue};

use super::structured;
use crate::sign::{SignError, Signable};
use crate::template::encode::{form_decode, hex_upper};

/// A covered component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Component {
    /// As it stands in the base and in `Signature-Input`: `"@query-param";name="x"`.
    pub(super) identifier: String,
    source: Source,
}

/// Where its value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    Method,
    TargetUri,
    Authority,
    Scheme,
    RequestTarget,
    Path,
    Query,
    /// With the name in its encoded form.
    QueryParameter(String),
    Field(HeaderName, Form),
}

/// How a header's lines become one value.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    /// Section 2.1: joined with a comma.
    Lines,
    /// Section 2.1.1, `sf`
    Structured,
    /// Section 2.1.2, `key`
    Member(String),
    /// Section 2.1.3, `bs`
    Bytes,
}

/// Why a text names no component that can be signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ComponentError {
    /// It is no name with parameters behind it.
    #[error("\"{0}\" is no component of a signature")]
    Unreadable(String),
    /// A derived component that requests do not have.
    #[error("a request has no component {0}")]
    Unknown(String),
    /// It is of answers.
    #[error("{0} is of answers, and only requests are signed")]
    OfAnswers(String),
    /// `tr`
    #[error("trailers cannot be signed: they come after the head, which carries the signature")]
    Trailer,
    /// A parameter that this component does not have.
    #[error("the component {0} has no parameter `{1}`")]
    Parameter(String, String),
    /// `sf`, `key` and `bs` exclude one another (section 2.1).
    #[error("only one of `sf`, `key` and `bs` can be given")]
    TwoForms,
    /// `@query-param` without `name`, or `key` or `name` without a text.
    #[error("{0} needs `{1}` with a text")]
    NeedsText(String, &'static str),
    /// A header that belongs to the connection or that is made by signing.
    #[error("the header {0} cannot be signed: {1}")]
    Header(String, &'static str),
}

impl ComponentError {
    /// What to write instead.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => {
                "write the name of a header, or one such as \"@method\", and parameters as '@query-param;name=\"page\"'"
            }
            Self::Unknown(_) | Self::OfAnswers(_) => {
                "there are @method, @target-uri, @authority, @scheme, @request-target, @path, @query and @query-param"
            }
            Self::Trailer => "remove `tr`",
            Self::Parameter(..) => "headers have `sf`, `key` and `bs`, @query-param has `name`",
            Self::TwoForms => "keep one of them",
            Self::NeedsText(..) => "write it as '@query-param;name=\"page\"' or 'x-fields;key=\"a\"'",
            Self::Header(..) => "choose headers that reach the upstream as they are",
        }
    }
}

/// What stands in the way of a header being covered.
fn never(name: &HeaderName) -> Option<&'static str> {
    match name.as_str() {
        "connection" | "transfer-encoding" | "te" | "trailer" | "upgrade" | "keep-alive" | "expect"
        | "http2-settings" => Some("it belongs to the connection"),
        "signature" | "signature-input" => Some("it is made by signing"),
        other if other.starts_with("proxy-") => Some("it belongs to the connection"),
        other if other.starts_with("countersign-") => Some("it never leaves"),
        _ => None,
    }
}

impl Component {
    /// Reads `@method`, `content-type`, `@query-param;name="x"`, `x-fields;key="a"`; the name may have quotes, as it has
    /// in `Signature-Input`. Names of headers may be in any case.
    pub(super) fn parse(text: &str) -> Result<Self, ComponentError> {
        let unreadable = || ComponentError::Unreadable(text.to_owned());
        let (name, parameters) = text.split_at(text.find(';').unwrap_or(text.len()));
        let name = name.trim();
        let name = name.strip_prefix('"').and_then(|name| name.strip_suffix('"')).unwrap_or(name);
        let parameters = structured::parameters(parameters.trim_end()).ok_or_else(unreadable)?;
        if name == "@query-param" {
            return Self::query_parameter(&parameters);
        }
        let source = match name {
            "@method" => Source::Method,
            "@target-uri" => Source::TargetUri,
            "@authority" => Source::Authority,
            "@scheme" => Source::Scheme,
            "@request-target" => Source::RequestTarget,
            "@path" => Source::Path,
            "@query" => Source::Query,
            "@status" => return Err(ComponentError::OfAnswers(name.to_owned())),
            _ if name.starts_with('@') => return Err(ComponentError::Unknown(name.to_owned())),
            _ => {
                let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unreadable())?;
                return Self::field(header, &parameters);
            }
        };
        match parameters.first() {
            Some((parameter, _)) => Err(wrong_parameter(name, parameter)),
            None => Ok(Self { identifier: format!("\"{name}\""), source }),
        }
    }

    fn query_parameter(parameters: &[(String, String)]) -> Result<Self, ComponentError> {
        if let Some((other, _)) = parameters.iter().find(|(name, _)| name != "name") {
            return Err(wrong_parameter("@query-param", other));
        }
        let name = parameters.first().and_then(|(_, value)| text_of(value));
        let name = name.ok_or_else(|| ComponentError::NeedsText("@query-param".to_owned(), "name"))?;
        let encoded = reencoded(name.as_bytes());
        Ok(Self { identifier: format!("\"@query-param\";name=\"{encoded}\""), source: Source::QueryParameter(encoded) })
    }

    fn field(header: HeaderName, parameters: &[(String, String)]) -> Result<Self, ComponentError> {
        if let Some(why) = never(&header) {
            return Err(ComponentError::Header(header.to_string(), why));
        }
        let mut identifier = format!("\"{header}\"");
        let mut form = Form::Lines;
        for (name, value) in parameters {
            let found = match (name.as_str(), value.as_str()) {
                ("sf", "?1") => Form::Structured,
                ("bs", "?1") => Form::Bytes,
                ("key", value) => {
                    let key = text_of(value).ok_or_else(|| ComponentError::NeedsText(header.to_string(), "key"))?;
                    Form::Member(key)
                }
                ("tr", _) => return Err(ComponentError::Trailer),
                _ => return Err(wrong_parameter(header.as_str(), name)),
            };
            if form != Form::Lines {
                return Err(ComponentError::TwoForms);
            }
            identifier.push(';');
            identifier.push_str(name);
            if let Form::Member(key) = &found {
                let key = structured::string(key).ok_or_else(|| ComponentError::Unreadable(key.clone()))?;
                identifier.push('=');
                identifier.push_str(&key);
            }
            form = found;
        }
        Ok(Self { identifier, source: Source::Field(header, form) })
    }

    /// The header that it is or is made from.
    pub(super) fn header(&self) -> Option<&HeaderName> {
        match &self.source {
            Source::Field(name, _) => Some(name),
            _ => None,
        }
    }

    /// Whether a change of the query would change it.
    pub(super) fn reads_query(&self) -> bool {
        matches!(self.source, Source::TargetUri | Source::RequestTarget | Source::Query | Source::QueryParameter(_))
    }

    /// Appends its value. `own` are the headers that this signature itself sets; they win over the request's.
    pub(super) fn write(
        &self,
        request: &Signable<'_>,
        own: &[(HeaderName, HeaderValue)],
        out: &mut Vec<u8>,
    ) -> Result<(), SignError> {
        let target = |out: &mut Vec<u8>| {
            out.extend_from_slice(request.path.as_bytes());
            if let Some(query) = request.query {
                out.push(b'?');
                out.extend_from_slice(query.as_bytes());
            }
        };
        match &self.source {
            Source::Method => out.extend_from_slice(request.method.as_bytes()),
            Source::Scheme => out.extend_from_slice(request.scheme.as_bytes()),
            Source::Authority => out.extend_from_slice(authority(request).as_bytes()),
            Source::Path => out.extend_from_slice(request.path.as_bytes()),
            Source::RequestTarget => target(out),
            Source::TargetUri => {
                out.extend_from_slice(request.scheme.as_bytes());
                out.extend_from_slice(b"://");
                out.extend_from_slice(authority(request).as_bytes());
                target(out);
            }
            Source::Query => {
                out.push(b'?');
                out.extend_from_slice(request.query.unwrap_or_default().as_bytes());
            }
            Source::QueryParameter(name) => out.extend_from_slice(query_value(request, name)?.as_bytes()),
            Source::Field(name, form) => {
                let lines = Lines { request, own, name };
                out.extend_from_slice(&lines.value(form)?);
            }
        }
        Ok(())
    }
}

fn wrong_parameter(component: &str, parameter: &str) -> ComponentError {
    match parameter {
        "req" => ComponentError::OfAnswers("the parameter `req`".to_owned()),
        _ => ComponentError::Parameter(component.to_owned(), parameter.to_owned()),
    }
}

/// The text of a parameter: a string, or a token for those who left the quotes out.
fn text_of(value: &str) -> Option<String> {
    match value.as_bytes().first()? {
        b'"' => structured::text_of(value),
        b'?' | b':' => None,
        _ => Some(value.to_owned()),
    }
}

/// Section 2.2.3: lower case, without the scheme's own port.
fn authority<'a>(request: &Signable<'a>) -> Cow<'a, str> {
    let own_port = if request.scheme == "https" { ":443" } else { ":80" };
    let host = request.host.strip_suffix(own_port).unwrap_or(request.host);
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) { host.to_ascii_lowercase().into() } else { host.into() }
}

/// Section 2.2.8: the parameter's value, decoded as a form's is and encoded again.
fn query_value(request: &Signable<'_>, name: &str) -> Result<String, SignError> {
    let pairs = request.query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let mut found = pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .filter(|(other, _)| reencoded(other.as_bytes()) == name);
    let shown = || format!("query parameter {name}");
    let (_, value) = found.next().ok_or_else(|| SignError::Absent(shown()))?;
    if found.next().is_some() {
        return Err(SignError::Uncoverable(shown(), "it is there more than once"));
    }
    Ok(reencoded(value.as_bytes()))
}

/// From the encoding of a form to percent-encoding: the set of characters is that of forms, but a space is `%20`.
fn reencoded(raw: &[u8]) -> String {
    let mut out = Vec::with_capacity(raw.len());
    for &byte in &*form_decode(raw) {
        if byte.is_ascii_alphanumeric() || b"*-._".contains(&byte) {
            out.push(byte);
        } else {
            out.push(b'%');
            hex_upper(&[byte], &mut out);
        }
    }
    out.into_iter().map(char::from).collect()
}

/// The lines of one header.
struct Lines<'a> {
    request: &'a Signable<'a>,
    own: &'a [(HeaderName, HeaderValue)],
    name: &'a HeaderName,
}

impl Lines<'_> {
    fn each(&self) -> Vec<&[u8]> {
        let own: Vec<&[u8]> =
            self.own.iter().filter(|(name, _)| name == self.name).map(|(_, v)| v.as_bytes()).collect();
        if !own.is_empty() {
            return own;
        }
        if *self.name == http::header::HOST {
            return vec![self.request.host.as_bytes()];
        }
        self.request.headers.get_all(self.name).iter().map(|value| value.as_bytes().trim_ascii()).collect()
    }

    fn shown(&self) -> String {
        format!("header {}", self.name)
    }

    fn value(&self, form: &Form) -> Result<Vec<u8>, SignError> {
        let lines = self.each();
        if lines.is_empty() {
            return Err(SignError::Absent(self.shown()));
        }
        if *form == Form::Bytes {
            let all: Vec<String> = lines.into_iter().map(structured::bytes).collect();
            return Ok(all.join(", ").into_bytes());
        }
        let joined = lines.join(&b", "[..]);
        let text = std::str::from_utf8(&joined).ok().filter(|text| text.is_ascii());
        let text = text.ok_or_else(|| {
            SignError::Uncoverable(self.shown(), "it has bytes beyond ASCII, which only the parameter `bs` can cover")
        })?;
        let unstructured = |what| SignError::Uncoverable(self.shown(), what);
        match form {
            Form::Lines | Form::Bytes => Ok(joined),
            Form::Structured => {
                let canonical = if is_dictionary(self.name) {
                    structured::as_dictionary(text)
                } else {
                    structured::of_any_type(text)
                };
                canonical.map(String::into_bytes).ok_or_else(|| unstructured("it is no structured field (RFC 8941)"))
            }
            Form::Member(key) => {
                let members =
                    structured::dictionary(text).ok_or_else(|| unstructured("it is no dictionary (RFC 8941)"))?;
                let member = members.into_iter().find(|(name, _)| name == key);
                let (_, value) =
                    member.ok_or_else(|| SignError::Absent(format!("member {key} of the header {}", self.name)))?;
                Ok(value.into_bytes())
            }
        }
    }
}

/// Fields that are dictionaries whatever they look like: of one with keys alone a list would keep what is there twice.
fn is_dictionary(name: &HeaderName) -> bool {
    const KNOWN: [&str; 6] =
        ["content-digest", "repr-digest", "want-content-digest", "want-repr-digest", "priority", "cdn-cache-control"];
    KNOWN.contains(&name.as_str())
}
