//! The fuzz targets over their corpus: what once was found, and what reaches far.

mod targets;

use std::fs;
use std::path::Path;

fn over_corpus(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let data = fs::read(entry.unwrap().path()).unwrap();
        run(&data);
        // Cut short and turned over, each is a further input.
        for at in 0..data.len().min(64) {
            run(&data[..at]);
            let mut turned = data.clone();
            turned[at] ^= 0x20;
            run(&turned);
        }
        count += 1;
    }
    assert!(count >= 10, "{target} has {count} inputs");
}

#[test]
fn templates_over_their_corpus() {
    over_corpus("templates", targets::templates);
}

#[test]
fn signature_inputs_over_their_corpus() {
    over_corpus("signature_inputs", targets::signature_inputs);
}
