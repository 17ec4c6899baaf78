//! The ways in which people and programs replace a file.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

/// A new file with its folders, mode 0600.
pub(crate) fn write_new(dir: &Path, name: &str, bytes: &[u8]) {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Written aside and renamed over.
pub(crate) fn rename_over(path: &Path, bytes: impl AsRef<[u8]>) {
    let folder = path.parent().unwrap();
    let aside = format!(".new-{}", path.file_name().unwrap().to_str().unwrap());
    write_new(folder, &aside, bytes.as_ref());
    fs::rename(folder.join(aside), path).unwrap();
}

/// Opened, truncated, written, closed.
pub(crate) fn in_place(path: &Path, bytes: impl AsRef<[u8]>) {
    let mut file = fs::OpenOptions::new().write(true).truncate(true).open(path).unwrap();
    file.write_all(bytes.as_ref()).unwrap();
}

/// Deleted, then created anew.
pub(crate) fn delete_and_create(path: &Path, bytes: impl AsRef<[u8]>) {
    fs::remove_file(path).unwrap();
    write_new(path.parent().unwrap(), path.file_name().unwrap().to_str().unwrap(), bytes.as_ref());
}

/// A link put in place, or replaced, by a rename.
pub(crate) fn flip(link: &Path, target: &Path) {
    let aside = link.with_extension("flip");
    symlink(target, &aside).unwrap();
    fs::rename(&aside, link).unwrap();
}
