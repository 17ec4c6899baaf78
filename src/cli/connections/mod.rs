//! x
mod lines;
