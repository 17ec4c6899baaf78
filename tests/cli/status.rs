use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use super::run;
use crate::support::Scratch;

fn config(admin: &str) -> Scratch {
    Scratch::with(&format!("[listen]\nproxy = []\nadmin = \"{admin}\"\n"), &[])
}

#[test]
fn nothing_running_exits_4() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let scratch = config(&address);
    for command in ["status", "health"] {
        let ran = run(&scratch, &[command]);
        let expected = format!("error: no proxy is running: nothing answers on {address}\n");
        assert_eq!((ran.status, ran.out.as_str(), ran.err), (4, "", expected));
    }
}

#[test]
fn a_listener_that_is_off_or_unknown_is_said() {
    for (admin, said) in [("off", "the admin listener is off"), ("127.0.0.1:0", "the port is 0")] {
        let ran = run(&config(admin), &["status"]);
        assert_eq!(ran.status, 1, "{ran:?}");
        assert!(ran.err.contains(said), "{ran:?}");
    }
}

#[test]
fn a_proxy_that_is_not_ready_exits_1_and_one_that_is_silent_5() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let scratch = config(&listener.local_addr().unwrap().to_string());
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 1024]);
        stream.write_all(b"HTTP/1.1 503 x\r\ncontent-length: 20\r\n\r\nnot ready: draining\n").unwrap();
        let silent = listener.accept().unwrap();
        (listener, silent)
    });
    let ran = run(&scratch, &["health"]);
    assert_eq!((ran.status, ran.out.as_str()), (1, "not ready: draining\n"), "{ran:?}");
    let ran = run(&scratch, &["health"]);
    assert_eq!(ran.status, 5, "{ran:?}");
    drop(answering.join());
}
