//! Signed requests through the proxy: what leaves, what of the worker's does not, and what is said when it is refused.

mod clock;
mod http_messages;
mod transcript;
