//! From `params(..)|..|pairs(..)` to the program of a list.

use super::call::{Call, Context};
use super::compile::{did_you_mean, secret, value};
use super::functions::Function;
use super::lex::{self, Chunk};
use super::pairs::{Added, Field, Name, Order, Origin, Pairs, Pick, Piece};
use super::step::Step;
use super::suggest::nearest;
use super::{TemplateError, Type};
use crate::sign::material::Kind;

/// What an entry of a list has, by the names that formats use.
const FIELDS: [(&str, Field); 5] = [
    ("k", Field::Name),
    ("v", Field::Value),
    ("raw_k", Field::RawName),
    ("raw_v", Field::RawValue),
    ("raw", Field::Raw),
];

/// `params(..)` or `headers(..)` without what becomes of it.
pub(super) struct Listed(Vec<Origin>);

/// A list that has become text.
pub(super) struct List {
    pub(super) pairs: Pairs,
    /// The calls that were used up.
    pub(super) calls: usize,
    /// Whether something that the template itself adds tells a secret.
    pub(super) tainted: bool,
}

impl Listed {
    /// Reads the arguments of `params` and `headers`.
    pub(super) fn parse(name: Chunk<'_>, arguments: Option<Vec<Chunk<'_>>>) -> Result<Self, TemplateError> {
        let arguments = arguments.unwrap_or_default();
        if name.text == "headers" {
            let names: Result<Box<[Name]>, _> = arguments.iter().map(|argument| header(*argument)).collect();
            return match names? {
                names if names.is_empty() => {
                    let hint = "write headers('host','x-vendor-*')".to_owned();
                    Err(name.error("headers takes the names of headers", Some(hint)))
                }
                names => Ok(Self(vec![Origin::Headers(names)])),
            };
        }
        let mut from = Vec::new();
        for argument in &arguments {
            let origin = match argument.text {
                "query" => Origin::Query,
                "form" => Origin::Form,
                "json" => Origin::Json,
                _ => return Err(unknown_origin(*argument)),
            };
            if from.contains(&origin) {
                return Err(argument.error(format!("{} stands here twice", argument.text), None));
            }
            from.push(origin);
        }
        if from.is_empty() {
            return Err(unknown_origin(name));
        }
        Ok(Self(from))
    }
}

fn unknown_origin(at: Chunk<'_>) -> TemplateError {
    let hint = "write params(query), or several: params(query,form,json)".to_owned();
    at.error("params takes query, form and json", Some(hint))
}

fn header(argument: Chunk<'_>) -> Result<Name, TemplateError> {
    let text = match argument.quoted() {
        Some(quoted) => quoted?,
        None => argument.text.into(),
    };
    let lower = text.to_ascii_lowercase();
    let whole = lower.strip_suffix('*').unwrap_or(&lower);
    let good = (whole.is_empty() && lower == "*") || http::HeaderName::from_bytes(whole.as_bytes()).is_ok();
    if !good || whole.contains('*') {
        let hint = "write it as \"x-vendor-id\", or \"x-vendor-*\" for all that begin so".to_owned();
        return Err(argument.error(format!("{text:?} is no name of a header"), Some(hint)));
    }
    Ok(Name::parse(&lower))
}

/// The list that stands for the whole query, sorted as it was sent.
pub(super) fn sorted_query() -> Pairs {
    Pairs {
        from: [Origin::Query].into(),
        picks: [Pick::Sorted(Order::Raw)].into(),
        format: [Piece::Field(Field::Raw, [].into())].into(),
        sorted: false,
        joint: "&".into(),
    }
}

/// Reads calls until the list has become text.
pub(super) fn list(
    listed: Listed,
    whole: Chunk<'_>,
    calls: &[Chunk<'_>],
    context: &mut Context<'_, '_>,
) -> Result<List, TemplateError> {
    let is_headers = matches!(listed.0[..], [Origin::Headers(_)]);
    let mut picks = Vec::new();
    let mut format: Option<Box<[Piece]>> = None;
    let (mut sorted, mut tainted) = (false, false);
    for (index, segment) in calls.iter().enumerate() {
        let call = Call::parse(*segment)?;
        let of = if format.is_none() { Type::Pairs } else { Type::List };
        call.check_type(of, "what stands before it")?;
        let joint = match (call.function, of) {
            (Function::Pairs, _) => {
                format = Some(pieces(&call, context)?);
                if call.arguments.len() == 1 {
                    continue;
                }
                call.text(1)?
            }
            (Function::Join, _) => call.text(0)?,
            (Function::Sorted, Type::List) if call.arguments.is_empty() => {
                sorted = true;
                continue;
            }
            _ => {
                let (pick, tells) = pick(&call, is_headers, context)?;
                picks.push(pick);
                tainted |= tells;
                continue;
            }
        };
        let (picks, format) = (picks.into(), format.unwrap_or_default());
        let pairs = Pairs { from: listed.0.into(), picks, format, sorted, joint: (&*joint).into() };
        return Ok(List { pairs, calls: index + 1, tainted });
    }
    let hint = match format {
        None => "add |pairs('{k}={v}','&')",
        Some(_) => "add |join('&')",
    };
    Err(whole.error("this gives a list, which cannot stand here", Some(hint.to_owned())))
}

/// A step from list to list, and whether it adds a secret.
fn pick(call: &Call<'_>, is_headers: bool, context: &mut Context<'_, '_>) -> Result<(Pick, bool), TemplateError> {
    let names = || -> Result<Box<[Name]>, TemplateError> {
        let name = |index| {
            let name = call.name(index)?;
            Ok(Name::parse(&if is_headers { name.to_ascii_lowercase().into() } else { name }))
        };
        (0..call.arguments.len()).map(name).collect()
    };
    Ok(match call.function {
        Function::Without => (Pick::Without(names()?), false),
        Function::Only => (Pick::Only(names()?), false),
        Function::NonEmpty => (Pick::NonEmpty, false),
        Function::Scalars => (Pick::Scalars, false),
        Function::LowerNames => (Pick::LowerNames, false),
        Function::Merged => (Pick::Merged((&*call.text(0)?).into()), false),
        Function::With => {
            let (added, tells) = added(call, context)?;
            (Pick::With((&*call.name(0)?).into(), added), tells)
        }
        _ => {
            let order = match call.arguments.first().map(|argument| argument.text) {
                None => Order::Whole,
                Some("name") => Order::Name,
                Some("nocase") => Order::NoCase,
                Some("raw") => Order::Raw,
                Some(_) => return Err(call.wrong()),
            };
            (Pick::Sorted(order), false)
        }
    })
}

fn added(call: &Call<'_>, context: &mut Context<'_, '_>) -> Result<(Added, bool), TemplateError> {
    let argument = call.arguments[1];
    if let Some(name) = argument.after("secret:") {
        let pattern = secret(name)?;
        let shown = pattern.as_str().into();
        return Ok((Added::Secret(context.secrets.add(pattern, Kind::Text), shown), true));
    }
    if let Some(name) = argument.after("value.") {
        let index = value(name, context.scope)?;
        return Ok(match context.scope.values[index].tainted {
            true => (Added::SecretValue(index), true),
            false => (Added::Value(index), false),
        });
    }
    Ok((Added::Text((&*call.text(1)?).into()), false))
}

/// The format of an entry: literal text with `{k}`, `{v}` and their kin.
fn pieces(call: &Call<'_>, context: &mut Context<'_, '_>) -> Result<Box<[Piece]>, TemplateError> {
    let text = call.text(0)?;
    let whole = call.arguments[0];
    // Within quotes that have escapes a place cannot be told; then it is the whole argument.
    let here = |error: TemplateError| {
        let inner = whole.text.get(1..whole.text.len() - 1) == Some(&*text);
        let start = whole.range().start + 1;
        let at = if inner { start + error.at.start..start + error.at.end } else { whole.range() };
        TemplateError { at, ..error }
    };
    let mut errors = Vec::new();
    let mut format = Vec::new();
    for piece in lex::pieces(&text, &mut errors) {
        match piece {
            lex::Piece::Literal(literal, _) => format.push(Piece::Literal(literal.into())),
            lex::Piece::Hole(chunk) => format.push(field(chunk, context).map_err(here)?),
        }
    }
    match errors.into_iter().next() {
        Some(error) => Err(here(error)),
        None => Ok(format.into()),
    }
}

fn field(chunk: Chunk<'_>, context: &mut Context<'_, '_>) -> Result<Piece, TemplateError> {
    let segments = chunk.segments();
    let Some((name, calls)) = segments.split_first() else {
        return Err(chunk.error("a name is missing between the braces", None));
    };
    let Some((_, field)) = FIELDS.iter().find(|(known, _)| *known == name.text) else {
        let hint = nearest(name.text, FIELDS.iter().map(|(known, _)| *known)).map(did_you_mean);
        let hint = hint.unwrap_or_else(|| "write {k} for the name and {v} for the value".to_owned());
        return Err(name.error(format!("an entry of a list has no {:?}", name.text), Some(hint)));
    };
    let mut of = Type::Text;
    let mut before = name.text;
    let mut steps: Vec<Step> = Vec::new();
    for segment in calls {
        let call = Call::parse(*segment)?;
        call.check_type(of, before)?;
        steps.push(call.step(context)?);
        of = call.function.gives(of);
        before = segment.text;
    }
    if of == Type::Bytes {
        return Err(
            chunk.error("this gives raw bytes, which a list cannot have", Some("add |hex or |base64".to_owned()))
        );
    }
    Ok(Piece::Field(*field, steps.into()))
}
