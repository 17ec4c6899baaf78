//! Remarks that are made once at start: files that will never rotate, and files that all may read.

use std::path::Path;

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

use super::Reader;
use crate::secret::name::SecretName;

/// Most names that one remark lists.
const MAX_LISTED: usize = 5;

/// Lines for the operator about the files that the last scan found.
pub fn remarks_at_start(reader: &Reader) -> Vec<String> {
    let mut mounted = Vec::new();
    let mut open = Vec::new();
    for name in reader.files.keys() {
        let path = reader.root.join(name.as_str());
        if is_own_mount(&path) {
            mounted.push(name);
        }
        if !under_kubelet(reader.root.as_path(), name) && is_world_readable(&path) {
            open.push(name);
        }
    }
    let mut lines = Vec::new();
    if !mounted.is_empty() {
        lines.push(format!(
            "mounted one by one (subPath or a bind mount of a single file), so a rotation will never be seen: {}; \
             mount the whole directory instead",
            list(mounted)
        ));
    }
    if !open.is_empty() {
        lines.push(format!("readable for every user: {}; mode 0440 or 0400 is enough", list(open)));
    }
    lines
}

fn list(mut names: Vec<&SecretName>) -> String {
    names.sort_unstable();
    let shown: Vec<&str> = names.iter().take(MAX_LISTED).map(|name| name.as_str()).collect();
    match names.len().saturating_sub(MAX_LISTED) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// A file whose mount is another than its directory's is a mount point itself.
fn is_own_mount(path: &Path) -> bool {
    let Some(parent) = path.parent() else { return false };
    // A link is never a mount point; the file behind it is of no interest here.
    match (mount_id(path), mount_id(parent)) {
        (Some(file), Some(dir)) => file != dir && !path.is_symlink(),
        _ => false,
    }
}

/// `None` before Linux 5.8.
fn mount_id(path: &Path) -> Option<u64> {
    let found = statx(CWD, path, AtFlags::empty(), StatxFlags::MNT_ID).ok()?;
    (found.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(found.stx_mnt_id)
}

/// Whether a directory on the way is one of the kubelet's: its modes are the volume's affair.
fn under_kubelet(root: &Path, name: &SecretName) -> bool {
    let path = root.join(name.as_str());
    path.ancestors().skip(1).take_while(|dir| dir.starts_with(root)).any(|dir| dir.join("..data").exists())
}

fn is_world_readable(path: &Path) -> bool {
    rustix::fs::stat(path).is_ok_and(|stat| stat.st_mode & 0o004 != 0)
}
