//! When: how long a token is used, when it is refreshed, how long to pause after a failure. Numbers and formulas alone;
//! what follows from them is in [`super::machine`]. PURE: a `random` from 0 to 1 is given by the caller.
//! `docs/CONNECTIONS.md` has the same formulas for people.

use std::time::Duration;

use super::grant::RefreshPolicy;
use super::record::TokenSet;
use crate::clock::Timestamp;

/// A token ends for us this long before its end, so that it is not refused on its way.
const END_MARGIN: Duration = Duration::from_secs(1);
/// Of a token with a shorter life a tenth is given up instead.
const SHORT_LIFE: Duration = Duration::from_secs(10);
/// Over which share of a token's life refreshes are spread.
const SPREAD: f64 = 0.05;
/// The margin before the end that [`RefreshPolicy::before`] asks for is at most this share of the life.
const BEFORE_SHARE: f64 = 0.5;
/// At which share of a refresh token's known life an unused connection is refreshed.
const REFRESH_LIFE_SHARE: f64 = 0.8;
/// The longest pause that a platform may ask for by `Retry-After`.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);
/// A pause after a failure is never shorter than this share of the shortest one's bound.
const PAUSE_FLOOR: f64 = 0.1;
/// No more doublings of a pause than this; it has long met its bound.
const DOUBLINGS: u32 = 20;

/// Between which two moments a token is refreshed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Not before, by itself.
    pub earliest: Timestamp,
    /// By then at the latest.
    pub latest: Timestamp,
}

/// Until when an access token is sent; `None`: nobody knows its end, so until the platform refuses it.
pub fn usable_until(tokens: &TokenSet) -> Option<Timestamp> {
    let expires = tokens.expires_at?;
    let life = tokens.issued_at.map_or(SHORT_LIFE, |issued| expires.since(issued));
    let margin = if life < SHORT_LIFE { life.mul_f64(0.1) } else { END_MARGIN };
    Some(expires.minus(margin))
}

/// When a token is refreshed that came at `issued` and ends at `expires`.
///
/// With `life = expires - issued` and `margin = max((1 - at) * life, min(before, life / 2))`: from
/// `expires - margin - life / 20` to `expires - margin`. `not_before`, if any, moves the beginning to at least
/// `expires - not_before`; then half of what is left, at most `life / 20`, is the spread.
pub fn refresh_window(issued: Timestamp, expires: Timestamp, policy: &RefreshPolicy) -> Window {
    let life = expires.since(issued);
    let share = life.mul_f64(1.0 - part(policy.at));
    let margin = share.max(policy.before.min(life.mul_f64(BEFORE_SHARE)));
    let latest = expires.minus(margin).max(issued);
    let earliest = latest.minus(life.mul_f64(SPREAD)).max(issued);
    if policy.not_before.is_zero() || earliest >= expires.minus(policy.not_before) {
        return Window { earliest, latest };
    }
    let earliest = expires.minus(policy.not_before);
    let left = expires.minus(END_MARGIN.min(life.mul_f64(0.1))).since(earliest);
    Window { earliest, latest: earliest.plus(left.mul_f64(0.5).min(life.mul_f64(SPREAD))) }
}

/// The same for what is stored: a token whose end nobody knows is taken to live `refresh.default_life`. `None`: there
/// is no access token.
pub fn window_of(tokens: &TokenSet, policy: &RefreshPolicy) -> Option<Window> {
    tokens.access.as_ref()?;
    let issued = tokens.issued_at.or(tokens.expires_at)?;
    Some(refresh_window(issued, tokens.expires_at.unwrap_or(issued.plus(policy.default_life)), policy))
}

/// Whether a connection was used during the life of its last token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Yes: refreshed before its token ends.
    Active,
    /// No: refreshed when it is used, or when its refresh token needs it.
    Idle,
}

/// From now until a connection with these tokens is refreshed by itself.
///
/// `None`: never by itself, as there is no access token yet.
pub fn next_refresh_in(
    tokens: &TokenSet,
    usage: Use,
    policy: &RefreshPolicy,
    now: Timestamp,
    random: f64,
) -> Option<Duration> {
    let window = window_of(tokens, policy)?;
    let random = part(random);
    let early = window.earliest.plus(window.latest.since(window.earliest).mul_f64(random));
    let at = match usage {
        Use::Active => early,
        Use::Idle => {
            let spread = policy.idle.mul_f64(1.0 - SPREAD * random);
            let idle = tokens.issued_at.unwrap_or(now).plus(spread);
            // A token that lives longer than `idle` needs nothing before its own time.
            keep_alive(tokens).map_or(idle, |end| idle.min(end)).max(early)
        }
    };
    let last = keep_alive(tokens).unwrap_or(at);
    Some(at.min(last).since(now))
}

/// When 80 % of the refresh token's known life are over.
fn keep_alive(tokens: &TokenSet) -> Option<Timestamp> {
    tokens.refresh.as_ref()?;
    let (issued, end) = (tokens.issued_at?, tokens.refresh_expires_at?);
    Some(issued.plus(end.since(issued).mul_f64(REFRESH_LIFE_SHARE)))
}

/// The pause after the `failures`th failure in a row: from 0 to `first`, doubling to `max`, full jitter. What the
/// platform asked for counts instead, up to [`RETRY_AFTER_MAX`], with up to `first` on top, so that not all come at once.
pub fn pause(failures: u32, retry_after: Option<Duration>, policy: &RefreshPolicy, random: f64) -> Duration {
    let random = part(random);
    if let Some(asked) = retry_after.filter(|asked| !asked.is_zero()) {
        return asked.saturating_add(policy.first.mul_f64(random)).min(RETRY_AFTER_MAX);
    }
    let doublings = failures.saturating_sub(1).min(DOUBLINGS);
    let bound = policy.first.saturating_mul(1 << doublings).min(policy.max);
    bound.mul_f64(random).max(policy.first.min(policy.max).mul_f64(PAUSE_FLOOR))
}

/// A number from 0 to 1, whatever it was.
fn part(number: f64) -> f64 {
    if number.is_nan() { 0.0 } else { number.clamp(0.0, 1.0) }
}
