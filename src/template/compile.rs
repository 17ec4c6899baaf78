//! From the text of a template to the program that runs: names of variables are looked up, types are checked.
//! Functions of text are `call`'s, lists `pairs_compile`'s.

use std::ops::Range;

use http::HeaderName;

use super::call::{Call, Context};
use super::functions::{FUNCTIONS, Function};
use super::lex::{self, Chunk, Piece};
use super::moment::{Form, HTTP_DATE, ISO_8601, Moment};
use super::nonce::{Alphabet, BYTES, BYTES_MAX, CHARACTERS_MAX, Nonce, Unit};
use super::pairs_compile::{self, Listed};
use super::step::Step;
use super::suggest::nearest;
use super::variables::{PLAIN, Plain, Source};
use super::{Hole, Lists, Part, Position, Scope, Secrets, Template, TemplateError, Type};
use crate::secret::name::NamePattern;
use crate::sign::material::Kind;

const ENCODE_IT: &str = "add |hex or |base64";

/// The names of variables that are neither in [`PLAIN`] nor take something after them.
const OTHERS: [&str; 7] = ["timestamp", "iso8601", "http_date", "nonce", "sorted_query", "params", "headers"];

/// The names of variables that take something after them, as they are written.
const WITH_NAME: [&str; 7] =
    ["query.NAME", "form.NAME", "json.NAME", "header.NAME", "capture.NAME", "secret:NAME", "value.NAME"];

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
    if position == Position::Header && !fits_header(literal) {
        errors.push(TemplateError { at, message: NO_CONTROL.to_owned(), hint: None });
    }
}

const NO_CONTROL: &str = "a header cannot have a line break or another control character";

fn fits_header(text: &str) -> bool {
    !text.contains(|c: char| c.is_ascii_control() && c != '\t')
}

/// A variable before what becomes of it is known.
enum Variable {
    Ready(Source),
    /// Its kind depends on the functions.
    Secret(NamePattern),
    Moment(Moment),
    List(Listed),
}

fn hole(chunk: Chunk<'_>, scope: Scope<'_>, secrets: &mut Secrets) -> Result<(Hole, Type), TemplateError> {
    let segments = chunk.segments();
    let Some((first, mut calls)) = segments.split_first() else {
        return Err(empty(chunk));
    };
    let (mut variable, mut of, mut tainted) = self::variable(*first, scope)?;
    let mut before = first.text;
    if let Variable::List(listed) = variable {
        tainted = scope.lists == Lists::Tainted;
        let mut context = Context { scope, secrets: &mut *secrets };
        let list = pairs_compile::list(listed, chunk, calls, &mut context)?;
        tainted |= list.tainted;
        calls = &calls[list.calls..];
        variable = Variable::Ready(Source::Pairs(Box::new(list.pairs)));
        of = Type::Text;
        before = "the list before it";
    }
    let mut encoded = false;
    let mut steps: Vec<Step> = Vec::with_capacity(calls.len());
    for segment in calls {
        let call = Call::parse(*segment)?;
        call.check_type(of, before)?;
        if let Variable::Moment(moment) = &mut variable
            && call.function.is_of_time()
        {
            time(moment, &call, scope.position)?;
        } else {
            steps.push(call.step(&mut Context { scope, secrets: &mut *secrets })?);
        }
        tainted &= !matches!(call.function, Function::Hmac(_));
        of = call.function.gives(of);
        encoded |= call.function.gives_ascii();
        before = segment.text;
    }
    let source = match variable {
        Variable::Ready(source) => source,
        Variable::Moment(moment) => Source::Moment(moment),
        Variable::Secret(pattern) => {
            let bare = scope.position == Position::Header && !encoded;
            let shown = pattern.as_str().into();
            Source::Secret(secrets.add(pattern, if bare { Kind::HeaderText } else { Kind::Text }), shown)
        }
        Variable::List(_) => return Err(empty(chunk)),
    };
    Ok((Hole { source, steps: steps.into(), tainted }, of))
}

/// A function of a time; a format that jiff cannot use would otherwise show itself at the first request.
fn time(moment: &mut Moment, call: &Call<'_>, position: Position) -> Result<(), TemplateError> {
    match call.function {
        Function::Millis => moment.form = Form::Millis,
        Function::Micros => moment.form = Form::Micros,
        Function::Add => {
            let plus = super::moment::duration(&call.text(0)?).and_then(|plus| moment.plus.checked_add(plus));
            moment.plus = plus.ok_or_else(|| call.wrong())?;
        }
        _ => {
            let pattern = call.text(0)?;
            let offset = match call.arguments.len() {
                1 => 0,
                _ => super::moment::offset(&call.text(1)?).ok_or_else(|| {
                    let hint = "write it as \"+08:00\", \"-03:30\" or \"UTC\"";
                    call.arguments[1].error("this is no offset from UTC", Some(hint.to_owned()))
                })?,
            };
            let sample = super::moment::strftime(crate::clock::Timestamp::from_seconds(0), &pattern, offset);
            let sample = sample.ok_or_else(|| {
                let message = format!("{pattern:?} is no format of a time");
                call.arguments[0].error(message, Some("as in strftime: %Y-%m-%dT%H:%M:%SZ".to_owned()))
            })?;
            if position == Position::Header && !fits_header(&sample) {
                return Err(call.arguments[0].error(NO_CONTROL, None));
            }
            moment.form = Form::Format(pattern.into(), offset);
        }
    }
    Ok(())
}

fn empty(chunk: Chunk<'_>) -> TemplateError {
    chunk.error("a variable is missing between the braces", Some("write {{ and }} for literal braces".to_owned()))
}

/// The variable of a hole, its type, and whether it tells a secret.
fn variable(chunk: Chunk<'_>, scope: Scope<'_>) -> Result<(Variable, Type, bool), TemplateError> {
    if chunk.text.is_empty() {
        return Err(empty(chunk));
    }
    if let Some(named) = with_name(chunk, scope)? {
        return Ok(named);
    }
    let (name, arguments) = chunk.call()?;
    if matches!(name.text, "params" | "headers") {
        return Ok((Variable::List(Listed::parse(name, arguments)?), Type::Pairs, false));
    }
    if name.text == "nonce" {
        return Ok((Variable::Ready(Source::Nonce(nonce(name, arguments)?)), Type::Text, false));
    }
    let (variable, of) = match name.text {
        "timestamp" => (Variable::Moment(Moment::default()), Type::Time),
        "iso8601" => (Variable::Moment(Moment::formatted(ISO_8601)), Type::Text),
        "http_date" => (Variable::Moment(Moment::formatted(HTTP_DATE)), Type::Text),
        "sorted_query" => (Variable::Ready(Source::Pairs(Box::new(pairs_compile::sorted_query()))), Type::Text),
        _ => {
            let Some((_, plain, of)) = PLAIN.iter().find(|(known, ..)| *known == name.text) else {
                return Err(unknown_variable(name));
            };
            if *plain == Plain::Signature && scope.position == Position::Signed {
                let hint = "use it in set, set_query, set_form or set_json, which are made after signing";
                return Err(name.error("there is no signature yet when this is evaluated", Some(hint.to_owned())));
            }
            (Variable::Ready(Source::Plain(*plain)), *of)
        }
    };
    if arguments.is_some() {
        return Err(chunk.error(format!("{} takes no argument", name.text), None));
    }
    let tainted = match name.text {
        "access_token" => true,
        "sorted_query" => scope.lists == Lists::Tainted,
        _ => false,
    };
    Ok((variable, of, tainted))
}

/// `query.NAME` and its kin.
fn with_name(chunk: Chunk<'_>, scope: Scope<'_>) -> Result<Option<(Variable, Type, bool)>, TemplateError> {
    let found = if let Some(name) = chunk.after("secret:") {
        (Variable::Secret(secret(name)?), Type::Text, true)
    } else if let Some(name) = chunk.after("value.") {
        let index = value(name, scope)?;
        let value = &scope.values[index];
        (Variable::Ready(Source::Value(index)), value.gives, value.tainted)
    } else {
        let source = if let Some(name) = chunk.after("query.") {
            Source::QueryParameter(named(chunk, name)?.into())
        } else if let Some(name) = chunk.after("form.") {
            Source::FormField(named(chunk, name)?.into())
        } else if let Some(name) = chunk.after("json.") {
            Source::Json(named(chunk, name)?.into())
        } else if let Some(name) = chunk.after("header.") {
            header(chunk, name)?
        } else if let Some(name) = chunk.after("capture.") {
            Source::Capture(named(chunk, name)?.into())
        } else if let Some(name) = chunk.after("param:") {
            let hint = "write the value itself, or a secret:NAME; {param:NAME} is for files of recipes";
            return Err(name.error("there are no parameters here", Some(hint.to_owned())));
        } else {
            return Ok(None);
        };
        (Variable::Ready(source), Type::Text, false)
    };
    Ok(Some(found))
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

/// The name of a secret.
pub(super) fn secret(name: Chunk<'_>) -> Result<NamePattern, TemplateError> {
    NamePattern::parse(name.text).map_err(|error| name.error(error.to_string(), None))
}

/// The place of a value.
pub(super) fn value(name: Chunk<'_>, scope: Scope<'_>) -> Result<usize, TemplateError> {
    scope.values.iter().position(|value| value.name == name.text).ok_or_else(|| {
        let known = nearest(name.text, scope.values.iter().map(|value| value.name.as_str()));
        let hint = known.map_or("a value may use those that are declared before it".to_owned(), did_you_mean);
        name.error(format!("there is no value {:?} before this", name.text), Some(hint))
    })
}

fn nonce(name: Chunk<'_>, arguments: Option<Vec<Chunk<'_>>>) -> Result<Nonce, TemplateError> {
    let words: Vec<&str> = arguments.iter().flatten().map(|argument| argument.text).collect();
    let characters = |alphabet: Alphabet, count: &str| {
        let count = count.parse().ok().filter(|count| (alphabet.least()..=CHARACTERS_MAX).contains(count));
        count.map(|count| Nonce::Characters(alphabet, count)).ok_or_else(|| {
            let message = format!("this nonce takes a number of characters, {} to {CHARACTERS_MAX}", alphabet.least());
            name.error(message, Some("fewer would be less than 128 random bits".to_owned()))
        })
    };
    match words.as_slice() {
        [] if arguments.is_none() => Ok(Nonce::Hex(BYTES)),
        ["alnum"] => Ok(Nonce::Characters(Alphabet::Alphanumeric, Alphabet::Alphanumeric.least())),
        ["digits"] => Ok(Nonce::Characters(Alphabet::Digits, Alphabet::Digits.least())),
        ["alnum", count] => characters(Alphabet::Alphanumeric, count),
        ["digits", count] => characters(Alphabet::Digits, count),
        ["increasing"] => Ok(Nonce::Increasing(Unit::Millis)),
        ["increasing", "ms"] => Ok(Nonce::Increasing(Unit::Millis)),
        ["increasing", "us"] => Ok(Nonce::Increasing(Unit::Micros)),
        ["increasing", "ns"] => Ok(Nonce::Increasing(Unit::Nanos)),
        words => {
            let number = match words {
                [only] => only.parse().ok().filter(|bytes| (BYTES..=BYTES_MAX).contains(bytes)),
                _ => None,
            };
            number.map(Nonce::Hex).ok_or_else(|| {
                let message = format!("nonce takes one number of random bytes, {BYTES} to {BYTES_MAX}");
                let hint = "the text is twice as long, in hexadecimal; or write nonce(alnum), nonce(digits) or nonce(increasing)";
                name.error(message, Some(hint.to_owned()))
            })
        }
    }
}

/// The hint at a name that was probably meant.
pub(super) fn did_you_mean(name: &str) -> String {
    format!("did you mean {name}?")
}

fn unknown_variable(name: Chunk<'_>) -> TemplateError {
    let message = format!("there is no variable {:?}", name.text);
    if FUNCTIONS.iter().any(|(known, _)| *known == name.text) {
        return name.error(message, Some(format!("{0} is a function: write {{VARIABLE|{0}}}", name.text)));
    }
    let plain = PLAIN.iter().map(|(known, ..)| *known).chain(OTHERS).chain(WITH_NAME);
    let hint = nearest(name.text, plain).map(did_you_mean);
    let identifier = name.text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let capture = || identifier.then(|| format!("a capture of the route's host is written {{capture.{}}}", name.text));
    name.error(message, hint.or_else(capture))
}
