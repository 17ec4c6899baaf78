//! What an `hmac` credential sets before it signs, so that lists of parameters and headers have it as if it had been
//! sent. Not here: what is made of the signature, or of lists. Called by `hmac` and `hmac_compile`.

use http::HeaderName;
use zeroize::Zeroizing;

use super::SignError;
use super::hmac::{Hmac, ROOM};
use crate::template::{Input, Own, OwnPlace, Template};

/// What must wait for lists and what lists wait for; only where a template has a list.
#[derive(Debug)]
pub(super) struct Order {
    /// For each value, when it is made.
    values: Box<[When]>,
    /// What is set before there are lists: where, and its place among those of that kind.
    own: Box<[(OwnPlace, usize)]>,
}

/// When a value is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// Before there are lists.
    Early,
    /// It is made of a list.
    Late,
}

impl Order {
    /// The order of a table; `None` where no template has a list.
    pub(super) fn of(
        values: &[Template],
        others: &[&Template],
        set: &[(HeaderName, Template)],
        fields: [(OwnPlace, &Vec<(String, Template)>); 3],
    ) -> Option<Self> {
        let set_to =
            || set.iter().map(|(_, t)| t).chain(fields.iter().flat_map(|(_, list)| list.iter().map(|(_, t)| t)));
        let mut all = values.iter().chain(others.iter().copied()).chain(set_to());
        if !all.any(Template::reads_lists) {
            return None;
        }
        let mut when: Vec<When> = Vec::with_capacity(values.len());
        for value in values {
            let late = value.reads_lists() || value.values().any(|index| when.get(index) == Some(&When::Late));
            when.push(if late { When::Late } else { When::Early });
        }
        let is_early = |template: &Template| {
            let late_value = template.values().any(|index| when.get(index) == Some(&When::Late));
            !template.reads_signature() && !template.reads_lists() && !late_value
        };
        let headers = set.iter().enumerate().filter(|(_, (_, t))| is_early(t)).map(|(at, _)| (OwnPlace::Header, at));
        let fields =
            fields.iter().flat_map(|(place, list)| list.iter().enumerate().map(|(at, (_, t))| (*place, at, t)));
        let fields = fields.filter(|(_, _, template)| is_early(template)).map(|(place, at, _)| (place, at));
        let own = headers.chain(fields).collect();
        Some(Self { own, values: when.into() })
    }

    /// Whether the value at this place is made now.
    pub(super) fn is(&self, index: usize, when: When) -> bool {
        self.values.get(index) == Some(&when)
    }

    /// Whether something that is set before there are lists tells a secret.
    pub(super) fn tells_a_secret(&self, hmac: &Hmac) -> bool {
        self.early(hmac).any(|(_, _, template)| template.is_tainted())
    }

    fn early<'h>(&'h self, hmac: &'h Hmac) -> impl Iterator<Item = (OwnPlace, &'h str, &'h Template)> {
        self.own.iter().filter_map(|&(place, index)| {
            let list = match place {
                OwnPlace::Header => {
                    let (name, template) = hmac.set.get(index)?;
                    return Some((place, name.as_str(), template));
                }
                OwnPlace::Query => &hmac.set_query,
                OwnPlace::Form => &hmac.set_form,
                OwnPlace::Json => &hmac.set_json,
            };
            let (name, template) = list.get(index).map(|(name, template)| (&**name, template))?;
            Some((place, name, template))
        })
    }

    /// What is set before there are lists.
    pub(super) fn own(&self, hmac: &Hmac, input: &Input<'_>, shown: Shown) -> Result<Vec<Own>, SignError> {
        let each = self.early(hmac).map(|(place, name, template)| made(place, name, template, input, shown));
        let mut own = each.collect::<Result<Vec<_>, _>>()?;
        own.retain(|own| !own.value.is_empty());
        Ok(own)
    }
}

/// Whether people will read what is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    Yes,
    No,
}

fn made(place: OwnPlace, name: &str, template: &Template, input: &Input<'_>, shown: Shown) -> Result<Own, SignError> {
    let mut value = Zeroizing::new(Vec::with_capacity(ROOM));
    template.write(input, &mut *value)?;
    let mut masked = None;
    if shown == Shown::Yes && template.is_tainted() {
        let mut text = Vec::new();
        template.write_shown(input, &mut text)?;
        masked = Some(text);
    }
    Ok(Own { place, name: name.into(), value, shown: masked })
}
