//! `derive` of an `oauth2` table: a second token for some endpoints. Called by `oauth.rs`.

use std::sync::Arc;

use http::{HeaderValue, Method};

use super::fields::Fields;
use super::oauth_parts::{self, Inject, condition, expires_unit, pointer};
use super::oauth_text::{Reader, Variables};
use crate::route::endpoint::Endpoint;
use crate::token::derive::Derive;
use crate::token::grant::{AnswerShape, Insecure};

/// `derive` and where its token goes; `None` where there is none, or with mistakes that leave nothing.
pub(super) fn derive(
    reader: &mut Reader<'_, '_, '_>,
    (answer, first): (&AnswerShape, &[Inject]),
    insecure: Insecure,
) -> Option<(Arc<Derive>, Vec<Inject>)> {
    reader.fields.value("derive")?;
    let table = reader.fields.table("derive");
    let mut reader = Reader { fields: &table, text: reader.text, holes: reader.holes };
    let url = reader.endpoint("url", insecure);
    let method = if table.choice("method") == "GET" { Method::GET } else { Method::POST };
    if method == Method::GET && table.value("body").is_some() {
        let hint = "remove `body`, or write method = \"POST\"";
        table.mistakes().hinted(table.span_of("body"), "a GET has no body", hint);
    }
    if table.value("body").is_none() && table.value("content_type").is_some() {
        let message = "`content_type` has no effect without a `body`";
        table.mistakes().hinted(table.span_of("content_type"), message, "remove it, or add `body`");
    }
    let body = table.text("body").and_then(|text| reader.fill(&text, Variables::OfRoute));
    let (content_type, endpoints) = (content_type(&table), endpoints(&table));
    let inject = oauth_parts::derived_inject(&mut reader, answer, first);
    let shape = shape(&table.table("answer"));
    let derive = Derive {
        url: url?,
        method,
        body,
        content_type: content_type?,
        answer: shape,
        ttl: table.duration("ttl"),
        endpoints,
    };
    Some((Arc::new(derive), inject?))
}

fn content_type(table: &Fields<'_, '_>) -> Option<HeaderValue> {
    let text = table.text_or_default("content_type");
    let value = HeaderValue::from_str(text.value).ok().filter(|_| text.value.contains('/'));
    if value.is_none() {
        let message = format!("\"{}\" is no content type", text.value);
        table.mistakes().hinted(text.span, message, "write it such as \"application/json\"");
    }
    value
}

fn endpoints(table: &Fields<'_, '_>) -> Vec<Endpoint> {
    let mistakes = table.mistakes();
    let texts = table.texts("endpoints").unwrap_or_default();
    if texts.is_empty() && table.value("endpoints").is_some() {
        let message = "`endpoints` is an empty list, so that the second token would never be used";
        mistakes.hinted(
            table.span_of("endpoints"),
            message,
            "add one such as \"GET /v2/orders/{id}\", or remove `derive`",
        );
    }
    let mut all = Vec::new();
    for text in texts {
        match Endpoint::parse(text.value) {
            Ok(endpoint) => all.push(endpoint),
            Err(error) => {
                let message = format!("\"{}\" is no endpoint: {error}", text.value);
                mistakes.hinted(text.span, message, "write it such as \"GET /v2/orders/{id}\"");
            }
        }
    }
    all
}

fn shape(table: &Fields<'_, '_>) -> AnswerShape {
    let at = |name: &str| table.text(name).and_then(|text| pointer(&text, table.mistakes()));
    AnswerShape {
        access_token: at("access_token"),
        expires_in: at("expires_in"),
        expires_at: at("expires_at"),
        expires_unit: table.text("expires_unit").and_then(|text| expires_unit(&text, table.mistakes())),
        ok: table.text("ok").and_then(|text| condition(&text, table.mistakes())),
        error: at("error"),
        error_detail: at("error_detail"),
        ..AnswerShape::default()
    }
}
