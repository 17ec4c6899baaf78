//! From an `oauth2` table to [`OAuth`] and its [`Signer`]: grant, client, parameters. Texts with variables are read in
//! `oauth_text.rs`, the tables within it in `oauth_parts.rs`; what it has to do with routes and `[state]` is in `oauth_check.rs`.

use toml::de::DeValue;

use super::credential::{Places, header};
use super::fields::Fields;
use super::keys_oauth::{CLIENT_AUTH_LATER, GRANTS_LATER};
use super::model::{Credential, RouteTls, Span, Spanned};
use super::oauth_derive;
use super::oauth_parts::{self, later_word};
use super::oauth_text::{Reader, Variables};
use super::route_settings;
use crate::secret::name::NamePattern;
use crate::sign::api_key::ApiKey;
use crate::sign::basic::PublicValue;
use crate::sign::token::{CallNames, Shared, Token};
use crate::sign::{Place, Signer, Slot};
use crate::token::OAuth;
use crate::token::fill::Fill;
use crate::token::grant::{ClientAuth, Grant, Insecure, Per};

/// An `oauth2` table, read.
pub(super) struct Made {
    pub signer: Signer,
    pub places: Places,
    pub oauth: OAuth,
    pub tls: RouteTls,
    pub seed: Option<Spanned<NamePattern>>,
}

/// `oauth2 = { .. }`; `None` with mistakes that leave nothing to check.
pub(super) fn oauth2(reader: &mut Reader<'_, '_, '_>) -> Option<Made> {
    let fields = reader.fields;
    let mut places = Places::new();
    let grant = grant(fields);
    let client_id = public(fields, "client_id", Place::ClientId, &mut places);
    let client_secret = secret(fields, "client_secret", Place::ClientSecret, &mut places);
    let username = public(fields, "username", Place::Username, &mut places);
    let password = secret(fields, "password", Place::Password, &mut places);
    let seed = fields.secret_only("refresh_token");
    let client_auth = client_auth(fields);
    let request = oauth_parts::request(fields, client_auth);
    needs(fields, grant);
    let insecure = if fields.flag("insecure_upstream") { Insecure::Allowed } else { Insecure::Refused };
    let token_url = reader.endpoint("token_url", insecure);
    let [refresh_url, authorize_url, revoke_url] =
        ["refresh_url", "authorize_url", "revoke_url"].map(|name| reader.endpoint(name, insecure));
    let [audience, resource] = ["audience", "resource"].map(|name| reader.filled(name));
    let (extra, headers) = (extra(reader), headers(reader));
    let scope_separator = oauth_parts::separator(fields);
    let answer = oauth_parts::answer(&fields.table("answer"));
    let inject = oauth_parts::inject(reader, &answer);
    let derived = oauth_derive::derive(reader, (&answer, inject.as_deref().unwrap_or_default()), insecure);
    let per = if fields.choice("per") == "credential" { Per::Credential } else { Per::Tenant };
    let tls = route_settings::tls(&fields.table("tls"), false, None);
    let names = CallNames {
        client_id: in_secret(&client_id),
        client_secret: client_secret.clone(),
        username: in_secret(&username),
        password: password.clone(),
    };
    let shared = if per == Per::Credential { Shared::Yes } else { Shared::No };
    let inject = inject?;
    let (derive, second) = derived.unzip();
    let mut token = Token::new(names, oauth_parts::placements(&inject), shared);
    if let Some(second) = second {
        token = token.with_derived(oauth_parts::placements(&second));
    }
    let signer = Signer::Token(Box::new(token));
    let oauth = OAuth {
        grant: grant?,
        token_url: token_url?,
        refresh_url,
        authorize_url,
        revoke_url,
        redirect_url: redirect_url(fields),
        client_id,
        client_secret,
        client_auth,
        scope: oauth_parts::scope(fields, &scope_separator),
        scope_separator,
        audience,
        resource,
        username,
        password,
        seed: seed.as_ref().map(|seed| seed.value.clone()),
        extra,
        headers,
        request,
        answer,
        derive,
        dead: fields.texts("dead").unwrap_or_default().iter().map(|text| text.value.to_owned()).collect(),
        per,
        refresh: oauth_parts::refresh(&fields.table("refresh")),
    };
    Some(Made { signer, places, oauth, tls, seed })
}

/// The seed of a refresh token as a credential of its own.
pub(super) fn seed(credential: &str, span: &Span, name: Spanned<NamePattern>) -> Credential {
    // A refresh token is sent in a parameter of this name: a text of any characters.
    let signer =
        Signer::ApiKey(Box::new(ApiKey::new(name.value, Slot::Query("refresh_token".to_owned()), String::new())));
    Credential::plain(format!("seed:{credential}"), span.clone(), signer, vec![name.span])
}

fn in_secret(value: &Option<PublicValue>) -> Option<NamePattern> {
    match value {
        Some(PublicValue::Secret(name)) => Some(name.clone()),
        _ => None,
    }
}

fn grant(fields: &Fields<'_, '_>) -> Option<Grant> {
    fields.value("grant")?;
    if later_word(fields, "grant", GRANTS_LATER) {
        return None;
    }
    match fields.choice("grant") {
        "client_credentials" => Some(Grant::ClientCredentials),
        "refresh_token" => Some(Grant::RefreshToken),
        "authorization_code" => Some(Grant::AuthorizationCode),
        "password" => Some(Grant::Password),
        // It was said.
        _ => None,
    }
}

/// A literal, or the name of a secret.
pub(super) fn public(fields: &Fields<'_, '_>, name: &str, place: Place, places: &mut Places) -> Option<PublicValue> {
    let value = fields.value(name)?;
    match value.get_ref() {
        DeValue::String(text) if !text.is_empty() && !text.chars().any(char::is_control) => {
            Some(PublicValue::Literal(text.to_string()))
        }
        DeValue::String(_) => {
            let message = format!("`{name}` is empty or has a control character");
            fields.mistakes().hinted(
                value.span(),
                message,
                format!("write it as the platform shows it, or remove `{name}`"),
            );
            None
        }
        DeValue::Table(table) => fields.secret_table(name, value, table).map(|secret| {
            places.insert(place, secret.span);
            PublicValue::Secret(secret.value)
        }),
        _ => fields.mismatch(name, value),
    }
}

/// The name of a secret.
pub(super) fn secret(fields: &Fields<'_, '_>, name: &str, place: Place, places: &mut Places) -> Option<NamePattern> {
    let secret = fields.secret_only(name)?;
    places.insert(place, secret.span);
    Some(secret.value)
}

fn client_auth(fields: &Fields<'_, '_>) -> ClientAuth {
    let given = |name: &str| fields.value(name).is_some();
    if later_word(fields, "client_auth", CLIENT_AUTH_LATER) {
        return ClientAuth::None;
    }
    let auth = match fields.choice("client_auth") {
        "basic" => ClientAuth::Basic,
        "basic_raw" => ClientAuth::BasicRaw,
        "post" => ClientAuth::Post,
        "json" => ClientAuth::Json,
        "query" => ClientAuth::Query,
        "none" => ClientAuth::None,
        _ if given("client_auth") => return ClientAuth::None,
        _ if given("client_secret") => ClientAuth::Basic,
        _ => ClientAuth::None,
    };
    let mistakes = fields.mistakes();
    if auth == ClientAuth::None && given("client_secret") {
        let message = "`client_auth = \"none\"` sends no secret, but there is a `client_secret`";
        mistakes.hinted(fields.span_of("client_auth"), message, "remove one of them");
    } else if auth != ClientAuth::None && !given("client_secret") {
        let word = fields.choice("client_auth");
        let message = format!("`client_auth = \"{word}\"` needs `client_secret`");
        let hint = "add client_secret = { secret = \"NAME\" }, or write client_auth = \"none\" for a public client";
        mistakes.hinted(fields.span_of("client_auth"), message, hint);
    }
    auth
}

/// What each grant needs, and what has no effect with it.
fn needs(fields: &Fields<'_, '_>, grant: Option<Grant>) {
    let mistakes = fields.mistakes();
    let given = |name: &str| fields.value(name).is_some();
    if given("client_secret") && !given("client_id") {
        mistakes.hinted(fields.span_of("client_secret"), "`client_secret` needs `client_id`", "add client_id = \"..\"");
    }
    let Some(grant) = grant else { return };
    let word = grant.as_str();
    let need = |name: &str, hint: &str| {
        if !given(name) {
            mistakes.hinted(fields.span_of("grant"), format!("`grant = \"{word}\"` needs `{name}`"), hint);
        }
    };
    if grant == Grant::Password {
        need("username", "add username = \"..\" or username = { secret = \"NAME\" }");
        need("password", "add password = { secret = \"NAME\" }");
    } else if !given("client_secret") {
        need("client_id", "add client_id = \"..\", as the platform gave it for your app");
    }
    if grant == Grant::ClientCredentials && given("client_id") && !given("client_auth") {
        need(
            "client_secret",
            "add client_secret = { secret = \"NAME\" }, or client_auth = \"none\" if the platform wants none",
        );
    }
    if grant == Grant::AuthorizationCode {
        need("authorize_url", "add authorize_url = \"https://..\", where a person approves");
    }
    let consent = grant.needs_consent();
    let unused: &[(&str, bool)] = &[
        ("username", grant != Grant::Password),
        ("password", grant != Grant::Password),
        ("refresh_token", !consent),
        ("authorize_url", !consent),
        ("redirect_url", !consent || !given("authorize_url")),
    ];
    for (name, _) in unused.iter().filter(|(name, unused)| *unused && given(name)) {
        let (message, hint) = match *name {
            "redirect_url" if consent => {
                ("`redirect_url` has no effect without `authorize_url`".to_owned(), "add `authorize_url`, or remove it")
            }
            _ => (
                format!("`{name}` has no effect with grant = \"{word}\""),
                "remove it, or choose the grant that it belongs to",
            ),
        };
        mistakes.hinted(fields.span_of(name), message, hint);
    }
}

/// Not every platform has a URL here (eBay has a name), so only what looks like one is checked as one.
fn redirect_url(fields: &Fields<'_, '_>) -> String {
    let text = fields.text_or_default("redirect_url");
    let good = !text.value.is_empty() && text.value.bytes().all(|byte| byte.is_ascii_graphic());
    let is_url = text.value.contains("://");
    let parses = || text.value.parse::<http::Uri>().is_ok_and(|uri| uri.host().is_some());
    if !good || (is_url && !parses()) {
        let message = "`redirect_url` is no URL and no name of one";
        fields.mistakes().hinted(
            text.span.clone(),
            message,
            "write it as it is registered at the platform, such as \"https://app.example.com/callback\"",
        );
    }
    text.value.to_owned()
}

/// `extra`
fn extra(reader: &mut Reader<'_, '_, '_>) -> Vec<(String, Fill)> {
    const OTHER_KEYS: [&str; 6] =
        ["client_id", "client_secret", "refresh_token", "username", "password", "client_assertion"];
    let mistakes = reader.fields.mistakes();
    let mut all = Vec::new();
    for (name, text) in reader.strings("extra") {
        if name.value.is_empty() {
            mistakes.hinted(name.span.clone(), "a parameter has no name", "write NAME = \"text\"");
        }
        if OTHER_KEYS.contains(&name.value) {
            mistakes.mask(text.span.clone());
            let message = format!("`{}` is a key of `oauth2`, not of `extra`", name.value);
            mistakes.hinted(name.span.clone(), message, "move it; `request.rename` gives a parameter another name");
            continue;
        }
        if let Some(fill) = reader.fill(&text, Variables::OfRoute) {
            all.push((name.value.to_owned(), fill));
        }
    }
    all
}

/// `headers`
fn headers(reader: &mut Reader<'_, '_, '_>) -> Vec<(http::HeaderName, Fill)> {
    let mistakes = reader.fields.mistakes();
    let mut all: Vec<(http::HeaderName, Fill)> = Vec::new();
    for (name, text) in reader.strings("headers") {
        let Some(header) = header(&name, mistakes) else { continue };
        if matches!(header.as_str(), "authorization" | "cookie") {
            mistakes.mask(text.span.clone());
            let message = format!("the header `{}` of a token request proves who is asking", name.value);
            mistakes.hinted(name.span.clone(), message, "write client_id, client_secret and client_auth instead");
            continue;
        }
        if all.iter().any(|(other, _)| *other == header) {
            let message = format!("the header `{}` is set twice (case does not count)", name.value);
            mistakes.hinted(name.span.clone(), message, "remove one of them");
        }
        if !text.value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
            let message = format!("the header `{}` cannot carry this text", name.value);
            mistakes.hinted(text.span.clone(), message, "use visible ASCII characters and spaces");
            continue;
        }
        if let Some(fill) = reader.fill(&text, Variables::OfRoute) {
            all.push((header, fill));
        }
    }
    all
}
