use super::run;
use crate::support::Scratch;

#[test]
fn a_wrong_command_line_exits_2_and_prints_on_standard_error_only() {
    let scratch = Scratch::new();
    for words in
        [&["nonsense"][..], &["explain", "GET"], &["check", "--format", "yaml"], &["--unix-socket", "/a", "check"]]
    {
        let ran = run(&scratch, words);
        assert_eq!((ran.status, ran.out.as_str()), (2, ""), "{ran:?}");
        assert!(ran.err.starts_with("error: "), "{ran:?}");
    }
}

#[test]
fn help_of_every_command_tells_the_exit_status() {
    let scratch = Scratch::new();
    for command in [&[][..], &["run"], &["check"], &["explain"], &["status"], &["health"], &["demo"]] {
        let ran = run(&scratch, &[command, &["--help"]].concat());
        assert_eq!((ran.status, ran.err.as_str()), (0, ""), "{ran:?}");
        assert!(ran.out.contains("4  a passing failure"), "{ran:?}");
    }
}

#[test]
fn a_configuration_that_is_not_there_is_one_clear_error() {
    let scratch = Scratch::new();
    for command in ["run", "check", "status", "health"] {
        let ran = run(&scratch, &["-c", "none.toml", command]);
        assert_eq!(ran.status, 1, "{ran:?}");
        assert!(ran.err.contains("none.toml") && ran.err.contains("cannot read the configuration"), "{ran:?}");
    }
}
