//! The tokens of an `oauth2` credential: where they go. The token itself is made, kept and refreshed elsewhere; here it
//! is a key like any other. The secrets of this scheme are those of the token call, which no request ever carries.

use zeroize::Zeroizing;

use super::api_key::prefix_fits;
use super::material::{Kind, Material};
use super::text::{mask, put, text_of};
use super::{Injection, Place, Requirement, SignError, Slot};
use crate::secret::name::NamePattern;
use crate::secret::value::SecretBytes;
use crate::template::encode;

/// The part that every token has.
pub const ACCESS_TOKEN: &str = "access_token";
/// The second token, on the endpoints that `derive` names.
pub const DERIVED_TOKEN: &str = "derived_token";

/// Where the tokens of an `oauth2` credential go, and which secrets the token call needs.
#[derive(Debug)]
pub struct Token {
    requirements: Vec<Requirement>,
    placements: Vec<Placement>,
    /// What takes their place where there is a second token; empty without `derive`.
    derived: Vec<Placement>,
    slots: Vec<Slot>,
    parts: Vec<Box<str>>,
    shared: Shared,
}

/// One placement: `prefix` and then `value`, put into `slot`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Where.
    pub slot: Slot,
    /// What stands before the value. Must pass [`prefix_fits`].
    pub prefix: String,
    /// What is put there.
    pub value: Vec<Piece>,
}

/// A piece of a placement's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// As it stands.
    Text(Box<str>),
    /// A part of the token: `access_token`, `value.NAME`.
    Part(Box<str>),
    /// The tenant of the request.
    Tenant,
}

/// Whether one connection serves several tenants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shared {
    /// `per = "tenant"`: a token belongs to one tenant.
    No,
    /// `per = "credential"`
    Yes,
}

/// The secrets of the token call, by name; what the configuration has as a literal is not here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallNames {
    /// `client_id`
    pub client_id: Option<NamePattern>,
    /// `client_secret`
    pub client_secret: Option<NamePattern>,
    /// `username`
    pub username: Option<NamePattern>,
    /// `password`
    pub password: Option<NamePattern>,
}

/// The secrets of the token call; `None` for those that are literals or not needed.
#[derive(Clone, Copy, Debug, Default)]
pub struct CallSecrets<'k> {
    /// `client_id`
    pub client_id: Option<&'k SecretBytes>,
    /// `client_secret`
    pub client_secret: Option<&'k SecretBytes>,
    /// `username`
    pub username: Option<&'k SecretBytes>,
    /// `password`
    pub password: Option<&'k SecretBytes>,
}

impl Token {
    /// A scheme. Prefixes fit their slots; the caller has asked [`prefix_fits`].
    pub fn new(names: CallNames, placements: Vec<Placement>, shared: Shared) -> Self {
        let CallNames { client_id, client_secret, username, password } = names;
        let named = [
            (Place::ClientId, client_id),
            (Place::ClientSecret, client_secret),
            (Place::Username, username),
            (Place::Password, password),
        ];
        let requirements = named
            .into_iter()
            .filter_map(|(place, pattern)| Some(Requirement { pattern: pattern?, kind: Kind::Text, place }))
            .collect();
        let (derived, slots, parts) = (Vec::new(), Vec::new(), Vec::new());
        let mut token = Self { requirements, placements: Vec::new(), derived, slots, parts, shared };
        token.learn(&placements);
        token.placements = placements;
        token
    }

    /// The same with a second token, which goes where `placements` say. What else is put in stays, but where one of them
    /// fills the same place. Those places are emptied of what a worker sends in every request.
    #[must_use]
    pub fn with_derived(mut self, placements: Vec<Placement>) -> Self {
        self.learn(&placements);
        let taken = |slot: &Slot| placements.iter().any(|placement| placement.slot == *slot);
        self.derived = self.placements.iter().filter(|placement| !taken(&placement.slot)).cloned().collect();
        self.derived.extend(placements);
        self
    }

    fn learn(&mut self, placements: &[Placement]) {
        for placement in placements {
            if !self.slots.contains(&placement.slot) {
                self.slots.push(placement.slot.clone());
            }
            for piece in &placement.value {
                if let Piece::Part(name) = piece
                    && **name != *DERIVED_TOKEN
                    && !self.parts.contains(name)
                {
                    self.parts.push(name.clone());
                }
            }
        }
    }

    /// The parts of a token that [`Token::sign`] takes, in this order: `access_token`, `value.NAME`. The second token,
    /// if there is one, comes behind them.
    pub fn parts(&self) -> &[Box<str>] {
        &self.parts
    }

    /// Which secret of the token call is which; `keys` are the materials of [`Token::requirements`], in that order.
    pub fn call_secrets<'k>(&self, keys: &'k [Material]) -> CallSecrets<'k> {
        let mut secrets = CallSecrets::default();
        for (requirement, key) in self.requirements.iter().zip(keys) {
            let Material::Text(text) = key else { continue };
            match requirement.place {
                Place::ClientId => secrets.client_id = Some(text),
                Place::ClientSecret => secrets.client_secret = Some(text),
                Place::Username => secrets.username = Some(text),
                Place::Password => secrets.password = Some(text),
                _ => {}
            }
        }
        secrets
    }

    /// Where tokens go without a second one.
    pub fn placements(&self) -> &[Placement] {
        &self.placements
    }

    /// The secrets of the token call: client id, client secret, user name, password, those that there are.
    pub(super) fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    pub(super) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The access token among the parts of a token.
    pub(super) fn access_token<'k>(&self, keys: &'k [Material]) -> Option<&'k [u8]> {
        let place = self.parts.iter().position(|part| **part == *ACCESS_TOKEN)?;
        match keys.get(place) {
            Some(Material::Text(token)) => Some(token.expose()),
            _ => None,
        }
    }

    /// Whether one injection serves every request that has the same token.
    pub(super) fn is_constant(&self) -> bool {
        let all = || self.placements.iter().chain(&self.derived);
        let tenant = || all().any(|placement| placement.value.contains(&Piece::Tenant));
        self.shared == Shared::No || !tenant()
    }

    /// `keys` are the values of [`Token::parts`], in that order, and behind them the second token, if it is to be used.
    ///
    /// # Errors
    /// A part that is missing, or cannot stand where it goes.
    pub fn sign(&self, keys: &[Material], tenant: Option<&str>) -> Result<Injection, SignError> {
        let part = |name: &str| -> Result<&str, SignError> {
            let place = match name {
                DERIVED_TOKEN => Some(self.parts.len()),
                name => self.parts.iter().position(|part| **part == *name),
            };
            match place.and_then(|place| keys.get(place)) {
                Some(Material::Text(text)) => text_of(text),
                _ => Err(SignError::Missing(name.to_owned())),
            }
        };
        let own = |name: &str| part(name).map(|text| Zeroizing::new(text.to_owned()));
        self.fill(self.wanted(keys), own, tenant, encode::query_pair)
    }

    /// The same with `[access_token]` in the token's place, for people to read.
    pub(super) fn masked(&self, keys: &[Material], tenant: Option<&str>) -> Result<Injection, SignError> {
        self.fill(self.wanted(keys), |name| Ok(Zeroizing::new(mask(name))), tenant, encode::query_pair_shown)
    }

    fn wanted(&self, keys: &[Material]) -> &[Placement] {
        if keys.len() > self.parts.len() && !self.derived.is_empty() { &self.derived } else { &self.placements }
    }

    fn fill(
        &self,
        placements: &[Placement],
        part: impl Fn(&str) -> Result<Zeroizing<String>, SignError>,
        tenant: Option<&str>,
        query: fn(&str, &[u8]) -> String,
    ) -> Result<Injection, SignError> {
        let mut injection = Injection::default();
        for placement in placements {
            let mut value = Zeroizing::new(placement.prefix.clone());
            for piece in &placement.value {
                match piece {
                    Piece::Text(text) => value.push_str(text),
                    Piece::Part(name) => value.push_str(&part(name)?),
                    Piece::Tenant => value.push_str(tenant.ok_or_else(|| SignError::Missing("tenant".to_owned()))?),
                }
            }
            put(&mut injection, &placement.slot, value, query)?;
        }
        Ok(injection)
    }
}

/// Whether a text of the configuration can stand in a slot, as a prefix or between the parts of a token.
pub fn text_fits(text: &str, slot: &Slot) -> bool {
    prefix_fits(text, slot) && !text.chars().any(char::is_control)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use http::HeaderName;

    use super::*;
    use crate::sign::Signer;
    use crate::sign::body::BodyChange;

    fn part(name: &str) -> Piece {
        Piece::Part(name.into())
    }

    fn text(value: &str) -> Material {
        Kind::Text.load(&SecretBytes::new(value.as_bytes().to_vec())).unwrap()
    }

    fn placement(slot: Slot, prefix: &str, value: Vec<Piece>) -> Placement {
        Placement { slot, prefix: prefix.to_owned(), value }
    }

    fn header_slot(name: &'static str) -> Slot {
        Slot::Header(HeaderName::from_static(name))
    }

    #[test]
    fn every_part_goes_where_it_belongs() {
        let manager = vec![part("value.manager"), Piece::Text("@".into()), Piece::Tenant];
        let placements = vec![
            placement(header_slot("authorization"), "Bearer ", vec![part(ACCESS_TOKEN)]),
            placement(Slot::Query("t".to_owned()), "", vec![part(ACCESS_TOKEN)]),
            placement(Slot::Cookie("m".to_owned()), "", manager),
        ];
        let token = Token::new(CallNames::default(), placements, Shared::No);
        assert_eq!(token.parts().iter().map(|part| &**part).collect::<Vec<_>>(), [ACCESS_TOKEN, "value.manager"]);
        let injection = token.sign(&[text("a+b"), text("boss")], Some("m1")).unwrap();
        assert_eq!(injection.headers[0].1, "Bearer a+b");
        assert!(injection.headers[0].1.is_sensitive());
        assert_eq!(
            (&*injection.query, &*injection.cookies),
            (&["t=a%2Bb".to_owned()][..], &["m=boss@m1".to_owned()][..])
        );
        let shown = token.masked(&[], Some("m1")).unwrap();
        assert_eq!(shown.headers[0].1, "Bearer [access_token]");
        assert_eq!(
            (&*shown.query, &*shown.cookies),
            (&["t=[access_token]".to_owned()][..], &["m=[value.manager]@m1".to_owned()][..])
        );
    }

    #[test]
    fn a_token_goes_into_fields_of_the_body() {
        let placements = vec![
            placement(Slot::Form("t".to_owned()), "", vec![part(ACCESS_TOKEN)]),
            placement(Slot::Form("m r".to_owned()), "", vec![part("value.manager")]),
        ];
        let form = Token::new(CallNames::default(), placements, Shared::No);
        let made = form.sign(&[text("a+b"), text("boss")], None).unwrap();
        let wanted = BodyChange::Form(vec!["t=a%2Bb".to_owned(), "m%20r=boss".to_owned()]);
        assert_eq!(made.body.as_deref(), Some(&wanted));
        let shown = form.masked(&[], None).unwrap();
        let wanted = BodyChange::Form(vec!["t=[access_token]".to_owned(), "m%20r=[value.manager]".to_owned()]);
        assert_eq!(shown.body.as_deref(), Some(&wanted));
        let placements = vec![placement(Slot::Json("t".to_owned()), "v:", vec![part(ACCESS_TOKEN)])];
        let json = Token::new(CallNames::default(), placements, Shared::No);
        let made = json.sign(&[text("a\"b")], None).unwrap();
        assert_eq!(made.body.as_deref(), Some(&BodyChange::Json(vec![("t".to_owned(), "v:a\"b".to_owned())])));
        assert!(Signer::Token(Box::new(json)).edits_body());
    }

    #[test]
    fn a_second_token_takes_the_place_of_the_first_or_stands_beside_it() {
        let first = || {
            let placements = vec![
                placement(header_slot("x-access-token"), "", vec![part(ACCESS_TOKEN)]),
                placement(header_slot("x-shop"), "", vec![Piece::Tenant]),
            ];
            Token::new(CallNames::default(), placements, Shared::No)
        };
        let headers = |token: &Token, keys: &[Material]| {
            let injection = token.sign(keys, Some("m1")).unwrap();
            let text = |(name, value): &(HeaderName, http::HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
            injection.headers.iter().map(text).collect::<Vec<_>>()
        };
        let one = [text("A")];
        let both = [text("A"), text("B")];
        let instead =
            first().with_derived(vec![placement(header_slot("x-access-token"), "", vec![part(DERIVED_TOKEN)])]);
        assert_eq!(headers(&instead, &one), ["x-access-token: A", "x-shop: m1"]);
        assert_eq!(headers(&instead, &both), ["x-shop: m1", "x-access-token: B"]);
        let value = vec![part(DERIVED_TOKEN), Piece::Text("/".into()), part("value.w")];
        let beside = first().with_derived(vec![placement(header_slot("x-second"), "", value)]);
        assert_eq!(beside.parts().iter().map(|part| &**part).collect::<Vec<_>>(), [ACCESS_TOKEN, "value.w"]);
        let three = [text("A"), text("W"), text("B")];
        assert_eq!(headers(&beside, &three), ["x-access-token: A", "x-shop: m1", "x-second: B/W"]);
        assert_eq!(headers(&beside, &three[..2]), ["x-access-token: A", "x-shop: m1"]);
        let shown = beside.masked(&three, Some("m1")).unwrap();
        assert_eq!(shown.headers[2].1, "[derived_token]/[value.w]");
        let slots: Vec<&Slot> = beside.slots().iter().collect();
        assert!(slots.contains(&&header_slot("x-second")), "a worker's is taken out everywhere: {slots:?}");
        // A credential without `derive` never looks at more than its parts.
        assert_eq!(headers(&first(), &both), ["x-access-token: A", "x-shop: m1"]);
    }

    #[test]
    fn a_token_without_a_part_signs_nothing() {
        let placements = vec![placement(header_slot("x-token"), "", vec![part(ACCESS_TOKEN)])];
        let token = Token::new(CallNames::default(), placements, Shared::No);
        assert_eq!(token.sign(&[], None).unwrap_err(), SignError::Missing(ACCESS_TOKEN.to_owned()));
        let tenant = vec![placement(header_slot("x-token"), "", vec![Piece::Tenant])];
        let token = Token::new(CallNames::default(), tenant, Shared::No);
        assert_eq!(token.sign(&[], None).unwrap_err(), SignError::Missing("tenant".to_owned()));
    }

    #[test]
    fn a_token_cannot_break_out_of_its_place() {
        let cookie = vec![placement(Slot::Cookie("sid".to_owned()), "", vec![part(ACCESS_TOKEN)])];
        let token = Token::new(CallNames::default(), cookie, Shared::No);
        assert!(token.sign(&[text("a; admin=1")], None).is_err());
        let header = vec![placement(header_slot("x-token"), "", vec![part(ACCESS_TOKEN)])];
        let token = Token::new(CallNames::default(), header, Shared::No);
        let raw = Material::Text(SecretBytes::new(b"a\r\nX-Admin: 1".to_vec()));
        assert_eq!(token.sign(&[raw], None).unwrap_err(), SignError::NotAHeader("x-token".to_owned()));
    }

    #[test]
    fn secrets_of_the_token_call_are_told_apart() {
        let name = |text: &str| Some(NamePattern::parse(text).unwrap());
        let names = CallNames { client_secret: name("a/secret"), password: name("a/password"), ..CallNames::default() };
        let token = Token::new(names, Vec::new(), Shared::No);
        let needs: Vec<&str> = token.requirements().iter().map(|need| need.pattern.as_str()).collect();
        assert_eq!(needs, ["a/secret", "a/password"]);
        let keys = [text("s"), text("p")];
        let secrets = token.call_secrets(&keys);
        assert_eq!((secrets.client_id.is_none(), secrets.username.is_none()), (true, true));
        assert_eq!(
            (secrets.client_secret.unwrap().expose(), secrets.password.unwrap().expose()),
            (&b"s"[..], &b"p"[..])
        );
    }

    #[test]
    fn a_token_of_several_tenants_is_kept_unless_it_names_them() {
        let with = |value, shared| {
            let placements = vec![placement(header_slot("x-token"), "", value)];
            Signer::Token(Box::new(Token::new(CallNames::default(), placements, shared))).is_constant()
        };
        assert!(with(vec![part(ACCESS_TOKEN), Piece::Tenant], Shared::No));
        assert!(with(vec![part(ACCESS_TOKEN)], Shared::Yes));
        assert!(!with(vec![part(ACCESS_TOKEN), Piece::Tenant], Shared::Yes));
    }
}
