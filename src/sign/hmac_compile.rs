//! Checks an `hmac` table as a whole and compiles its templates. Caller: [`Hmac::compile`].

use std::collections::HashSet;

use http::HeaderName;
use http::header;

use super::hmac::{Hmac, HmacSpec, KeySpec, Needs};
use super::hmac_own::Order;
use super::material::Kind;
use super::{Covers, Place, Requirement, Slot};
use crate::template::{Lists, Named, OwnPlace, Position, Scope, Secrets, Template, TemplateError};

/// Headers that belong to the connection or to the message's framing; no credential makes them.
const NEVER_SET: [HeaderName; 9] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
    header::EXPECT,
    header::PROXY_AUTHORIZATION,
];

/// Collects what the templates of one table need and what is wrong with them.
#[derive(Default)]
struct Compiler {
    secrets: Secrets,
    places: Vec<Place>,
    errors: Vec<(Place, TemplateError)>,
    named: Vec<Named>,
    lists: Lists,
}

type Mistakes = Vec<(Place, TemplateError)>;

/// Lists may have what the table itself sets, which is known to tell a secret or not only when it has been compiled.
pub(super) fn compile(spec: HmacSpec) -> Result<Hmac, Mistakes> {
    let hmac = compile_with(spec.clone(), Lists::Plain)?;
    if hmac.order.as_ref().is_some_and(|order| order.tells_a_secret(&hmac)) {
        return compile_with(spec, Lists::Tainted);
    }
    Ok(hmac)
}

fn compile_with(spec: HmacSpec, lists: Lists) -> Result<Hmac, Mistakes> {
    let mut compiler = Compiler { lists, ..Compiler::default() };
    compiler.check_names(&spec);
    let mut key_template = None;
    match spec.key {
        KeySpec::Secret(name, encoding) => {
            compiler.secrets.add(name, Kind::HmacKey(spec.algorithm, encoding));
            compiler.places.push(Place::Secret);
        }
        KeySpec::Template(text) => key_template = Some(text),
    }
    let values = compiler.values(&spec.values);
    let key = key_template.and_then(|text| compiler.template(&text, Position::Signed, Place::Key));
    let sign = compiler.template(&spec.sign, Position::Signed, Place::Sign);
    let set = compiler.each(spec.set, Position::Header, |name| Place::Set(name.to_string()));
    let set_query = compiler.each(spec.set_query, Position::Query, |name| Place::SetQuery(name.clone()));
    let set_form = compiler.each(spec.set_form, Position::Query, |name| Place::SetForm(name.clone()));
    let set_json = compiler.each(spec.set_json, Position::Query, |name| Place::SetJson(name.clone()));
    let results: Vec<(Place, &Template)> = set
        .iter()
        .map(|(name, template)| (Place::Set(name.to_string()), template))
        .chain(set_query.iter().map(|(name, template)| (Place::SetQuery(name.clone()), template)))
        .chain(set_form.iter().map(|(name, template)| (Place::SetForm(name.clone()), template)))
        .chain(set_json.iter().map(|(name, template)| (Place::SetJson(name.clone()), template)))
        .collect();
    compiler.check_signature(&results);
    compiler.check_key();
    let before = sign.iter().map(|template| (Place::Sign, template));
    let before = before.chain(key.iter().map(|template| (Place::Key, template)));
    let before = before.chain(values.iter().map(|(p, t)| (p.clone(), t)));
    let all: Vec<(Place, &Template)> = before.chain(results).collect();
    for (place, template) in &all {
        compiler.check_own_slots(place, template, &set, &set_query);
    }
    let any = |reads: fn(&Template) -> bool| all.iter().any(|(_, template)| reads(template));
    let needs = Needs {
        random: any(Template::reads_random),
        sequence: any(Template::reads_sequence),
        token: any(Template::reads_token),
    };
    let covers = Covers { query: any(Template::reads_query), body: any(Template::reads_body) };
    let values: Vec<Template> = values.into_iter().map(|(_, template)| template).collect();
    let others: Vec<&Template> = key.iter().chain(&sign).collect();
    let own = [(OwnPlace::Query, &set_query), (OwnPlace::Form, &set_form), (OwnPlace::Json, &set_json)];
    let order = Order::of(&values, &others, &set, own);
    let slots = set.iter().map(|(name, _)| Slot::Header(name.clone()));
    let slots = slots.chain(set_query.iter().map(|(name, _)| Slot::Query(name.clone())));
    let slots = slots.chain(set_form.iter().map(|(name, _)| Slot::Form(name.clone())));
    let slots = slots.chain(set_json.iter().map(|(name, _)| Slot::Json(name.clone()))).collect();
    let requirements = compiler.requirements();
    match sign {
        Some(sign) if compiler.errors.is_empty() => Ok(Hmac {
            requirements,
            slots,
            covers,
            needs,
            order,
            algorithm: spec.algorithm,
            encoding: spec.encoding,
            values,
            key,
            sign,
            set,
            set_query,
            set_form,
            set_json,
        }),
        _ => Err(compiler.errors),
    }
}

impl Compiler {
    fn template(&mut self, text: &str, position: Position, place: Place) -> Option<Template> {
        let scope = Scope { position, values: &self.named, lists: self.lists };
        let parsed = Template::parse(text, scope, &mut self.secrets);
        self.places.resize(self.secrets.list().len(), place.clone());
        match parsed {
            Ok(template) => Some(template),
            Err(errors) => {
                self.errors.extend(errors.into_iter().map(|error| (place.clone(), error)));
                None
            }
        }
    }

    fn values(&mut self, values: &[(String, String)]) -> Vec<(Place, Template)> {
        let mut templates = Vec::with_capacity(values.len());
        for (name, text) in values {
            let place = Place::Value(name.clone());
            if self.named.iter().any(|known| known.is(name)) {
                self.whole(place, format!("the value {name:?} is declared twice"), None);
                continue;
            }
            // A value that does not compile is declared all the same, so that one mistake is told once.
            match self.template(text, Position::Signed, place.clone()) {
                Some(template) => {
                    self.named.push(Named::new(name.clone(), &template));
                    templates.push((place, template));
                }
                None => self.named.push(Named::unknown(name.clone())),
            }
        }
        templates
    }

    fn each<N>(
        &mut self,
        texts: Vec<(N, String)>,
        position: Position,
        place: impl Fn(&N) -> Place,
    ) -> Vec<(N, Template)> {
        let compiled = texts.into_iter().map(|(name, text)| {
            let template = self.template(&text, position, place(&name))?;
            Some((name, template))
        });
        compiled.flatten().collect()
    }

    fn check_names(&mut self, spec: &HmacSpec) {
        let mut seen = HashSet::new();
        for (name, _) in &spec.set {
            if NEVER_SET.contains(name) {
                self.whole(Place::Set(name.to_string()), format!("a credential cannot set the header {name}"), None);
            }
            if !seen.insert(name.as_str()) {
                self.whole(Place::Set(name.to_string()), format!("the header {name} is set twice"), None);
            }
        }
        let parameters: [(&[(String, String)], fn(String) -> Place, &str); 3] = [
            (&spec.set_query, Place::SetQuery, "query parameter"),
            (&spec.set_form, Place::SetForm, "form field"),
            (&spec.set_json, Place::SetJson, "JSON member"),
        ];
        for (list, place, what) in parameters {
            let mut seen = HashSet::new();
            for (name, _) in list {
                if name.is_empty() {
                    self.whole(place(name.clone()), format!("a {what} needs a name"), None);
                }
                if !seen.insert(name.as_str()) {
                    self.whole(place(name.clone()), format!("the {what} {name} is set twice"), None);
                }
            }
        }
        if let ([_, ..], [(name, _), ..]) = (&*spec.set_form, &*spec.set_json) {
            let message = "set_form and set_json are both there, and a body is a form or JSON".to_owned();
            self.whole(Place::SetJson(name.clone()), message, Some("write two credentials and two routes".to_owned()));
        }
    }

    /// Asked only when nothing else is wrong: a template with a mistake may be the one that has it.
    fn check_signature(&mut self, results: &[(Place, &Template)]) {
        if self.errors.is_empty() && !results.iter().any(|(_, template)| template.reads_signature()) {
            let hint = "write set = { \"X-Signature\" = \"{signature}\" }";
            let message =
                "the signature goes nowhere: no template of set, set_query, set_form or set_json has {signature}";
            self.whole(Place::Sign, message.to_owned(), Some(hint.to_owned()));
        }
    }

    /// A signature that anybody could make proves nothing.
    fn check_key(&mut self) {
        if self.errors.is_empty() && self.secrets.list().is_empty() {
            let hint = "write {secret:NAME} in it, or in a value that it is made of";
            self.whole(Place::Key, "this key is made of no secret".to_owned(), Some(hint.to_owned()));
        }
    }

    /// What the worker sends in a slot of this credential is dropped before it signs, so that a
    /// template that reads it would always read nothing.
    fn check_own_slots(
        &mut self,
        place: &Place,
        template: &Template,
        set: &[(HeaderName, Template)],
        set_query: &[(String, Template)],
    ) {
        let headers = template.headers().filter(|read| set.iter().any(|(name, _)| name == *read));
        let headers = headers.map(|read| format!("header {read}"));
        let parameters = template.query_parameters().filter(|read| set_query.iter().any(|(name, _)| name == read));
        let parameters = parameters.map(|read| format!("query parameter {read}"));
        for read in headers.chain(parameters) {
            let message = format!("the {read} is set by this credential itself, so it is empty here");
            self.whole(place.clone(), message, Some("sign the variable that it is set to".to_owned()));
        }
    }

    fn whole(&mut self, place: Place, message: String, hint: Option<String>) {
        self.errors.push((place, TemplateError { at: 0..0, message, hint }));
    }

    fn requirements(&self) -> Vec<Requirement> {
        let named = self.secrets.list().iter().zip(&self.places);
        named
            .map(|((pattern, kind), place)| Requirement { pattern: pattern.clone(), kind: *kind, place: place.clone() })
            .collect()
    }
}
