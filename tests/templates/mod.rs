//! The guide of the template language, held to its word: every table in it loads, and signs what platforms' own documentation
//! and SDKs sign (`tests/vectors/platforms`).

mod guide;
mod request;
mod vectors;
