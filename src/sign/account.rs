//! A user name, public or secret, and a password: what `basic` and `digest` prove themselves with.

use super::basic::PublicValue;
use super::material::{Kind, Material};
use super::text::text_of;
use super::{Place, Requirement, SignError};
use crate::secret::name::NamePattern;

/// A user name and a password.
#[derive(Debug)]
pub(super) struct Account {
    username: Option<String>,
    requirements: Vec<Requirement>,
}

impl Account {
    /// A literal user name has no `:` and no control characters (the caller checked).
    pub(super) fn new(username: PublicValue, password: NamePattern) -> Self {
        let password = Requirement { pattern: password, kind: Kind::Password, place: Place::Password };
        match username {
            PublicValue::Literal(name) => Self { username: Some(name), requirements: vec![password] },
            PublicValue::Secret(pattern) => {
                let username = Requirement { pattern, kind: Kind::Username, place: Place::Username };
                Self { username: None, requirements: vec![username, password] }
            }
        }
    }

    /// The password, and before it the user name where that is secret.
    pub(super) fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// The user name, where the configuration has it written.
    pub(super) fn public_username(&self) -> Option<&str> {
        self.username.as_deref()
    }

    /// User name and password of the materials of [`Self::requirements`].
    pub(super) fn read<'k>(&'k self, keys: &'k [Material]) -> Result<(&'k str, &'k str), SignError> {
        match (&self.username, keys) {
            (Some(name), [Material::Text(password), ..]) => Ok((name.as_str(), text_of(password)?)),
            (None, [Material::Text(name), Material::Text(password), ..]) => Ok((text_of(name)?, text_of(password)?)),
            _ => Err(SignError::Missing("secret".to_owned())),
        }
    }
}
