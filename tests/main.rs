//! Scenarios through the built program: one test binary, one module for each theme.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod aws;
mod callers;
mod cli;
mod connections;
mod failing_well;
mod house;
mod intercept;
mod leaks;
mod rotation;
mod stores;
mod support;
mod way_out;
mod ways_in;
