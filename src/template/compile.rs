//! From the text of a template to the program that runs: names are looked up, types are checked.

use std::ops::Range;

use http::HeaderName;

use super::functions::{FUNCTIONS, Function, Step, Wants};
use super::lex::{self, Chunk, Piece};
use super::suggest::nearest;
use super::variables::{NONCE_BYTES, NONCE_BYTES_MAX, PLAIN, Plain, Source, strftime};
use super::{Hole, Part, Position, Scope, Secrets, Template, TemplateError, Type};
use crate::clock::Timestamp;
use crate::secret::name::NamePattern;
use crate::sign::material::{HashAlgorithm, KeyEncoding, Kind};

const ENCODE_IT: &str = "add |hex or |base64";

/// The names of variables that take something after them, as they are written.
const WITH_NAME: [&str; 5] = ["query.NAME", "header.NAME", "capture.NAME", "secret:NAME", "value.NAME"];

/// Compiles a template; every mistake in the order of the text.
pub(super) fn template(text: &str, scope: Scope<'_>, secrets: &mut Secrets) -> Result<Template, Vec<TemplateError>> {
    let mut errors = Vec::new();
    let mut parts = Vec::new();
    let mut gives = Type::Text;
    for piece in lex::pieces(text, &mut errors) {
        match piece {
            Piece::Literal(literal, at) => {
                check_literal(&literal, at, scope.position, &mut errors);
                parts.push(Part::Literal(literal.into()));
            }
            Piece::Hole(chunk) => match hole(chunk, scope, secrets) {
                Ok((hole, Type::Bytes)) if scope.position != Position::Signed => {
                    drop(hole);
                    errors
                        .push(chunk.error("this gives raw bytes, which cannot stand here", Some(ENCODE_IT.to_owned())));
                }
                Ok((hole, of)) => {
                    if of == Type::Bytes {
                        gives = Type::Bytes;
                    }
                    parts.push(Part::Hole(hole));
                }
                Err(error) => errors.push(error),
            },
        }
    }
    if errors.is_empty() {
        let tainted = parts.iter().any(|part| matches!(part, Part::Hole(hole) if hole.tainted));
        Ok(Template { parts, gives, tainted })
    } else {
        errors.sort_by_key(|error| error.at.start);
        Err(errors)
    }
}

/// A byte that no header may have is refused when the configuration loads (RFC 9110 section 5.5).
fn check_literal(literal: &str, at: Range<usize>, position: Position, errors: &mut Vec<TemplateError>) {
    let forbidden = |c: char| c.is_ascii_control() && c != '\t';
    if position == Position::Header && literal.contains(forbidden) {
        errors.push(TemplateError {
            at,
            message: "a header cannot have a line break or another control character".to_owned(),
            hint: None,
        });
    }
}

/// A variable before its secret has a place among the others: that needs to know what becomes of it.
enum Variable {
    Ready(Source),
    Secret(NamePattern),
}

fn hole(chunk: Chunk<'_>, scope: Scope<'_>, secrets: &mut Secrets) -> Result<(Hole, Type), TemplateError> {
    let segments = chunk.segments();
    let Some((first, calls)) = segments.split_first() else {
        return Err(empty(chunk));
    };
    let (mut variable, mut of, mut tainted) = self::variable(*first, scope)?;
    let mut before = first.text;
    let mut encoded = false;
    let mut steps = Vec::with_capacity(calls.len());
    for call in calls {
        let (function, name, argument) = self::function(*call)?;
        if !function.takes(of) {
            return Err(wrong_type(name, function, of, before));
        }
        match (function, argument) {
            (Function::Format, Argument::Text(format)) => {
                check_format(format, scope.position)?;
                variable = Variable::Ready(Source::Formatted(format.text.trim_matches('"').into()));
            }
            (Function::CutPrefix, Argument::Text(prefix)) => {
                steps.push(Step::CutPrefix(prefix.text.trim_matches('"').into()));
            }
            (Function::Hmac(algorithm), Argument::Secret(pattern)) => {
                steps.push(hmac_step(algorithm, pattern, secrets));
                tainted = false;
            }
            _ => steps.push(Step::Plain(function)),
        }
        of = function.gives();
        encoded |= function.gives_ascii();
        before = call.text;
    }
    let source = match variable {
        Variable::Ready(source) => source,
        Variable::Secret(pattern) => {
            let bare = scope.position == Position::Header && !encoded;
            let shown = pattern.as_str().into();
            Source::Secret(secrets.add(pattern, if bare { Kind::HeaderText } else { Kind::Text }), shown)
        }
    };
    Ok((Hole { source, steps: steps.into(), tainted }, of))
}

fn hmac_step(algorithm: HashAlgorithm, pattern: NamePattern, secrets: &mut Secrets) -> Step {
    let shown = pattern.as_str().into();
    Step::Hmac(secrets.add(pattern, Kind::HmacKey(algorithm, KeyEncoding::Text)), shown)
}

fn empty(chunk: Chunk<'_>) -> TemplateError {
    chunk.error("a variable is missing between the braces", Some("write {{ and }} for literal braces".to_owned()))
}

/// The variable of a hole, its type, and whether it tells a secret.
fn variable(chunk: Chunk<'_>, scope: Scope<'_>) -> Result<(Variable, Type, bool), TemplateError> {
    if chunk.text.is_empty() {
        return Err(empty(chunk));
    }
    if let Some(name) = chunk.after("secret:") {
        return Ok((Variable::Secret(secret(name)?), Type::Text, true));
    }
    let ready = |source, of| Ok((Variable::Ready(source), of, false));
    if let Some(name) = chunk.after("query.") {
        return ready(Source::QueryParameter(named(chunk, name)?.into()), Type::Text);
    }
    if let Some(name) = chunk.after("header.") {
        return ready(header(chunk, name)?, Type::Text);
    }
    if let Some(name) = chunk.after("capture.") {
        return ready(Source::Capture(named(chunk, name)?.into()), Type::Text);
    }
    if let Some(name) = chunk.after("value.") {
        let index = value(name, scope)?;
        let value = &scope.values[index];
        return Ok((Variable::Ready(Source::Value(index)), value.gives, value.tainted));
    }
    let (name, arguments) = chunk.call()?;
    if name.text == "nonce" {
        return ready(nonce(name, arguments)?, Type::Text);
    }
    let Some((_, plain, of)) = PLAIN.iter().find(|(known, ..)| *known == name.text) else {
        return Err(unknown_variable(name));
    };
    if arguments.is_some() {
        return Err(chunk.error(format!("{} takes no argument", name.text), None));
    }
    if *plain == Plain::Signature && scope.position == Position::Signed {
        let hint = "use it in set, set_query, set_form or set_json, which are made after signing";
        return Err(name.error("there is no signature yet when this is evaluated", Some(hint.to_owned())));
    }
    ready(Source::Plain(*plain), *of)
}

fn named<'t>(whole: Chunk<'t>, name: Chunk<'t>) -> Result<&'t str, TemplateError> {
    if name.text.is_empty() {
        return Err(whole.error(format!("a name is missing after {:?}", whole.text), None));
    }
    Ok(name.text)
}

fn header(whole: Chunk<'_>, name: Chunk<'_>) -> Result<Source, TemplateError> {
    let parsed = HeaderName::from_bytes(named(whole, name)?.as_bytes())
        .map_err(|_| name.error(format!("{:?} is no name of a header", name.text), None))?;
    // The Host that is sent stands apart from the other headers until the request leaves.
    Ok(if parsed == http::header::HOST { Source::Plain(Plain::Host) } else { Source::Header(parsed) })
}

fn secret(name: Chunk<'_>) -> Result<NamePattern, TemplateError> {
    NamePattern::parse(name.text).map_err(|error| name.error(error.to_string(), None))
}

fn value(name: Chunk<'_>, scope: Scope<'_>) -> Result<usize, TemplateError> {
    scope.values.iter().position(|value| value.name == name.text).ok_or_else(|| {
        let known = nearest(name.text, scope.values.iter().map(|value| value.name.as_str()));
        let hint = known.map_or("a value may use those that are declared before it".to_owned(), did_you_mean);
        name.error(format!("there is no value {:?} before this", name.text), Some(hint))
    })
}

fn nonce(name: Chunk<'_>, arguments: Option<Vec<Chunk<'_>>>) -> Result<Source, TemplateError> {
    let Some(arguments) = arguments else {
        return Ok(Source::Nonce(NONCE_BYTES));
    };
    let number = match arguments.as_slice() {
        [only] => only.text.parse().ok().filter(|bytes| (NONCE_BYTES..=NONCE_BYTES_MAX).contains(bytes)),
        _ => None,
    };
    number.map(Source::Nonce).ok_or_else(|| {
        let message = format!("nonce takes one number of random bytes, {NONCE_BYTES} to {NONCE_BYTES_MAX}");
        name.error(message, Some("the text is twice as long, in hexadecimal".to_owned()))
    })
}

fn did_you_mean(name: &str) -> String {
    format!("did you mean {name}?")
}

fn unknown_variable(name: Chunk<'_>) -> TemplateError {
    let message = format!("there is no variable {:?}", name.text);
    if FUNCTIONS.iter().any(|(known, _)| *known == name.text) {
        return name.error(message, Some(format!("{0} is a function: write {{VARIABLE|{0}}}", name.text)));
    }
    let plain = PLAIN.iter().map(|(known, ..)| *known).chain(["nonce"]).chain(WITH_NAME);
    let hint = nearest(name.text, plain).map(did_you_mean);
    let identifier = name.text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let capture = || identifier.then(|| format!("a capture of the route's host is written {{capture.{}}}", name.text));
    name.error(message, hint.or_else(capture))
}

enum Argument<'t> {
    Nothing,
    Text(Chunk<'t>),
    Secret(NamePattern),
}

fn function<'t>(chunk: Chunk<'t>) -> Result<(Function, Chunk<'t>, Argument<'t>), TemplateError> {
    let (name, arguments) = chunk.call()?;
    let Some((_, function)) = FUNCTIONS.iter().find(|(known, _)| *known == name.text) else {
        let hint = nearest(name.text, FUNCTIONS.iter().map(|(known, _)| *known)).map(did_you_mean);
        return Err(name.error(format!("there is no function {:?}", name.text), hint));
    };
    let written = || Some(format!("write {}", function.example(name.text)));
    let argument = match (function.wants(), arguments.as_deref().unwrap_or_default()) {
        (Wants::Nothing, []) => Argument::Nothing,
        (Wants::Nothing, _) => return Err(chunk.error(format!("{} takes no argument", name.text), written())),
        (Wants::Text, [text]) if text.quoted().is_some() => Argument::Text(*text),
        (Wants::Text, _) => return Err(chunk.error(format!("{} takes one text in quotes", name.text), written())),
        (Wants::Secret, [only]) => match only.after("secret:") {
            Some(secret) => Argument::Secret(self::secret(secret)?),
            None => return Err(chunk.error(format!("{} takes the secret that is its key", name.text), written())),
        },
        (Wants::Secret, _) => {
            return Err(chunk.error(format!("{} takes the secret that is its key", name.text), written()));
        }
    };
    Ok((*function, name, argument))
}

fn wrong_type(name: Chunk<'_>, function: Function, of: Type, before: &str) -> TemplateError {
    if function == Function::Format {
        let hint = "only {timestamp} is a time, and format comes first";
        return name.error(format!("format works on a time, which {before} is not"), Some(hint.to_owned()));
    }
    let what = match of {
        Type::Bytes => "raw bytes",
        Type::Time => "a time",
        Type::Text => "text",
    };
    name.error(
        format!("{} works on text, but {before} gives {what}", name.text),
        Some(format!("{ENCODE_IT} before it")),
    )
}

/// A format that jiff cannot use would otherwise show itself at the first request.
fn check_format(format: Chunk<'_>, position: Position) -> Result<(), TemplateError> {
    let pattern = format.text.trim_matches('"');
    let sample = strftime(Timestamp::from_seconds(0), pattern).ok_or_else(|| {
        format
            .error(format!("{pattern:?} is no format of a time"), Some("as in strftime: %Y-%m-%dT%H:%M:%SZ".to_owned()))
    })?;
    if position == Position::Header && sample.contains(|c: char| c.is_ascii_control() && c != '\t') {
        return Err(format.error("a header cannot have a line break or another control character", None));
    }
    Ok(())
}
