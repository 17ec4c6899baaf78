//! Where a store is: `[state] url`, read and judged. No I/O. Callers: `config`, `open`.

use std::fmt;
use std::path::PathBuf;

use crate::secret::value::SecretBytes;

/// Where connections are kept.
#[derive(Clone)]
pub enum Place {
    /// `sqlite:PATH`: one file, for the processes of one machine.
    Sqlite(PathBuf),
    /// `postgres://..`, whole: it may hold a password.
    Postgres(SecretBytes),
    /// `memory:`: nothing outlives the process.
    Memory,
}

/// Why a URL is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// Another scheme.
    #[error("expected \"sqlite:PATH\", \"postgres://..\" or \"memory:\"")]
    Scheme,
    /// `sqlite:` without a path.
    #[error("\"sqlite:\" needs the path of a file, such as \"sqlite:/var/lib/countersign/state.db\"")]
    Path,
    /// `sqlite:FILE?mode=..` and `sqlite::memory:`: options are not taken.
    #[error("\"sqlite:\" takes a path and no options; \"memory:\" keeps connections in memory")]
    Options,
    /// A PostgreSQL URL that cannot be read.
    #[error("expected \"postgres://USER@HOST:PORT/DATABASE?sslmode=verify-full\"")]
    Postgres,
}

/// Where this process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surroundings {
    /// In a pod: `KUBERNETES_SERVICE_HOST` is set.
    Kubernetes,
    /// Anywhere else.
    Other,
}

/// Whether a platform may answer a refresh with another refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// It may, and the old one may then be dead.
    Possible,
    /// There is no refresh token, or it never changes.
    Never,
}

/// `[state] single`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// The operator says that no other process serves these tenants, and that the volume outlives the pod.
    Single,
    /// Nothing is said.
    Unknown,
}

/// Why a place does not fit a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceRefused {
    /// Two pods with a file each would burn one another's refresh tokens, and a pod's own disk is gone with the pod.
    #[error(
        "a refresh token that rotates is not kept in SQLite inside Kubernetes: a second pod, or a pod that was moved, would lose it; use [state] url = \"postgres://..\", or [state] single = true if this is the only process for these tenants and the volume outlives the pod"
    )]
    SqliteInKubernetes,
}

/// Whether a grant's tokens may be kept there.
pub fn check_place(
    place: &Place,
    surroundings: Surroundings,
    rotation: Rotation,
    sharing: Sharing,
) -> Result<(), PlaceRefused> {
    match (place, surroundings, rotation, sharing) {
        (Place::Sqlite(_), Surroundings::Kubernetes, Rotation::Possible, Sharing::Unknown) => {
            Err(PlaceRefused::SqliteInKubernetes)
        }
        _ => Ok(()),
    }
}

impl Place {
    /// Reads a URL.
    pub fn parse(url: &str) -> Result<Self, PlaceError> {
        if url == "memory:" {
            return Ok(Self::Memory);
        }
        if let Some(path) = url.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() {
                return Err(PlaceError::Path);
            }
            if path.contains(['?', '\0']) || path.starts_with(':') {
                return Err(PlaceError::Options);
            }
            return Ok(Self::Sqlite(path.into()));
        }
        let authority = url.strip_prefix("postgres://").or_else(|| url.strip_prefix("postgresql://"));
        let Some(authority) = authority else { return Err(PlaceError::Scheme) };
        if authority.is_empty() || authority.bytes().any(|byte| byte.is_ascii_control() || byte == b' ') {
            return Err(PlaceError::Postgres);
        }
        Ok(Self::Postgres(SecretBytes::copy_of(url.as_bytes())))
    }

    /// Whether tokens are written, so that a key is needed.
    pub const fn needs_key(&self) -> bool {
        !matches!(self, Self::Memory)
    }
}

impl fmt::Display for Place {
    /// Without user, password and options.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Memory => f.write_str("memory:"),
            Self::Postgres(url) => {
                let url = std::str::from_utf8(url.expose()).unwrap_or_default();
                let rest = url.split_once("://").map_or("", |(_, rest)| rest);
                let rest = rest.split(['?', '#']).next().unwrap_or_default();
                write!(f, "postgres://{}", rest.rsplit_once('@').map_or(rest, |(_, host)| host))
            }
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Place({self})")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_places_and_passwords_are_not_shown() {
        let Place::Sqlite(path) = Place::parse("sqlite:/var/lib/cs/state.db").unwrap() else { panic!() };
        assert_eq!(path, PathBuf::from("/var/lib/cs/state.db"));
        let Place::Sqlite(path) = Place::parse("sqlite:///var/x.db").unwrap() else { panic!() };
        assert_eq!(path, PathBuf::from("/var/x.db"));
        assert!(matches!(Place::parse("memory:").unwrap(), Place::Memory));
        let place = Place::parse("postgres://cs:pa@ss@db.test:5433/state?password=p4ss&sslmode=require").unwrap();
        assert_eq!(place.to_string(), "postgres://db.test:5433/state");
        assert_eq!(format!("{place:?}"), "Place(postgres://db.test:5433/state)");
        for (url, error) in [
            ("mysql://x/y", PlaceError::Scheme),
            ("sqlite", PlaceError::Scheme),
            ("sqlite:", PlaceError::Path),
            ("sqlite://", PlaceError::Path),
            ("sqlite::memory:", PlaceError::Options),
            ("sqlite:a.db?mode=ro", PlaceError::Options),
            ("postgres://", PlaceError::Postgres),
            ("postgres://a b/c", PlaceError::Postgres),
        ] {
            assert_eq!(Place::parse(url).unwrap_err(), error, "{url}");
        }
    }

    #[test]
    fn a_token_that_rotates_is_not_kept_in_a_pods_own_file() {
        let sqlite = Place::parse("sqlite:/x.db").unwrap();
        let check = |place, around, rotation, sharing| check_place(place, around, rotation, sharing).is_ok();
        use {Rotation::*, Sharing::*, Surroundings::*};
        assert!(!check(&sqlite, Kubernetes, Possible, Unknown));
        assert!(check(&sqlite, Kubernetes, Possible, Single));
        assert!(check(&sqlite, Kubernetes, Never, Unknown));
        assert!(check(&sqlite, Other, Possible, Unknown));
        assert!(check(&Place::parse("postgres://h/d").unwrap(), Kubernetes, Possible, Unknown));
    }
}
