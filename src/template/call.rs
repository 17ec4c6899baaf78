//! Calls of functions: the name is looked up, the arguments are read, the type is checked.

use super::compile::{did_you_mean, secret, value};
use super::functions::{FUNCTIONS, Function};
use super::lex::Chunk;
use super::media::Media;
use super::step::{Condition, HmacKey, Keep, Step};
use super::suggest::nearest;
use super::{Scope, Secrets, TemplateError, Type};
use crate::sign::material::{HashAlgorithm, KeyEncoding, Kind};

/// The most that `first` and `last` take, in bytes.
const CUT_MAX: usize = 1 << 30;

/// What a call may use.
pub(super) struct Context<'s, 'm> {
    pub(super) scope: Scope<'s>,
    pub(super) secrets: &'m mut Secrets,
}

/// One function with what stands in its parentheses.
pub(super) struct Call<'t> {
    whole: Chunk<'t>,
    name: Chunk<'t>,
    pub(super) function: Function,
    pub(super) arguments: Vec<Chunk<'t>>,
}

impl<'t> Call<'t> {
    /// Looks the function up and counts its arguments.
    pub(super) fn parse(whole: Chunk<'t>) -> Result<Self, TemplateError> {
        let (name, arguments) = whole.call()?;
        let Some((_, function)) = FUNCTIONS.iter().find(|(known, _)| *known == name.text) else {
            let hint = nearest(name.text, FUNCTIONS.iter().map(|(known, _)| *known)).map(did_you_mean);
            return Err(name.error(format!("there is no function {:?}", name.text), hint));
        };
        let call = Self { whole, name, function: *function, arguments: arguments.unwrap_or_default() };
        let count = match call.function {
            Function::UrlEncode | Function::Sorted => 0..=1,
            Function::Format | Function::Pairs | Function::Hmac(_) => 1..=2,
            Function::Replace | Function::With => 2..=2,
            Function::If | Function::Unless | Function::Without | Function::Only => 1..=64,
            function if function.wants() == "no argument" => 0..=0,
            _ => 1..=1,
        };
        if count.contains(&call.arguments.len()) { Ok(call) } else { Err(call.wrong()) }
    }

    /// "NAME takes ..", with an example.
    pub(super) fn wrong(&self) -> TemplateError {
        let message = format!("{} takes {}", self.name.text, self.function.wants());
        self.whole.error(message, Some(format!("write {}", self.function.example(self.name.text))))
    }

    /// An argument in quotes.
    pub(super) fn text(&self, index: usize) -> Result<std::borrow::Cow<'t, str>, TemplateError> {
        self.arguments.get(index).and_then(Chunk::quoted).unwrap_or_else(|| Err(self.wrong()))
    }

    /// An argument that is a name, in quotes or not.
    pub(super) fn name(&self, index: usize) -> Result<std::borrow::Cow<'t, str>, TemplateError> {
        let argument = self.arguments.get(index).ok_or_else(|| self.wrong())?;
        let name = match argument.quoted() {
            Some(quoted) => quoted?,
            None => std::borrow::Cow::Borrowed(argument.text),
        };
        if name.is_empty() { Err(self.wrong()) } else { Ok(name) }
    }

    /// Whether the function works on what comes in; `before` is what gave it.
    pub(super) fn check_type(&self, of: Type, before: &str) -> Result<(), TemplateError> {
        if self.function.takes(of) {
            return Ok(());
        }
        let name = self.name.text;
        let wrong = |message: String, hint: &str| Err(self.name.error(message, Some(hint.to_owned())));
        if self.function.is_of_time() {
            let message = format!("{name} works on a time, which {before} is not");
            return wrong(message, &format!("only {{timestamp}} is a time, and {name} comes first"));
        }
        if self.function.is_of_pairs() {
            let message = format!("{name} works on a list of parameters, which {before} is not");
            return wrong(message, "begin with params(query) or headers('x-*')");
        }
        match of {
            Type::Pairs => wrong(format!("{name} does not work on a list"), "add |pairs('{k}={v}','&') before it"),
            Type::List => wrong(format!("{name} does not work on a list"), "add |join('&') before it"),
            _ if self.function == Function::Join => {
                let message = format!("join works on what pairs(\"..\") gives, which {before} does not");
                wrong(message, "write params(query)|pairs('{k}={v}')|join('&')")
            }
            _ => {
                let message = format!("{name} works on text, but {before} gives raw bytes");
                wrong(message, "add |hex or |base64 before it")
            }
        }
    }

    /// The step that a function of text is.
    pub(super) fn step(&self, context: &mut Context<'_, '_>) -> Result<Step, TemplateError> {
        Ok(match self.function {
            Function::Hmac(algorithm) => Step::Hmac(algorithm, self.key(algorithm, context)?),
            Function::UrlEncode if !self.arguments.is_empty() => Step::UrlEncode(self.text(0)?.as_bytes().into()),
            Function::Replace => {
                let from = self.text(0)?;
                if from.is_empty() {
                    return Err(self.wrong());
                }
                Step::Replace((&*from).into(), (&*self.text(1)?).into())
            }
            Function::First | Function::Last => {
                let count = self.arguments[0].text.parse().ok().filter(|count| (1..=CUT_MAX).contains(count));
                Step::Cut(self.function, count.ok_or_else(|| self.wrong())?)
            }
            Function::If => Step::When(Keep::If, self.conditions()?),
            Function::Unless => Step::When(Keep::Unless, self.conditions()?),
            function if !self.arguments.is_empty() => {
                let text = self.text(0)?;
                if text.is_empty() {
                    return Err(self.wrong());
                }
                Step::Text(function, (&*text).into())
            }
            function => Step::Plain(function),
        })
    }

    /// `secret:NAME`, perhaps with its encoding, or `value.NAME`.
    fn key(&self, algorithm: HashAlgorithm, context: &mut Context<'_, '_>) -> Result<HmacKey, TemplateError> {
        let argument = self.arguments[0];
        if let (Some(name), 1) = (argument.after("value."), self.arguments.len()) {
            return Ok(HmacKey::Value(value(name, context.scope)?));
        }
        let name = argument.after("secret:").ok_or_else(|| self.wrong())?;
        let encoding = match self.arguments.get(1).map(|encoding| encoding.text) {
            None | Some("text") => KeyEncoding::Text,
            Some("bytes") => KeyEncoding::Bytes,
            Some("hex") => KeyEncoding::Hex,
            Some("base64") => KeyEncoding::Base64,
            Some(_) => {
                let hint = "the encodings are text, bytes, hex and base64".to_owned();
                return Err(self.arguments[1].error("this is no encoding of a key", Some(hint)));
            }
        };
        let pattern = secret(name)?;
        let shown = pattern.as_str().into();
        Ok(HmacKey::Secret(context.secrets.add(pattern, Kind::HmacKey(algorithm, encoding)), shown))
    }

    fn conditions(&self) -> Result<Box<[Condition]>, TemplateError> {
        self.arguments.iter().map(|argument| condition(*argument)).collect()
    }
}

fn condition(argument: Chunk<'_>) -> Result<Condition, TemplateError> {
    if let Some(text) = argument.quoted() {
        return Ok(Condition::Text((&*text?).into()));
    }
    Ok(match argument.text {
        "multipart" => Condition::Media(Media::Multipart),
        "form" => Condition::Media(Media::Form),
        "json" => Condition::Media(Media::Json),
        "body" => Condition::Body,
        "query" => Condition::Query,
        method if !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_uppercase()) => {
            Condition::Method(method.into())
        }
        _ => {
            let hint = "conditions are body, query, form, json, multipart, a method such as GET, and a text in quotes";
            return Err(argument.error(format!("{:?} is no condition", argument.text), Some(hint.to_owned())));
        }
    })
}
