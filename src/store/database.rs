//! Two databases behind one face: a transaction that runs statements with numbered parameters, and rows read by place.
//! What is told apart here is said nowhere else but in `schema`. No statement of ours lives here but the clock's. Callers:
//! `ledger`, `outbox`, `schema`.

use std::time::Duration;

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{AssertSqlSafe, PgPool, Postgres, Row as _, Sqlite, SqlitePool, Transaction};

use super::StoreError;
use super::time::moment;
use crate::clock::Timestamp;

/// How long one operation may take, waiting for a connection and for locks included.
pub(super) const OPERATION: Duration = Duration::from_secs(10);

/// Which database.
#[derive(Debug)]
pub(super) enum Database {
    /// One writer: SQLite has no more, and those of this process wait in turn instead of asking again and again.
    Sqlite { reader: SqlitePool, writer: SqlitePool },
    /// PostgreSQL, or PgBouncer before it.
    Postgres(PgPool),
}

/// What a transaction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum For {
    Reading,
    Writing,
}

/// A transaction. Dropped, it is rolled back.
pub(super) enum Work {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Transaction<'static, Postgres>),
}

/// A statement, with `$1` and so on.
#[derive(Clone, Copy)]
pub(super) enum Sql {
    /// Both understand it.
    Same(&'static str),
    /// Each has its own.
    Each { sqlite: &'static str, postgres: &'static str },
}

/// A parameter; the kind is known where the value is NULL.
pub(super) enum Arg<'a> {
    Int(Option<i64>),
    Text(Option<&'a str>),
    Bytes(Option<&'a [u8]>),
}

/// A row.
pub(super) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

const NOW: Sql = Sql::Each {
    sqlite: "SELECT CAST(round(unixepoch('subsec') * 1000) AS INTEGER)",
    postgres: "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)",
};

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Unavailable(Box::new(error))
    }
}

/// Ends what takes too long; what it had not committed is rolled back.
pub(super) async fn within<T>(
    span: Duration,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(span, work).await {
        Ok(done) => done,
        Err(late) => Err(StoreError::Unavailable(Box::new(late))),
    }
}

impl Database {
    /// Begins.
    pub(super) async fn begin(&self, purpose: For) -> Result<Work, StoreError> {
        Ok(match (self, purpose) {
            (Self::Sqlite { reader, .. }, For::Reading) => Work::Sqlite(reader.begin().await?),
            (Self::Sqlite { writer, .. }, For::Writing) => Work::Sqlite(writer.begin_with("BEGIN IMMEDIATE").await?),
            // What a server or a role has for its default does not count.
            (Self::Postgres(pool), For::Reading) => {
                Work::Postgres(pool.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY").await?)
            }
            (Self::Postgres(pool), For::Writing) => {
                Work::Postgres(pool.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE").await?)
            }
        })
    }

    /// Closes every connection.
    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite { reader, writer } => {
                reader.close().await;
                writer.close().await;
            }
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

impl Sql {
    const fn sqlite(self) -> &'static str {
        match self {
            Self::Same(text) | Self::Each { sqlite: text, .. } => text,
        }
    }

    const fn postgres(self) -> &'static str {
        match self {
            Self::Same(text) | Self::Each { postgres: text, .. } => text,
        }
    }
}

fn for_sqlite<'q>(sql: Sql, args: &[Arg<'q>]) -> Query<'q, Sqlite, SqliteArguments> {
    args.iter().fold(sqlx::query(sql.sqlite()), |query, arg| match arg {
        Arg::Int(value) => query.bind(*value),
        Arg::Text(value) => query.bind(value.map(str::to_owned)),
        Arg::Bytes(value) => query.bind(value.map(<[u8]>::to_vec)),
    })
}

/// Without a name on the server: PgBouncer may give the next transaction another connection.
fn for_postgres<'q>(sql: Sql, args: &[Arg<'q>]) -> Query<'q, Postgres, PgArguments> {
    args.iter().fold(sqlx::query(sql.postgres()).persistent(false), |query, arg| match arg {
        Arg::Int(value) => query.bind(*value),
        Arg::Text(value) => query.bind(value.map(str::to_owned)),
        Arg::Bytes(value) => query.bind(value.map(<[u8]>::to_vec)),
    })
}

impl Work {
    /// Runs a statement; how many rows it changed.
    pub(super) async fn run(&mut self, sql: Sql, args: &[Arg<'_>]) -> Result<u64, StoreError> {
        Ok(match self {
            Self::Sqlite(work) => for_sqlite(sql, args).execute(&mut **work).await?.rows_affected(),
            Self::Postgres(work) => for_postgres(sql, args).execute(&mut **work).await?.rows_affected(),
        })
    }

    /// The rows of a statement.
    pub(super) async fn rows(&mut self, sql: Sql, args: &[Arg<'_>]) -> Result<Vec<Row>, StoreError> {
        Ok(match self {
            Self::Sqlite(work) => {
                for_sqlite(sql, args).fetch_all(&mut **work).await?.into_iter().map(Row::Sqlite).collect()
            }
            Self::Postgres(work) => {
                for_postgres(sql, args).fetch_all(&mut **work).await?.into_iter().map(Row::Postgres).collect()
            }
        })
    }

    /// The first row, if there is one.
    pub(super) async fn row(&mut self, sql: Sql, args: &[Arg<'_>]) -> Result<Option<Row>, StoreError> {
        Ok(self.rows(sql, args).await?.into_iter().next())
    }

    /// The database's clock, not that of the transaction's beginning.
    pub(super) async fn now(&mut self) -> Result<Timestamp, StoreError> {
        let millis = match self.row(NOW, &[]).await? {
            Some(row) => row.int(0)?,
            None => None,
        };
        millis.map(moment).ok_or_else(|| StoreError::Unavailable("the database does not say the time".into()))
    }

    /// Runs a text of several statements, such as a migration: each database gets its own.
    pub(super) async fn script(&mut self, sqlite: String, postgres: String) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(work) => sqlx::raw_sql(AssertSqlSafe(sqlite)).execute(&mut **work).await.map(|_| ())?,
            Self::Postgres(work) => sqlx::raw_sql(AssertSqlSafe(postgres)).execute(&mut **work).await.map(|_| ())?,
        }
        Ok(())
    }

    /// Commits. After an error nobody knows whether it was done.
    pub(super) async fn commit(self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(work) => work.commit().await?,
            Self::Postgres(work) => work.commit().await?,
        }
        Ok(())
    }
}

impl Row {
    /// A number.
    pub(super) fn int(&self, at: usize) -> Result<Option<i64>, StoreError> {
        Ok(match self {
            Self::Sqlite(row) => row.try_get(at)?,
            Self::Postgres(row) => row.try_get(at)?,
        })
    }

    /// A text.
    pub(super) fn text(&self, at: usize) -> Result<Option<String>, StoreError> {
        Ok(match self {
            Self::Sqlite(row) => row.try_get(at)?,
            Self::Postgres(row) => row.try_get(at)?,
        })
    }

    /// Bytes.
    pub(super) fn bytes(&self, at: usize) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(match self {
            Self::Sqlite(row) => row.try_get(at)?,
            Self::Postgres(row) => row.try_get(at)?,
        })
    }
}
