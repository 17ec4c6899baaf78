//! Scenarios through the built program: one test binary, one module for each theme.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod callers;
mod challenges;
mod cli;
mod connections;
mod failing_well;
mod fuzz;
mod house;
mod intercept;
mod leaks;
mod rotation;
mod schemes;
mod signatures;
mod stores;
mod support;
mod templates;
mod way_out;
mod ways_in;
