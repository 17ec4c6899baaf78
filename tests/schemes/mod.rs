//! Each scheme through the proxy: what arrives for what a worker sends.

mod fields;
