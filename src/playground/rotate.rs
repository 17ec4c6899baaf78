//! Writes a secrets directory as a kubelet does, so that rotations can be tried without a cluster.
//!
//! The order of steps is that of Kubernetes' `AtomicWriter`
//! (<https://github.com/kubernetes/kubernetes/blob/master/pkg/volume/util/atomic_writer.go>): a new
//! timestamped directory, its files, `..data_tmp` renamed over `..data`, links for new names, links of
//! names that are gone removed, the old directory removed. Callers: `demo` and tests.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::clock::{Clock as _, SystemClock, Timestamp};

const DATA: &str = "..data";
const DATA_TMP: &str = "..data_tmp";
/// How many names are tried for a new timestamped directory.
const ATTEMPTS: u32 = 100;

/// A directory that is written as a projected volume is.
#[derive(Debug)]
pub struct Volume {
    dir: PathBuf,
}

impl Volume {
    /// The volume at `dir`, which is created when it is not there.
    pub fn new(dir: impl Into<PathBuf>) -> io::Result<Self> {
        let dir = dir.into();
        fs::create_dir_all(&dir)?;
        Ok(Self { dir })
    }

    /// The directory that a pod would see mounted.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Replaces all files by these (path below the directory, bytes) in one swap. Returns the moment
    /// just before the swap. Like a kubelet it leaves everything alone when nothing would change,
    /// and returns `None`.
    pub fn write(&self, files: &[(&str, &[u8])]) -> io::Result<Option<Instant>> {
        let old = match fs::read_link(self.dir.join(DATA)) {
            Ok(target) => Some(target),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        if let Some(old) = &old
            && same(&self.dir.join(old), files)?
        {
            return Ok(None);
        }
        let new = self.new_directory(SystemClock.now())?;
        for (name, bytes) in files {
            write_file(&self.dir.join(&new), name, bytes)?;
        }
        let swapped = self.swap(&new)?;
        self.link_names(files)?;
        if let Some(old) = old {
            fs::remove_dir_all(self.dir.join(old))?;
        }
        Ok(Some(swapped))
    }

    /// `..YYYY_MM_DD_HH_MM_SS.N`, mode 0755 whatever the umask.
    fn new_directory(&self, now: Timestamp) -> io::Result<String> {
        let second = jiff::Timestamp::from_second(now.seconds).map_err(io::Error::other)?;
        let stem = second.strftime("..%Y_%m_%d_%H_%M_%S").to_string();
        for attempt in 0..ATTEMPTS {
            let name = format!("{stem}.{}", now.nanos.wrapping_add(attempt));
            match DirBuilder::new().mode(0o755).create(self.dir.join(&name)) {
                Ok(()) => {
                    fs::set_permissions(self.dir.join(&name), Permissions::from_mode(0o755))?;
                    return Ok(name);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    fn swap(&self, new: &str) -> io::Result<Instant> {
        let tmp = self.dir.join(DATA_TMP);
        match fs::remove_file(&tmp) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        symlink(new, &tmp)?;
        let before = Instant::now();
        fs::rename(&tmp, self.dir.join(DATA))?;
        Ok(before)
    }

    /// Links the first component of every name to `..data`, removes links of names that are gone.
    fn link_names(&self, files: &[(&str, &[u8])]) -> io::Result<()> {
        let wanted: BTreeSet<&str> = files.iter().map(|(name, _)| first_component(name)).collect();
        for name in &wanted {
            let link = self.dir.join(name);
            if fs::symlink_metadata(&link).is_err() {
                symlink(Path::new(DATA).join(name), &link)?;
            }
        }
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let known = name.to_str().is_some_and(|name| name.starts_with("..") || wanted.contains(name));
            if !known && entry.file_type()?.is_symlink() {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

fn first_component(name: &str) -> &str {
    name.split('/').next().unwrap_or(name)
}

fn write_file(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let path = folder.join(name);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)?.write_all(bytes)
}

/// Whether the folder holds exactly these files with these bytes.
fn same(folder: &Path, files: &[(&str, &[u8])]) -> io::Result<bool> {
    for (name, bytes) in files {
        match fs::read(folder.join(name)) {
            Ok(found) if found == *bytes => {}
            Ok(_) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(count_files(folder)? == files.len())
}

fn count_files(folder: &Path) -> io::Result<usize> {
    let mut count = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() { folders.push(entry.path()) } else { count += 1 }
        }
    }
    Ok(count)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use super::*;

    /// A folder of this test process that is removed at the end.
    pub(crate) struct TempDir(pub(crate) PathBuf);

    impl TempDir {
        pub(crate) fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("countersign-test-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for TempDir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn listing(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_volume_has_exactly_the_layout_of_a_kubelet() {
        let dir = TempDir::new("rotate-layout");
        let volume = Volume::new(&dir.0).unwrap();
        assert!(
            volume.write(&[("token", b"1"), ("partner/tls.crt", b"c1"), ("partner/tls.key", b"k1")]).unwrap().is_some()
        );

        let data = fs::read_link(dir.0.join("..data")).unwrap();
        assert!(data.is_relative());
        let stamp = data.to_str().unwrap().to_owned();
        assert_eq!(listing(&dir.0), [stamp.as_str(), "..data", "partner", "token"].map(String::from));
        // ..2016_02_01_15_04_05.12345678
        let shape: String = stamp.chars().take(21).map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(shape, "..0000_00_00_00_00_00");
        assert!(stamp[21..].strip_prefix('.').is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit())), "{stamp}");
        assert_eq!(fs::metadata(dir.0.join(&stamp)).unwrap().permissions().mode() & 0o7777, 0o755);
        assert_eq!(fs::read_link(dir.0.join("token")).unwrap(), Path::new("..data/token"));
        assert_eq!(fs::read_link(dir.0.join("partner")).unwrap(), Path::new("..data/partner"));
        assert_eq!(fs::read(dir.0.join("partner/tls.key")).unwrap(), b"k1");
    }

    #[test]
    fn a_rotation_swaps_removes_the_old_and_follows_names() {
        let dir = TempDir::new("rotate-swap");
        let volume = Volume::new(&dir.0).unwrap();
        volume.write(&[("old", b"1"), ("partner/key", b"1")]).unwrap();
        let before = fs::read_link(dir.0.join("..data")).unwrap();
        assert!(volume.write(&[("partner/key", b"1"), ("old", b"1")]).unwrap().is_none(), "nothing changed");
        assert_eq!(before, fs::read_link(dir.0.join("..data")).unwrap());

        volume.write(&[("new", b"2"), ("partner/key", b"2")]).unwrap();
        let after = fs::read_link(dir.0.join("..data")).unwrap();
        assert_ne!(before, after);
        assert_eq!(listing(&dir.0), [after.to_str().unwrap(), "..data", "new", "partner"].map(String::from));
        assert_eq!(fs::read(dir.0.join("partner/key")).unwrap(), b"2");
    }
}
