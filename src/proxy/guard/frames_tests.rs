use super::*;

const NOTHING: Given = Given { answers: 0, parts: 0 };

/// RFC 9113 section 4.1, by hand.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}

/// After a preface.
fn begun() -> Frames {
    let mut frames = Frames::new(Bounds::of_list(65_536));
    assert!(!frames.has_begun());
    assert_eq!(frames.watch(PREFACE, Instant::now(), NOTHING), Ok(()));
    assert!(frames.has_begun());
    frames
}

/// How many of a frame pass, of ten thousand in one moment.
fn passing(bytes: &[u8]) -> (u32, Option<Excess>) {
    let (mut frames, now) = (begun(), Instant::now());
    for count in 0..10_000 {
        if let Err(violation) = frames.watch(bytes, now, NOTHING) {
            return (count, Some(violation.excess));
        }
    }
    (10_000, None)
}

#[test]
fn what_carries_nothing_is_bounded() {
    for (kind, flags, payload) in [
        (6, 0, &[0; 8][..]),        // PING
        (6, 1, &[0; 8]),            // PING, an acknowledgement
        (4, 0, &[]),                // SETTINGS
        (2, 0, &[0; 5]),            // PRIORITY
        (8, 0, &[0, 0, 0, 1]),      // WINDOW_UPDATE
        (0, 0, &[]),                // DATA
        (0, PADDED, &[3, 0, 0, 0]), // DATA, all of it padding
        (0xbe, 0, &[]),             // unknown
        (0x7, 0, &[0; 8]),          // GOAWAY
    ] {
        assert_eq!(passing(&frame(kind, flags, 1, payload)), (CONTROLS, Some(Excess::Controls)), "{kind} {flags}");
    }
    assert_eq!(passing(&frame(RST_STREAM, 0, 1, &[0; 4])), (RESETS, Some(Excess::Resets)));
    assert_eq!(passing(&frame(DATA, 0, 1, b"x")), (10_000, None));
    assert_eq!(passing(&frame(DATA, END_STREAM, 1, b"")), (10_000, None));
    assert_eq!(passing(&frame(DATA, PADDED, 1, &[0; 300])), (10_000, None));
    assert_eq!(passing(&frame(HEADERS, END_HEADERS, 1, b"x")), (10_000, None));
}

#[test]
fn a_budget_grows_back_with_time_and_with_what_was_given() {
    let reset = frame(RST_STREAM, 0, 1, &[0; 4]);
    let (mut frames, start) = (begun(), Instant::now());
    let mut spend = |at: Duration, given| {
        let mut count = 0;
        while frames.watch(&reset, start + at, given).is_ok() {
            count += 1;
        }
        count
    };
    assert_eq!(spend(Duration::ZERO, NOTHING), RESETS);
    assert_eq!(spend(Duration::from_secs(1), NOTHING), RESETS_A_SECOND);
    assert_eq!(spend(Duration::from_secs(1), Given { answers: 7, parts: 0 }), 7);
    assert_eq!(spend(Duration::from_secs(3600), Given { answers: 7, parts: 0 }), RESETS, "no more than at first");

    let ping = frame(6, 0, 0, &[0; 8]);
    let (mut frames, mut given) = (begun(), NOTHING);
    for _ in 0..100_000 {
        // A client that measures: two window updates and a ping for each part.
        given.parts += 1;
        for _ in 0..3 {
            assert_eq!(frames.watch(&ping, start, given), Ok(()));
        }
    }
}

#[test]
fn a_head_is_bounded_in_bytes_and_pieces() {
    let most = Bounds::of_list(65_536);
    let mut frames = begun();
    let now = Instant::now();
    frames.watch(&frame(HEADERS, 0, 5, b"x"), now, NOTHING).unwrap();
    for _ in 0..most.continuations {
        frames.watch(&frame(CONTINUATION, 0, 5, b""), now, NOTHING).unwrap();
    }
    let violation = frames.watch(&frame(CONTINUATION, 0, 5, b""), now, NOTHING).unwrap_err();
    assert_eq!(violation, Violation { good: Some(0), excess: Excess::Continuations, block: Some(5) });

    let mut frames = begun();
    let piece = [0; 16_384];
    frames.watch(&frame(HEADERS, 0, 5, &piece), now, NOTHING).unwrap();
    for _ in 0..3 {
        frames.watch(&frame(CONTINUATION, 0, 5, &piece), now, NOTHING).unwrap();
    }
    let last = frames.watch(&frame(CONTINUATION, END_HEADERS, 5, b"x"), now, NOTHING);
    assert_eq!(last.unwrap_err().excess, Excess::Block);
    // A new head begins anew.
    let mut frames = begun();
    for stream in (1..1000).step_by(2) {
        let head = [frame(HEADERS, 0, stream, &piece), frame(CONTINUATION, END_HEADERS, stream, b"x")].concat();
        frames.watch(&head, now, NOTHING).unwrap();
    }
}

#[test]
fn frames_are_found_wherever_the_bytes_are_cut() {
    let now = Instant::now();
    let all = [
        &PREFACE[..],
        &frame(4, 0, 0, &[0; 6]),
        &frame(HEADERS, 0, 1, b"head"),
        &frame(CONTINUATION, END_HEADERS, 1, b"end"),
        &frame(DATA, END_STREAM, 1, b"data"),
    ]
    .concat();
    for size in 1..all.len() {
        let mut frames = Frames::new(Bounds::of_list(65_536));
        for piece in all.chunks(size) {
            frames.watch(piece, now, NOTHING).unwrap();
        }
        assert_eq!((frames.head_under_way(), frames.ended), (None, 3), "{size}");
    }
    // A refused frame that began in an earlier piece cannot be cut off any more.
    let mut frames = begun();
    frames.watch(&[0xff], now, NOTHING).unwrap();
    let rest = [0xff, 0xff, HEADERS, 0, 0, 0, 0, 3];
    assert_eq!(frames.watch(&rest, now, NOTHING).unwrap_err().good, None);
}

#[test]
fn a_head_that_has_not_ended_is_known_by_its_number() {
    let now = Instant::now();
    let mut frames = Frames::new(Bounds::of_list(65_536));
    assert_eq!(frames.head_under_way(), None, "an idle connection");
    frames.watch(&PREFACE[..3], now, NOTHING).unwrap();
    assert_eq!(frames.head_under_way(), Some(0));
    frames.watch(&PREFACE[3..], now, NOTHING).unwrap();
    assert_eq!(frames.head_under_way(), None);
    frames.watch(&frame(HEADERS, 0, 1, b"head"), now, NOTHING).unwrap();
    assert_eq!(frames.head_under_way(), Some(0));
    frames.watch(&frame(CONTINUATION, 0, 1, b"")[..4], now, NOTHING).unwrap();
    assert_eq!(frames.head_under_way(), Some(0), "still the same");
    frames.watch(&frame(CONTINUATION, 0, 1, b"")[4..], now, NOTHING).unwrap();
    let end = [frame(CONTINUATION, END_HEADERS, 1, b""), frame(HEADERS, 0, 3, b"")].concat();
    frames.watch(&end, now, NOTHING).unwrap();
    assert_eq!(frames.head_under_way(), Some(1), "the next one");
    // A body may be slow: routes have a key for that.
    let mut frames = begun();
    frames.watch(&frame(DATA, 0, 1, b"data")[..11], now, NOTHING).unwrap();
    assert_eq!(frames.head_under_way(), None);
}
