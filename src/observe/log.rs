//! The log: events of `tracing`, one line each, to standard error.
//!
//! Only events count; spans are not used. Other crates are heard from `warn` upwards whatever the
//! level, because at `debug` some of them print header values.

use std::fmt;
use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};

use super::line::{Format, Line, Paint, VALUE_LIMIT};
use crate::clock::{SharedClock, SystemClock};

/// The level in force, as [`rank`]; changed on reload.
static LEVEL: AtomicU8 = AtomicU8::new(INFO);

const INFO: u8 = 3;
const WARN: u8 = 2;

/// The log was started before.
#[derive(Debug, thiserror::Error)]
#[error("the log was already started")]
pub struct AlreadyStarted(#[source] tracing::subscriber::SetGlobalDefaultError);

/// Starts the log of this process. Text is coloured when standard error is a terminal and `NO_COLOR` is not set.
pub fn init(level: Level, format: Format) -> Result<(), AlreadyStarted> {
    LEVEL.store(rank(&level), Ordering::Relaxed);
    let layer = LineLayer {
        format,
        paint: paint_for_stderr(),
        clock: Arc::new(SystemClock),
        level: &LEVEL,
        write: |line: &[u8]| {
            // Nobody is left to tell when standard error is gone.
            let _ = std::io::stderr().lock().write_all(line);
        },
    };
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer)).map_err(AlreadyStarted)
}

/// Changes the level of a running log.
pub fn set_level(level: Level) {
    LEVEL.store(rank(&level), Ordering::Relaxed);
    tracing::callsite::rebuild_interest_cache();
}

/// Colour only on a terminal, and not for those who asked for none (<https://no-color.org>).
#[allow(clippy::disallowed_methods)] // a convention of terminals, not configuration
pub(super) fn paint_for_stderr() -> Paint {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    match std::io::stderr().is_terminal() && !refused {
        true => Paint::Colour,
        false => Paint::Plain,
    }
}

/// 1 for `error` to 5 for `trace`.
fn rank(level: &Level) -> u8 {
    match *level {
        Level::ERROR => 1,
        Level::WARN => WARN,
        Level::INFO => INFO,
        Level::DEBUG => 4,
        Level::TRACE => 5,
    }
}

fn name(level: &Level) -> &'static str {
    ["error", "warn", "info", "debug", "trace"][usize::from(rank(level)) - 1]
}

/// Writes each event as one line.
struct LineLayer<W> {
    format: Format,
    paint: Paint,
    clock: SharedClock,
    level: &'static AtomicU8,
    write: W,
}

impl<S: Subscriber, W: Fn(&[u8]) + 'static> Layer<S> for LineLayer<W> {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        let level = self.level.load(Ordering::Relaxed);
        let ours = metadata.target().split("::").next() == Some(env!("CARGO_CRATE_NAME"));
        let limit = if ours { level } else { level.min(WARN) };
        metadata.is_event() && rank(metadata.level()) <= limit
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match self.level.load(Ordering::Relaxed) {
            1 => LevelFilter::ERROR,
            WARN => LevelFilter::WARN,
            INFO => LevelFilter::INFO,
            4 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        })
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut message = Message(String::new());
        event.record(&mut message);
        let mut out = Vec::with_capacity(256);
        let level = name(event.metadata().level());
        let line = Line::begin(&mut out, (self.format, self.paint), self.clock.now(), level, &message.0);
        let mut fields = Fields(line);
        event.record(&mut fields);
        fields.0.end();
        (self.write)(&out);
    }
}

/// Picks the message out of an event: it stands before the fields.
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = bounded(format_args!("{value:?}"));
        }
    }
}

/// Writes the fields but the message.
struct Fields<'b>(Line<'b>);

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if let Some(key) = key_of(field) {
            self.0.text(key, value);
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if let Some(key) = key_of(field) {
            self.0.number(key, value);
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        if let Some(key) = key_of(field) {
            self.0.literal(key, &value.to_string());
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        if let Some(key) = key_of(field) {
            self.0.literal(key, if value { "true" } else { "false" });
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        match key_of(field) {
            Some(key) if value.is_finite() => self.0.literal(key, &value.to_string()),
            Some(key) => self.0.text(key, &value.to_string()), // JSON has no NaN
            None => {}
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let Some(key) = key_of(field) else { return };
        let mut text = bounded(format_args!("{value}"));
        let mut cause = value.source();
        while let (Some(error), true) = (cause, text.len() < VALUE_LIMIT) {
            text.push_str(": ");
            text.push_str(&bounded(format_args!("{error}")));
            cause = error.source();
        }
        self.0.text(key, &text);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if let Some(key) = key_of(field) {
            self.0.text(key, &bounded(format_args!("{value:?}")));
        }
    }
}

/// The name in the line; `None` for the message, which was written already. The line's own names stay unique.
fn key_of(field: &Field) -> Option<&'static str> {
    match field.name() {
        "message" => None,
        "ts" => Some("ts_"),
        "level" => Some("level_"),
        "msg" => Some("msg_"),
        other => Some(other),
    }
}

/// Formats at most a little over [`VALUE_LIMIT`] bytes; [`Line`] makes the visible cut.
fn bounded(args: fmt::Arguments<'_>) -> String {
    struct Bounded(String);
    impl fmt::Write for Bounded {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            for c in text.chars() {
                if self.0.len() > VALUE_LIMIT {
                    return Err(fmt::Error);
                }
                self.0.push(c);
            }
            Ok(())
        }
    }
    let mut out = Bounded(String::new());
    let _ = fmt::Write::write_fmt(&mut out, args); // an error here is the limit
    out.0
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::clock::{FixedClock, Timestamp};

    fn logged(format: Format, level: &'static AtomicU8, events: impl FnOnce()) -> String {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = lines.clone();
        let layer = LineLayer {
            format,
            paint: Paint::Plain,
            clock: Arc::new(FixedClock(Timestamp::from_seconds(1_795_510_800))),
            level,
            write: move |line: &[u8]| sink.lock().unwrap().extend_from_slice(line),
        };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), events);
        let bytes = lines.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn an_event_is_one_line_of_json_with_its_message_first() {
        static AT_INFO: AtomicU8 = AtomicU8::new(INFO);
        let out = logged(Format::Json, &AT_INFO, || {
            let error = std::io::Error::other("no\nroom");
            tracing::warn!(
                credential = "partner-key",
                generation = 3u64,
                skew = -2i64,
                ok = false,
                error = &error as &dyn std::error::Error,
                path = ?"a\x1b",
                ts = 1u64,
                "kept the last {}",
                "good value"
            );
        });
        assert_eq!(
            out,
            concat!(
                r#"{"ts":"2026-11-24T09:00:00.000Z","level":"warn","msg":"kept the last good value","credential":"partner-key","#,
                r#""generation":3,"skew":-2,"ok":false,"error":"no\nroom","path":"\"a\\u{1b}\"","ts_":1}"#,
                "\n"
            )
        );
    }

    #[test]
    fn levels_are_held_and_other_crates_are_heard_only_when_something_is_wrong() {
        static AT_DEBUG: AtomicU8 = AtomicU8::new(4);
        let out = logged(Format::Text, &AT_DEBUG, || {
            tracing::trace!("no");
            tracing::debug!("ours");
            tracing::info!(target: "hyper::client", authorization = "canary", "no");
            tracing::warn!(target: "hyper::client", "theirs");
            tracing::warn!(target: "countersigner", "theirs too");
        });
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(
            lines,
            [
                "2026-11-24T09:00:00.000Z debug ours",
                "2026-11-24T09:00:00.000Z warn  theirs",
                "2026-11-24T09:00:00.000Z warn  theirs too"
            ]
        );
    }

    #[test]
    fn a_long_value_is_cut() {
        static AT_INFO: AtomicU8 = AtomicU8::new(INFO);
        let out = logged(Format::Json, &AT_INFO, || tracing::info!(long = %"x".repeat(1 << 20), "m"));
        assert!(out.len() < VALUE_LIMIT + 200 && out.contains("x…\""));
    }
}
