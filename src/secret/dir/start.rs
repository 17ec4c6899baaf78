//! Remarks that are made once at start: files that will never rotate, and files that all may read.
//!
//! What they say is noted while the first reading goes by, so that no file is looked at twice.

use std::collections::BTreeSet;

use super::Reader;
use super::file::Found;
use super::mounts::Mounts;
use super::walk::Pass;
use crate::secret::name::SecretName;

/// Most names that one remark lists.
const MAX_LISTED: usize = 5;

/// What was noted at the first reading.
#[derive(Default)]
pub(super) struct Remarks {
    mounted: Names,
    pub(super) mounts: Mounts,
    open: Names,
}

/// The first names in order of the alphabet, and how many there are.
#[derive(Default)]
struct Names {
    first: BTreeSet<SecretName>,
    count: usize,
}

impl Names {
    fn add(&mut self, name: &str) {
        self.count += 1;
        let full = self.first.len() >= MAX_LISTED;
        if full && self.first.last().is_some_and(|last| last.as_str() <= name) {
            return;
        }
        self.first.extend(SecretName::parse(name).ok());
        if self.first.len() > MAX_LISTED {
            self.first.pop_last();
        }
    }

    fn list(&self) -> String {
        let shown: Vec<&str> = self.first.iter().map(SecretName::as_str).collect();
        match self.count.saturating_sub(shown.len()) {
            0 => shown.join(", "),
            more => format!("{} and {more} more", shown.join(", ")),
        }
    }
}

impl Pass<'_> {
    /// Notes what is remarkable about the file at the present path, at the first reading alone.
    pub(super) fn remark(&mut self, found: &Found, link: bool) {
        if self.reader.generation > 0 {
            return;
        }
        // A link is never a mount point; the file behind it is of no interest here.
        if let (Some(file), Some(dir), false) = (found.mount, self.mount, link)
            && file != dir
        {
            self.reader.remarks.mounted.add(&self.path);
        }
        if !self.projected && found.mode & 0o004 != 0 {
            self.reader.remarks.open.add(&self.path);
        }
    }
}

/// Lines for the operator about the files that the first scan found.
pub fn remarks_at_start(reader: &Reader) -> Vec<String> {
    let Remarks { mounted, mounts, open } = &reader.remarks;
    let mut lines = mounts.remarks();
    if mounted.count > 0 {
        lines.push(format!(
            "mounted one by one (subPath or a bind mount of a single file), so a rotation will never be seen: {}; \
             mount the whole directory instead",
            mounted.list()
        ));
    }
    if open.count > 0 {
        lines.push(format!("readable for every user: {}; mode 0440 or 0400 is enough", open.list()));
    }
    lines
}
