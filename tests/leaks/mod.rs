//! Canary secrets through every scheme, error, log level, metric and admin answer: found at the upstream alone.

mod canary;
mod in_process;
mod program;
