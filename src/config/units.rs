//! Durations, sizes, addresses and names as they are written in `proxy.toml`. PURE.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use super::model::{Authority, ListenAddr};

/// Longest path of a Unix socket, in bytes: `sun_path` less its NUL (unix(7)).
const UNIX_PATH_LIMIT: usize = 107;

/// Why a text is not what it should be; shown after "because" in no message, only as the message's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UnitError {
    #[error("write a number and one of ms, s, m, h, d, such as \"10s\" or \"5m\"")]
    Duration,
    #[error("write a number and one of B, KiB, MiB, GiB, such as \"64KiB\" or \"16MiB\"")]
    Size,
    #[error("write an IP address and a port such as \"127.0.0.1:8080\" or \"[::1]:8080\"")]
    Address,
    #[error("write \"unix:\" and the path of the socket, such as \"unix:/run/countersign/proxy.sock\"")]
    UnixPath,
    #[error("the path of a Unix socket has at most 107 bytes; choose a shorter one")]
    UnixPathLength,
    #[error("only a TCP address can stand here, such as \"127.0.0.1:9901\"")]
    NotTcp,
    #[error("write a host and a port such as \"api.example.com:443\" or \"[::1]:443\"")]
    Authority,
}

/// `"10s"`, `"250ms"`, `"7d"`.
pub(crate) fn duration(text: &str) -> Result<Duration, UnitError> {
    let (number, unit) = split(text).ok_or(UnitError::Duration)?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(UnitError::Duration),
    };
    number.checked_mul(millis).map(Duration::from_millis).ok_or(UnitError::Duration)
}

/// `"64KiB"`, `"16MiB"`.
pub(super) fn size(text: &str) -> Result<u64, UnitError> {
    let (number, unit) = split(text).ok_or(UnitError::Size)?;
    let bytes = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(UnitError::Size),
    };
    number.checked_mul(bytes).ok_or(UnitError::Size)
}

fn split(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    Some((text[..digits].parse().ok()?, &text[digits..]))
}

/// `127.0.0.1:8080`, `[::1]:8080`, `unix:/path`; a relative path is below `folder`.
pub(super) fn listen(text: &str, folder: &Path) -> Result<ListenAddr, UnitError> {
    match text.strip_prefix("unix:") {
        None => tcp(text).map(ListenAddr::Tcp),
        Some(path) if path.is_empty() || path.contains('\0') || path.ends_with('/') => Err(UnitError::UnixPath),
        Some(path) => {
            let path = folder.join(path);
            let fits = path.as_os_str().len() <= UNIX_PATH_LIMIT;
            if fits { Ok(ListenAddr::Unix(path)) } else { Err(UnitError::UnixPathLength) }
        }
    }
}

/// `127.0.0.1:8080`, `[::1]:8080`.
pub(super) fn tcp(text: &str) -> Result<SocketAddr, UnitError> {
    if text.starts_with("unix:") {
        return Err(UnitError::NotTcp);
    }
    text.parse().map_err(|_| UnitError::Address)
}

/// An address that is nearly right, put right: `localhost:1`, `:1` and `1` become `127.0.0.1:1`.
pub(super) fn mended_address(text: &str) -> Option<String> {
    let port = text.strip_prefix("localhost").unwrap_or(text);
    let port: u16 = port.strip_prefix(':').unwrap_or(port).parse().ok()?;
    Some(format!("127.0.0.1:{port}"))
}

/// Whether only this machine can reach the address.
pub(super) fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

/// Whether a host name or address means this machine.
pub(super) fn is_loopback_host(host: &str) -> bool {
    host == "localhost" || host.ends_with(".localhost") || host.parse().is_ok_and(is_loopback)
}

/// `api.example.com:443`, `[::1]:443`, `10.0.0.1:443`.
pub(super) fn authority(text: &str) -> Result<Authority, UnitError> {
    let (host, port) = text.rsplit_once(':').ok_or(UnitError::Authority)?;
    let host = self::host(host).ok_or(UnitError::Authority)?;
    let port = port_number(port).ok_or(UnitError::Authority)?;
    Ok(Authority { host, port })
}

/// A port from 1 to 65535, digits only.
pub(super) fn port_number(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if digits { text.parse().ok().filter(|port| *port != 0) } else { None }
}

/// A host name or address in lower case; `[::1]` loses its brackets, a bare `::1` is none.
pub(super) fn host(text: &str) -> Option<String> {
    if let Some(inner) = text.strip_prefix('[') {
        let ip: Ipv6Addr = inner.strip_suffix(']')?.parse().ok()?;
        return Some(ip.to_string());
    }
    let good_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let good = !text.is_empty() && text.len() <= 253 && text.split('.').all(good_label);
    if good { Some(text.to_ascii_lowercase()) } else { None }
}

/// The candidate nearest to a mistyped word, if one is near enough to be meant.
pub(super) fn nearest<'c>(word: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    if word.len() > 64 {
        return None;
    }
    let limit = (word.chars().count() / 3).max(1);
    let plain = |word: &str| word.to_ascii_lowercase().replace('-', "_");
    let fold = plain(word);
    let longer = |a: &str, b: &str| b.len() >= 3 && a.starts_with(b);
    candidates
        .filter(|candidate| candidate.len() <= 64)
        .map(|candidate| (plain(candidate), candidate))
        .map(|(other, candidate)| {
            // "warning" for "warn" and the other way round is no slip of a finger, but as clear.
            let near = longer(&fold, &other) || longer(&other, &fold);
            (distance(&fold, &other).min(if near { limit } else { usize::MAX }), candidate)
        })
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Edits (insert, delete, replace, swap neighbours) from one word to another.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let cost = usize::from(a[i - 1] != b[j - 1]);
            row[j] = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + cost);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(604_800)));
        for bad in ["", "10", "s", "10 s", "-1s", "1.5s", "10S", "99999999999999999999s", "18446744073709551615d"] {
            assert_eq!(duration(bad), Err(UnitError::Duration), "{bad}");
        }
        assert_eq!(size("64KiB"), Ok(65_536));
        for bad in ["64", "64kb", "KiB", "1TiB", "99999999999GiB"] {
            assert_eq!(size(bad), Err(UnitError::Size), "{bad}");
        }
    }

    #[test]
    fn addresses() {
        let folder = Path::new("/etc/x");
        assert_eq!(listen("unix:a.sock", folder), Ok(ListenAddr::Unix("/etc/x/a.sock".into())));
        assert_eq!(listen("unix:", folder), Err(UnitError::UnixPath));
        assert_eq!(listen(&format!("unix:/{}", "a".repeat(106)), folder).map(|_| ()), Ok(()));
        assert_eq!(listen(&format!("unix:/{}", "a".repeat(107)), folder), Err(UnitError::UnixPathLength));
        assert!(listen("[::1]:0", folder).is_ok());
        assert_eq!(mended_address("localhost:8080").as_deref(), Some("127.0.0.1:8080"));
        assert_eq!(mended_address("8080").as_deref(), Some("127.0.0.1:8080"));
        assert!(is_loopback("::ffff:127.0.0.1".parse().unwrap()));
        assert_eq!(authority("API.example:443"), Ok(Authority { host: "api.example".into(), port: 443 }));
        assert_eq!(authority("[::1]:443"), Ok(Authority { host: "::1".into(), port: 443 }));
        for bad in ["a", "a:", "a:0", "a:+1", "::1:443", "a b:1", ":1", "a:65536", "-a:1"] {
            assert_eq!(authority(bad), Err(UnitError::Authority), "{bad}");
        }
    }

    #[test]
    fn the_nearest_word() {
        let words = || ["poll", "watch", "overlap"].into_iter();
        assert_eq!(nearest("pol", words()), Some("poll"));
        assert_eq!(nearest("plol", words()), Some("poll"));
        assert_eq!(nearest("over-lap", words()), Some("overlap"));
        assert_eq!(nearest("watching", words()), Some("watch"));
        assert_eq!(nearest("dir", words()), None);
    }
}
