//! `proxy.toml`: text in, [`model::Config`] and every mistake out.

pub mod model;
