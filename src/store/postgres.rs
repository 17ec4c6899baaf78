//! Opening PostgreSQL, directly or through PgBouncer in transaction mode: nothing is kept in a session, no statement has a
//! name on the server, no connection is held while idle. Called by `open`.

use std::str::FromStr;
use std::time::Duration;

use arc_swap::ArcSwap;
use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use super::StoreError;
use super::database::{Database, OPERATION, within};
use super::ledger::Ledger;
use super::schema::migrate;
use super::seal::Keyring;
use crate::secret::value::SecretBytes;

/// Connections of one process at most.
const CONNECTIONS: u32 = 8;
/// After this time without use a connection is closed.
const IDLE: Duration = Duration::from_secs(10);
/// How long an operation waits for a connection.
const WAIT: Duration = Duration::from_secs(5);

/// Opens the database that a URL names, and brings its schema up to date.
pub(super) async fn open(url: &SecretBytes, keys: Keyring) -> Result<Ledger, StoreError> {
    let unreadable = || StoreError::Unsuitable("[state] url: not a URL of PostgreSQL".to_owned());
    let text = std::str::from_utf8(url.expose()).map_err(|_| unreadable())?;
    // The reason might have a part of the URL, which may hold a password.
    let options = PgConnectOptions::from_str(text).map_err(|_| unreadable())?;
    let options = options
        .extra_float_digits(None) // a start-up parameter that PgBouncer refuses, and no number here has a fraction
        .statement_cache_capacity(0)
        .disable_statement_logging();
    let pool =
        PgPoolOptions::new().min_connections(0).max_connections(CONNECTIONS).idle_timeout(IDLE).acquire_timeout(WAIT);
    let database = Database::Postgres(pool.connect_lazy_with(options));
    within(OPERATION, migrate(&database)).await?;
    Ok(Ledger { database, keys: ArcSwap::from_pointee(keys), marks: None })
}
