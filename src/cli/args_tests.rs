#![allow(clippy::unwrap_used)]

use super::*;

fn parse(words: &str) -> Result<Args, clap::Error> {
    Args::try_parse_from(words.split_whitespace())
}

#[test]
fn the_table_of_arguments_is_sound() {
    Args::command().debug_assert();
}

#[test]
fn run_is_the_default_and_options_may_stand_on_either_side() {
    let args = parse("countersign --unix-socket /a --drain-delay 5s").unwrap();
    assert!(args.command.is_none() && args.misplaced().is_none());
    assert_eq!(args.run.drain_delay, Some(Duration::from_secs(5)));
    assert_eq!(args.global.config, PathBuf::from("proxy.toml"));

    let args = parse("countersign --unix-socket /a -c x.toml run --drain-delay 1m --log-level DEBUG").unwrap();
    let Some(Command::Run(own)) = args.command else { panic!("{args:?}") };
    let run = own.or(args.run);
    assert_eq!((run.unix_socket, run.drain_delay), (Some("/a".into()), Some(Duration::from_secs(60))));
    assert_eq!((args.global.config, args.global.log_level), ("x.toml".into(), Some(LogLevel::Debug)));
}

#[test]
fn global_options_may_follow_the_command() {
    let args = parse("countersign check --format json -c a/b.toml").unwrap();
    assert_eq!((args.global.format, args.global.config), (Format::Json, "a/b.toml".into()));
}

#[test]
fn options_of_run_belong_to_run() {
    assert!(parse("countersign --unix-socket /a check").unwrap().misplaced().is_some());
    assert!(parse("countersign check --unix-socket /a").is_err());
}

#[test]
fn mistakes_are_usage_errors() {
    for words in [
        "countersign nonsense",
        "countersign explain",
        "countersign explain GET",
        "countersign explain G@T /",
        "countersign explain GET / --at yesterday",
        "countersign explain GET / -H nocolon",
        "countersign --drain-delay 5",
        "countersign --format yaml check",
    ] {
        assert!(parse(words).is_err_and(|error| error.use_stderr()), "{words}");
    }
}

#[test]
fn times_are_rfc_3339_or_seconds() {
    assert_eq!(time("1767225600"), Ok(Timestamp::from_seconds(1_767_225_600)));
    assert_eq!(time("2026-01-01T00:00:00Z"), Ok(Timestamp::from_seconds(1_767_225_600)));
    assert_eq!(time("2026-01-01T01:00:00.25+01:00"), Ok(Timestamp { seconds: 1_767_225_600, nanos: 250_000_000 }));
    assert_eq!(time("-1"), Ok(Timestamp::from_seconds(-1)));
    assert_eq!(time("1969-12-31T23:59:59.5Z"), Ok(Timestamp { seconds: -1, nanos: 500_000_000 }));
    assert!(time("99999999999999").is_err() && time("2026-01-01").is_err());
}
