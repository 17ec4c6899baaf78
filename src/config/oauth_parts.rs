//! The tables within an `oauth2` table: `request`, `answer`, `inject`, `refresh`, and scopes. Called by `oauth.rs`.

use http::Method;
use toml::de::DeValue;

use super::credential::{PLACES, slot};
use super::fields::{Fields, Mistakes};
use super::hints::type_name;
use super::keys_oauth::BODIES_LATER;
use super::model::Spanned;
use super::oauth_text::{Reader, Variables};
use super::schema::Kind;
use super::schema::one_of;
use super::units::nearest;
use crate::sign::Slot;
use crate::sign::body::BodyKind;
use crate::sign::token::{ACCESS_TOKEN, DERIVED_TOKEN, Piece, Placement, text_fits};
use crate::token::fill::{Fill, FillPart};
use crate::token::grant::{AnswerShape, BodyForm, ClientAuth, Condition, ExpiresUnit, RefreshPolicy, RequestShape};

/// The parameters that token requests have, by their standard names.
const PARAMETERS: [&str; 13] = [
    "grant_type",
    "client_id",
    "client_secret",
    "refresh_token",
    "code",
    "code_verifier",
    "redirect_uri",
    "scope",
    "audience",
    "resource",
    "username",
    "password",
    "token",
];

/// Whether a key has a word that later versions will know, and says so.
pub(super) fn later_word(fields: &Fields<'_, '_>, name: &str, later: &[&str]) -> bool {
    let Some(value) = fields.value(name) else { return false };
    let Some(word) = value.get_ref().as_str().filter(|word| later.contains(word)) else { return false };
    let message = format!("{name} = \"{word}\" is not supported by this version");
    let words = match fields.kind(name) {
        Kind::Choice(words) => one_of(words),
        _ => String::new(),
    };
    fields.mistakes().hinted(value.span(), message, format!("`{name}` is {words}"));
    true
}

/// `scope_separator`
pub(super) fn separator(fields: &Fields<'_, '_>) -> String {
    let text = fields.text_or_default("scope_separator");
    if text.value.is_empty() || text.value.chars().any(char::is_control) {
        let message = "`scope_separator` is empty or has a control character";
        fields.mistakes().hinted(text.span.clone(), message, "write what stands between two scopes, such as \",\"");
    }
    text.value.to_owned()
}

/// `scope`: a string that is split, or a list.
pub(super) fn scope(fields: &Fields<'_, '_>, separator: &str) -> Vec<String> {
    let mistakes = fields.mistakes();
    let texts: Vec<Spanned<&str>> = match fields.value("scope").map(|value| (value, value.get_ref())) {
        None => return Vec::new(),
        Some((value, DeValue::String(text))) => {
            let split = text.split(if separator.is_empty() { " " } else { separator });
            split.map(str::trim).map(|value_text| Spanned { value: value_text, span: value.span() }).collect()
        }
        Some((_, DeValue::Array(_))) => fields.texts("scope").unwrap_or_default(),
        Some((value, _)) => fields.mismatch("scope", value).unwrap_or_default(),
    };
    let mut all: Vec<String> = Vec::new();
    for text in texts.iter().filter(|text| !text.value.is_empty()) {
        if text.value.chars().any(|c| c.is_control() || c.is_whitespace()) {
            mistakes.hinted(
                text.span.clone(),
                format!("\"{}\" is no scope", text.value),
                "write one scope in each string of the list",
            );
        } else if all.iter().any(|other| other == text.value) {
            mistakes.hinted(
                text.span.clone(),
                format!("the scope \"{}\" is there twice", text.value),
                "remove one of them",
            );
        } else {
            all.push(text.value.to_owned());
        }
    }
    all
}

/// `request`, and whether `client_auth` can stand in such a request.
pub(super) fn request(fields: &Fields<'_, '_>, client_auth: ClientAuth) -> RequestShape {
    let mistakes = fields.mistakes();
    let table = fields.table("request");
    let method = if table.choice("method") == "GET" { Method::GET } else { Method::POST };
    let later = later_word(&table, "body", BODIES_LATER);
    let body = match if later { "" } else { table.choice("body") } {
        "form" => BodyForm::Form,
        "json" => BodyForm::Json,
        "query" => BodyForm::Query,
        _ if method == Method::GET => BodyForm::Query,
        _ => BodyForm::Form,
    };
    if method == Method::GET && body != BodyForm::Query {
        mistakes.hinted(table.span_of("body"), "a GET has no body", "write body = \"query\", or method = \"POST\"");
    }
    let (fits, hint) = match (client_auth, body) {
        (ClientAuth::Post, BodyForm::Json) => (false, "write client_auth = \"json\""),
        (ClientAuth::Post, BodyForm::Query) => (false, "write client_auth = \"query\""),
        (ClientAuth::Json, BodyForm::Form | BodyForm::Query) => {
            (false, "write request = { body = \"json\" }, or client_auth = \"post\"")
        }
        _ => (true, ""),
    };
    if !fits && !later {
        let message = "`client_auth` puts the secret into a body that this token request does not have";
        mistakes.hinted(fields.span_of("client_auth"), message, hint);
    }
    RequestShape { method, body, rename: rename(&table) }
}

fn rename(table: &Fields<'_, '_>) -> Vec<(String, String)> {
    let mistakes = table.mistakes();
    let mut all = Vec::new();
    for (name, value) in table.entries("rename") {
        if !PARAMETERS.contains(&name.value) {
            let hint = match nearest(name.value, PARAMETERS.into_iter()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the standard names are {}", PARAMETERS.join(", ")),
            };
            mistakes.hinted(name.span.clone(), format!("token requests have no parameter `{}`", name.value), hint);
            continue;
        }
        match value.get_ref() {
            DeValue::String(text) if !text.chars().any(char::is_control) => {
                all.push((name.value.to_owned(), text.to_string()));
            }
            other => mistakes.hinted(
                value.span(),
                format!("`rename.{}` must be a name, not {}", name.value, type_name(other)),
                "write the platform's name in quotes, or \"\" to leave the parameter out",
            ),
        }
    }
    all
}

/// `answer`
pub(super) fn answer(table: &Fields<'_, '_>) -> AnswerShape {
    let at = |name: &str| table.text(name).and_then(|text| pointer(&text, table.mistakes()));
    AnswerShape {
        access_token: at("access_token"),
        refresh_token: at("refresh_token"),
        expires_in: at("expires_in"),
        expires_at: at("expires_at"),
        expires_unit: table.text("expires_unit").and_then(|text| expires_unit(&text, table.mistakes())),
        refresh_expires_in: at("refresh_expires_in"),
        scope: at("scope"),
        host: at("host"),
        values: values(table),
        ok: table.text("ok").and_then(|text| condition(&text, table.mistakes())),
        error: at("error"),
        error_detail: at("error_detail"),
    }
}

fn values(table: &Fields<'_, '_>) -> Vec<(String, String)> {
    let mistakes = table.mistakes();
    let mut all = Vec::new();
    for (name, value) in table.entries("values") {
        if name.value.is_empty() || !name.value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            let message = format!("\"{}\" is no name of a value", name.value);
            mistakes.hinted(name.span.clone(), message, "use letters, digits and \"_\"; it is used as {value.NAME}");
            continue;
        }
        match value.get_ref() {
            DeValue::String(text) => {
                let found = pointer(&Spanned { value: &**text, span: value.span() }, mistakes);
                all.extend(found.map(|pointer| (name.value.to_owned(), pointer)));
            }
            other => mistakes.hinted(
                value.span(),
                format!("`values.{}` must be a JSON pointer, not {}", name.value, type_name(other)),
                "write it in quotes, such as \"/data/shop_id\"",
            ),
        }
    }
    all
}

/// A JSON pointer (RFC 6901); a bare name is that of a member of the outermost object.
pub(super) fn pointer(text: &Spanned<&str>, mistakes: &Mistakes) -> Option<String> {
    let value = text.value;
    if !value.is_empty() && !value.contains('/') {
        return Some(format!("/{}", value.replace('~', "~0")));
    }
    let good_escapes = value.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    if (value.is_empty() || value.starts_with('/')) && good_escapes {
        return Some(value.to_owned());
    }
    let hint = match value.starts_with('/') {
        true => "write ~0 for \"~\" and ~1 for \"/\" within a name".to_owned(),
        false => format!("write \"/{value}\""),
    };
    mistakes.hinted(text.span.clone(), format!("\"{value}\" is no JSON pointer"), hint);
    None
}

/// `POINTER == VALUE`
pub(super) fn condition(text: &Spanned<&str>, mistakes: &Mistakes) -> Option<Condition> {
    let Some((left, right)) = text.value.split_once("==") else {
        let message = format!("`ok` must be POINTER == VALUE, not \"{}\"", text.value);
        mistakes.hinted(text.span.clone(), message, "write it such as \"/code == 0\" or \"/success == true\"");
        return None;
    };
    let pointer = pointer(&Spanned { value: left.trim(), span: text.span.clone() }, mistakes)?;
    let value = right.trim();
    let bare = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    Some(Condition { pointer, value: bare.to_owned() })
}

pub(super) fn expires_unit(text: &Spanned<&str>, mistakes: &Mistakes) -> Option<ExpiresUnit> {
    let unit = match text.value {
        "s" => Some(ExpiresUnit::Seconds),
        "ms" => Some(ExpiresUnit::Millis),
        "epoch" => Some(ExpiresUnit::Epoch),
        "epoch_ms" => Some(ExpiresUnit::EpochMillis),
        "date" => Some(ExpiresUnit::Date),
        other => other.strip_prefix("local").and_then(offset).map(ExpiresUnit::Local),
    };
    if unit.is_none() {
        let message = format!(
            "`expires_unit` must be \"s\", \"ms\", \"epoch\", \"epoch_ms\", \"date\" or \"local+09:00\", not \"{}\"",
            text.value
        );
        mistakes.hinted(
            text.span.clone(),
            message,
            "with \"local\" write the hours and minutes east of UTC, such as \"local-05:00\"",
        );
    }
    unit
}

/// `+09:00`: seconds east of UTC.
fn offset(text: &str) -> Option<i32> {
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':')?;
    let two = |text: &str| -> Option<i32> {
        let digits = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        if digits { text.parse().ok() } else { None }
    };
    let (hours, minutes) = (two(hours).filter(|h| *h <= 14)?, two(minutes).filter(|m| *m < 60)?);
    Some(sign * (hours * 3600 + minutes * 60))
}

/// One placement of a token.
#[derive(Clone, Debug)]
pub(super) struct Inject {
    /// Where.
    slot: Slot,
    /// What stands before the value; default `Bearer ` in `Authorization`, else nothing.
    prefix: String,
    /// Default `{access_token}`. Variables: `access_token`, `value.NAME`, `tenant`.
    value: Fill,
}

/// `inject`; `None` with mistakes that leave no placement.
pub(super) fn inject(reader: &mut Reader<'_, '_, '_>, answer: &AnswerShape) -> Option<Vec<Inject>> {
    if reader.fields.value("inject").is_none() {
        let slot = Slot::Header(http::header::AUTHORIZATION);
        let value = Fill::parse("{access_token}").ok()?;
        return Some(vec![Inject { slot, prefix: "Bearer ".to_owned(), value }]);
    }
    injects(reader, &variables(answer), |name| name != "tenant")
}

/// What a value of `inject` may have.
fn variables(answer: &AnswerShape) -> Vec<String> {
    std::iter::once(ACCESS_TOKEN.to_owned())
        .chain(answer.values.iter().map(|(name, _)| format!("value.{name}")))
        .chain(std::iter::once("tenant".to_owned()))
        .collect()
}

/// `inject` of `derive`: absent, it goes wherever the first token goes.
pub(super) fn derived_inject(
    reader: &mut Reader<'_, '_, '_>,
    answer: &AnswerShape,
    first: &[Inject],
) -> Option<Vec<Inject>> {
    if reader.fields.value("inject").is_some() {
        let known: Vec<String> = std::iter::once(DERIVED_TOKEN.to_owned()).chain(variables(answer)).collect();
        return injects(reader, &known, |name| name == DERIVED_TOKEN);
    }
    let instead = |one: &Inject| Inject { value: one.value.renamed(ACCESS_TOKEN, DERIVED_TOKEN), ..one.clone() };
    let takes = |one: &&Inject| one.value.variables().any(|name| name == ACCESS_TOKEN);
    let all: Vec<Inject> = first.iter().filter(takes).map(instead).collect();
    if all.is_empty() {
        let message =
            "`derive` has no `inject`, and `inject` of `oauth2` has no {access_token} whose place it could take";
        reader.fields.mistakes().hinted(reader.fields.span(), message, "add inject = { header = \"..\" } to `derive`");
        return None;
    }
    Some(all)
}

fn injects(reader: &mut Reader<'_, '_, '_>, known: &[String], is_token: impl Fn(&str) -> bool) -> Option<Vec<Inject>> {
    let fields = reader.fields;
    let mistakes = fields.mistakes();
    let tables = fields.tables("inject")?;
    if tables.is_empty() {
        let message = "`inject` is an empty list, so that the token would go nowhere";
        mistakes.hinted(
            fields.span_of("inject"),
            message,
            "remove it for `Authorization: Bearer`, or say where the token goes",
        );
        return None;
    }
    let count = tables.len();
    let mut all: Vec<Inject> = Vec::new();
    for table in tables {
        let Some(one) = placement(reader, &table, known) else { continue };
        if all.iter().any(|other| other.slot == one.slot) {
            mistakes.hinted(
                table.span(),
                "two tables of `inject` fill the same place",
                "put both variables into one `value`",
            );
        }
        all.push(one);
    }
    let kinds: Vec<BodyKind> = all.iter().filter_map(|inject| BodyKind::of(&inject.slot)).collect();
    if kinds.windows(2).any(|two| two[0] != two[1]) {
        let message = "`inject` fills a form and a JSON body, and a request has one body";
        mistakes.hinted(fields.span_of("inject"), message, "keep one of `form` and `json`");
    }
    let token = |inject: &Inject| inject.value.variables().any(&is_token);
    if all.len() == count && !all.iter().any(token) {
        let hint = if is_token(ACCESS_TOKEN) {
            "write value = \"{access_token}\""
        } else {
            "write value = \"{derived_token}\""
        };
        mistakes.hinted(fields.span_of("inject"), "`inject` puts in no part of the token", hint);
    }
    (all.len() == count).then_some(all)
}

fn placement(reader: &mut Reader<'_, '_, '_>, table: &Fields<'_, '_>, known: &[String]) -> Option<Inject> {
    let mistakes = table.mistakes();
    let mut places = PLACES.into_iter().filter(|place| table.value(place).is_some());
    let place = match (places.next(), places.next()) {
        (Some(one), Some(two)) => {
            let message = format!("`inject` has both `{one}` and `{two}` in one table");
            mistakes.hinted(table.span(), message, "write a list with a table for each");
            return None;
        }
        (None, _) => {
            mistakes.hinted(
                table.span(),
                "`inject` does not say where the token goes",
                "add header = \"X-Access-Token\", or one of query, cookie, form and json",
            );
            return None;
        }
        (Some(one), None) => one,
    };
    let slot = slot(place, &table.text(place)?, mistakes);
    let value_text = table.text_or_default("value");
    let value = reader.fill(&value_text, Variables::Of(known))?;
    let prefix = table.text("prefix");
    let slot = slot?;
    let bearer = slot == Slot::Header(http::header::AUTHORIZATION)
        && matches!(value.parts().next(), Some(FillPart::Variable(_)));
    let default = if bearer { "Bearer " } else { "" };
    let literals = value.parts().filter_map(|part| match part {
        FillPart::Literal(text) => Some(text),
        FillPart::Variable(_) => None,
    });
    let misfit = prefix.iter().map(|text| (text.value, "prefix")).chain(literals.map(|text| (text, "value")));
    if let Some((_, key)) = misfit.into_iter().find(|(text, _)| !text_fits(text, &slot)) {
        let message = format!("`{key}` has a character that a {place} cannot carry");
        mistakes.hinted(table.span_of(key), message, "use visible ASCII characters, in a header spaces too");
        return None;
    }
    let prefix = prefix.map_or(default, |text| text.value).to_owned();
    Some(Inject { slot, prefix, value })
}

/// The same for the signer.
pub(super) fn placements(inject: &[Inject]) -> Vec<Placement> {
    let piece = |part: FillPart<'_>| match part {
        FillPart::Literal(text) => Piece::Text(text.into()),
        FillPart::Variable("tenant") => Piece::Tenant,
        FillPart::Variable(name) => Piece::Part(name.into()),
    };
    let placement = |one: &Inject| Placement {
        slot: one.slot.clone(),
        prefix: one.prefix.clone(),
        value: one.value.parts().map(piece).collect(),
    };
    inject.iter().map(placement).collect()
}

/// `refresh`
pub(super) fn refresh(table: &Fields<'_, '_>) -> RefreshPolicy {
    let policy = RefreshPolicy {
        at: table.fraction("at"),
        before: table.wait("before"),
        not_before: table.wait("not_before"),
        timeout: table.wait("timeout"),
        wait: table.wait("wait"),
        default_life: table.wait("default_life"),
        first: table.wait("first"),
        max: table.wait("max"),
        idle: table.wait("idle"),
        parallel: table.count("parallel").unwrap_or(1),
    };
    if policy.max < policy.first {
        let message = "`max` is shorter than `first`, so that pauses could not grow";
        table.mistakes().hinted(table.span_of("max"), message, "write a longer `max`, or a shorter `first`");
    }
    policy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_seconds_east() {
        assert_eq!(offset("+09:00"), Some(32_400));
        assert_eq!(offset("-05:30"), Some(-19_800));
        for bad in ["", "9", "+9:00", "+09", "+15:00", "+09:60", "09:00", "+09:0x"] {
            assert_eq!(offset(bad), None, "{bad}");
        }
    }

    #[test]
    fn pointers_are_those_of_rfc_6901_or_names() {
        let mistakes = Mistakes::default();
        let read = |value| pointer(&Spanned { value, span: 0..0 }, &mistakes);
        assert_eq!(read("/data/a~1b"), Some("/data/a~1b".to_owned()));
        assert_eq!(read("access~token"), Some("/access~0token".to_owned()));
        assert_eq!(read(""), Some(String::new()));
        assert_eq!(read("data/x"), None);
        assert_eq!(read("/a~2"), None);
        assert_eq!(mistakes.into_parts().0.len(), 2);
    }
}
