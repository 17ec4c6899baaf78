//! The page for people. (body follows)

use super::Source;
use super::answer::{self, Answer};

pub(super) fn page(_source: &dyn Source) -> Answer {
    answer::text(http::StatusCode::OK, "")
}
