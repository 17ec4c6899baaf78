//! A record as a row, and back; tokens are sealed and opened on the way. Callers: `ledger`.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::StoreError;
use super::database::{Arg, Row, Sql, Work};
use super::rules::Kept;
use super::seal::{Keyring, Seat, Shut};
use super::time::moment;
use crate::clock::Timestamp;
use crate::secret::value::SecretBytes;
use crate::token::grant::Grant;
use crate::token::record::{LastRefresh, Lease, Reason, State, TokenSet};
use crate::token::{ConnectionKey, Record};

/// The columns, in the order in which [`Stored::read`] takes them and [`Stored::save`] gives them.
macro_rules! columns {
    () => {
        "credential, tenant, grant_type, state, reason, detail, access_sealed, refresh_sealed, values_sealed, host, \
         scopes, issued_at, expires_at, refresh_expires_at, version, failures, next_refresh_at, last_refresh_at, \
         last_refresh_failed, seed, captures, created_at, updated_at, last_used_at, lease_owner, lease_until, began_at, \
         interrupted_at, writer"
    };
}
/// `SELECT` of all columns with an end.
macro_rules! select {
    ($end:literal) => {
        concat!("SELECT ", columns!(), " FROM countersign_connections ", $end)
    };
}
pub(super) use {columns, select};

const SAVE: Sql = Sql::Same(concat!(
    "INSERT INTO countersign_connections (",
    columns!(),
    ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, \
     $24, $25, $26, $27, $28, $29) ON CONFLICT (credential, tenant) DO UPDATE SET grant_type = excluded.grant_type, \
     state = excluded.state, reason = excluded.reason, detail = excluded.detail, access_sealed = excluded.access_sealed, \
     refresh_sealed = excluded.refresh_sealed, values_sealed = excluded.values_sealed, host = excluded.host, \
     scopes = excluded.scopes, issued_at = excluded.issued_at, expires_at = excluded.expires_at, \
     refresh_expires_at = excluded.refresh_expires_at, version = excluded.version, failures = excluded.failures, \
     next_refresh_at = excluded.next_refresh_at, last_refresh_at = excluded.last_refresh_at, \
     last_refresh_failed = excluded.last_refresh_failed, seed = excluded.seed, captures = excluded.captures, \
     created_at = excluded.created_at, updated_at = excluded.updated_at, last_used_at = excluded.last_used_at, \
     lease_owner = excluded.lease_owner, lease_until = excluded.lease_until, began_at = excluded.began_at, \
     interrupted_at = excluded.interrupted_at, writer = excluded.writer"
));
const LEASE: Sql = Sql::Same(
    "UPDATE countersign_connections SET lease_owner = $3, lease_until = $4, began_at = $5, interrupted_at = $6 \
     WHERE credential = $1 AND tenant = $2",
);

/// The sealed parts of a row.
#[derive(Clone, Default)]
pub(super) struct Sealed {
    pub(super) access: Option<Vec<u8>>,
    pub(super) refresh: Option<Vec<u8>>,
    pub(super) values: Option<Vec<u8>>,
}

/// A row. The record's secrets are absent until [`Stored::open`].
pub(super) struct Stored {
    pub(super) kept: Kept,
    pub(super) sealed: Sealed,
}

fn millis(at: Option<Timestamp>) -> Arg<'static> {
    Arg::Int(at.map(Timestamp::millis))
}

fn row_of(key: &ConnectionKey) -> [&[u8]; 3] {
    [b"connection", key.credential.as_bytes(), key.tenant.as_bytes()]
}

/// Names and values, each after its length.
fn pack(values: &BTreeMap<String, SecretBytes>) -> Zeroizing<Vec<u8>> {
    let parts = || values.iter().flat_map(|(name, value)| [name.as_bytes(), value.expose()]);
    // Room for all: growing would leave copies behind.
    let mut packed = Zeroizing::new(Vec::with_capacity(parts().map(|part| 4 + part.len()).sum()));
    for part in parts() {
        packed.extend_from_slice(&(part.len() as u32).to_be_bytes());
        packed.extend_from_slice(part);
    }
    packed
}

fn unpack(mut packed: &[u8]) -> Option<BTreeMap<String, SecretBytes>> {
    let mut part = || {
        let (length, rest) = packed.split_first_chunk::<4>()?;
        let (part, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        packed = rest;
        Some(part)
    };
    let mut values = BTreeMap::new();
    while let Some(name) = part() {
        values.insert(String::from_utf8(name.to_vec()).ok()?, SecretBytes::copy_of(part()?));
    }
    packed.is_empty().then_some(values)
}

impl Sealed {
    /// Seals tokens for a connection.
    pub(super) fn of(tokens: &TokenSet, key: &ConnectionKey, keys: &Keyring) -> Result<Self, StoreError> {
        let seal = |field, plain: &[u8]| keys.seal(Seat { field, row: &row_of(key) }, plain);
        let access = tokens.access.as_ref().map(|token| seal("access", token.expose())).transpose()?;
        let refresh = tokens.refresh.as_ref().map(|token| seal("refresh", token.expose())).transpose()?;
        let values = (!tokens.values.is_empty()).then(|| seal("values", &pack(&tokens.values))).transpose()?;
        Ok(Self { access, refresh, values })
    }

    /// Whether the first key sealed all of them.
    pub(super) fn is_current(&self, keys: &Keyring) -> bool {
        [&self.access, &self.refresh, &self.values].into_iter().flatten().all(|sealed| keys.is_current(sealed))
    }
}

impl Stored {
    /// Reads a row of [`columns`].
    pub(super) fn read(row: &Row) -> Result<Self, StoreError> {
        let text = |at| row.text(at).map(Option::unwrap_or_default);
        let int = |at| row.int(at).map(Option::unwrap_or_default);
        let time = |at| row.int(at).map(|millis| millis.map(moment));
        let key = ConnectionKey::new(&text(0)?, &text(1)?);
        let damaged = |what| StoreError::Damaged { key: key.clone(), what };
        let grant = text(2)?;
        let grant = [Grant::ClientCredentials, Grant::RefreshToken, Grant::AuthorizationCode, Grant::Password]
            .into_iter()
            .find(|known| known.as_str() == grant);
        // A reason that a later version has is no reason to lose the record.
        let reason = |at| row.text(at).map(|word| word.and_then(|word| Reason::from_word(&word)));
        let failed = row.text(18)?;
        let failed = failed.map(|word| Reason::from_word(&word).unwrap_or(Reason::BadAnswer));
        let tokens = TokenSet {
            access: None,
            refresh: None,
            values: BTreeMap::new(),
            host: row.text(9)?,
            scopes: serde_json::from_str(&text(10)?).map_err(|_| damaged("scopes"))?,
            issued_at: time(11)?,
            expires_at: time(12)?,
            refresh_expires_at: time(13)?,
        };
        let (began, interrupted) = (time(26)?, time(27)?);
        let lease = row.text(24)?.zip(time(25)?).map(|(owner, until)| Lease { owner, until });
        let record = Record {
            grant: grant.ok_or_else(|| damaged("grant"))?,
            state: State::from_word(&text(3)?).ok_or_else(|| damaged("state"))?,
            reason: reason(4)?,
            detail: row.text(5)?,
            tokens,
            version: u64::try_from(int(14)?).map_err(|_| damaged("version"))?,
            failures: u32::try_from(int(15)?).map_err(|_| damaged("failures"))?,
            next_refresh_at: time(16)?,
            last_refresh: time(17)?.map(|at| LastRefresh { at, failed }),
            seed: row.bytes(19)?.map(|seed| seed.try_into().map_err(|_| damaged("seed"))).transpose()?,
            captures: serde_json::from_str(&text(20)?).map_err(|_| damaged("captures"))?,
            created_at: moment(int(21)?),
            updated_at: moment(int(22)?),
            last_used_at: time(23)?,
            lease,
            intent: interrupted.or(began),
            key: key.clone(),
        };
        let sealed = Sealed { access: row.bytes(6)?, refresh: row.bytes(7)?, values: row.bytes(8)? };
        Ok(Self { kept: Kept { record, began, interrupted, writer: text(28)? }, sealed })
    }

    /// Opens the tokens.
    pub(super) fn open(&mut self, keys: &Keyring) -> Result<(), StoreError> {
        let key = &self.kept.record.key;
        let seat = row_of(key);
        let open = |field, sealed: &Option<Vec<u8>>| {
            sealed.as_ref().map(|sealed| keys.open(Seat { field, row: &seat }, sealed)).transpose()
        };
        let shut = |_: Shut| StoreError::Sealed { key: key.clone() };
        let access = open("access", &self.sealed.access).map_err(shut)?;
        let refresh = open("refresh", &self.sealed.refresh).map_err(shut)?;
        let values = open("values", &self.sealed.values).map_err(shut)?;
        let values = values.map(|packed| unpack(packed.expose()));
        let damaged = || StoreError::Damaged { key: key.clone(), what: "values" };
        let values = values.map(|values| values.ok_or_else(damaged)).transpose()?.unwrap_or_default();
        let tokens = &mut self.kept.record.tokens;
        (tokens.access, tokens.refresh, tokens.values) = (access, refresh, values);
        Ok(())
    }

    /// Writes the whole row.
    pub(super) async fn save(&self, work: &mut Work) -> Result<(), StoreError> {
        let (Kept { record, began, interrupted, writer }, sealed) = (&self.kept, &self.sealed);
        let tokens = &record.tokens;
        let unwritable = |what| StoreError::Damaged { key: record.key.clone(), what };
        let scopes = serde_json::to_string(&tokens.scopes).map_err(|_| unwritable("scopes"))?;
        let captures = serde_json::to_string(&record.captures).map_err(|_| unwritable("captures"))?;
        let version = i64::try_from(record.version).map_err(|_| unwritable("version"))?;
        let failed = record.last_refresh.and_then(|last| last.failed);
        let args = [
            Arg::Text(Some(&record.key.credential)),
            Arg::Text(Some(&record.key.tenant)),
            Arg::Text(Some(record.grant.as_str())),
            Arg::Text(Some(record.state.as_str())),
            Arg::Text(record.reason.map(Reason::as_str)),
            Arg::Text(record.detail.as_deref()),
            Arg::Bytes(sealed.access.as_deref()),
            Arg::Bytes(sealed.refresh.as_deref()),
            Arg::Bytes(sealed.values.as_deref()),
            Arg::Text(tokens.host.as_deref()),
            Arg::Text(Some(&scopes)),
            millis(tokens.issued_at),
            millis(tokens.expires_at),
            millis(tokens.refresh_expires_at),
            Arg::Int(Some(version)),
            Arg::Int(Some(i64::from(record.failures))),
            millis(record.next_refresh_at),
            millis(record.last_refresh.map(|last| last.at)),
            Arg::Text(failed.map(Reason::as_str)),
            Arg::Bytes(record.seed.as_ref().map(|seed| &seed[..])),
            Arg::Text(Some(&captures)),
            millis(Some(record.created_at)),
            millis(Some(record.updated_at)),
            millis(record.last_used_at),
            Arg::Text(record.lease.as_ref().map(|lease| &*lease.owner)),
            millis(record.lease.as_ref().map(|lease| lease.until)),
            millis(*began),
            millis(*interrupted),
            Arg::Text(Some(writer)),
        ];
        work.run(SAVE, &args).await.map(drop)
    }

    /// Writes lease and intent alone.
    pub(super) async fn save_lease(&self, work: &mut Work) -> Result<(), StoreError> {
        let Kept { record, began, interrupted, .. } = &self.kept;
        let args = [
            Arg::Text(Some(&record.key.credential)),
            Arg::Text(Some(&record.key.tenant)),
            Arg::Text(record.lease.as_ref().map(|lease| &*lease.owner)),
            millis(record.lease.as_ref().map(|lease| lease.until)),
            millis(*began),
            millis(*interrupted),
        ];
        work.run(LEASE, &args).await.map(drop)
    }
}

/// Where the verifier of an approval is sealed to.
pub(super) fn approval_row<'a>(state: &'a [u8; 32], key: &'a ConnectionKey) -> [&'a [u8]; 4] {
    [b"approval", state, key.credential.as_bytes(), key.tenant.as_bytes()]
}
