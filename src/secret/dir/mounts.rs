//! Directories that are mounts of something which will never change: `subPath` of a directory in a volume, or a bind
//! mount of what has been deleted since.
//!
//! A kubelet (or any writer of its kind) never writes into a version `..2026_11_24_16_00_00.123` of a volume again: it
//! makes another one and flips `..data`. A mount of a directory *inside* a version therefore shows that version for
//! ever. The kernel tells which directory of its file system a mount shows (`proc_pid_mountinfo(5)`, the fourth
//! field), so this is no guess. A mount of a whole volume shows a directory above the versions, or `/`.
//!
//! Not told: a bind mount of an ordinary directory. Changes in it show through; whether somebody will replace the
//! directory itself cannot be known before. Called by `start`; a file that is a mount by itself is found there.

use std::collections::BTreeMap;
use std::io::Read as _;

/// Directories on different mounts that are remembered at the first reading.
const MAX_MOUNTS: usize = 64;
/// Most bytes of the kernel's table that are read.
const MAX_TABLE: u64 = 1 << 20;

/// The first directory that was seen on each mount; the secrets directory itself is `""`.
#[derive(Default)]
pub(super) struct Mounts(BTreeMap<u64, String>);

/// Why what a mount shows will never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fixed {
    /// It shows a directory inside one version of a volume.
    Version,
    /// The directory that it shows is deleted.
    Deleted,
}

impl Mounts {
    /// Notes the mount of a directory.
    pub(super) fn add(&mut self, mount: Option<u64>, path: &str) {
        if let Some(id) = mount
            && self.0.len() < MAX_MOUNTS
        {
            self.0.entry(id).or_insert_with(|| path.to_owned());
        }
    }

    /// One line for each mount that will never change. Nothing where the kernel has no table.
    pub(super) fn remarks(&self) -> Vec<String> {
        let mut table = Vec::new();
        let read =
            std::fs::File::open("/proc/self/mountinfo").and_then(|file| file.take(MAX_TABLE).read_to_end(&mut table));
        match read {
            Ok(_) => self.remarks_by(&String::from_utf8_lossy(&table)),
            Err(_) => Vec::new(),
        }
    }

    fn remarks_by(&self, table: &str) -> Vec<String> {
        let remark = |line| {
            let (id, fixed) = fixed(line)?;
            let path = match self.0.get(&id)?.as_str() {
                "" => "the secrets directory",
                path => path,
            };
            let why = match fixed {
                Fixed::Version => "is a mount of a directory inside one version of a volume (subPath)",
                Fixed::Deleted => "is a mount of a directory that has been deleted",
            };
            Some(format!("{path} {why}, so a rotation will never be seen; mount the whole volume instead"))
        };
        table.lines().filter_map(remark).collect()
    }
}

/// The mount of this line and why what it shows will never change, where it is so.
fn fixed(line: &str) -> Option<(u64, Fixed)> {
    let mut fields = line.split(' ');
    let (id, root) = (fields.next()?.parse().ok()?, fields.nth(2)?);
    if root.ends_with("//deleted") {
        return Some((id, Fixed::Deleted));
    }
    root.split('/').any(is_version).then_some((id, Fixed::Version))
}

/// `..2026_11_24_16_00_00.123`, as the kubelet's atomic writer names versions.
fn is_version(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("..") else { return false };
    let year = rest.bytes().take_while(u8::is_ascii_digit).count();
    year == 4 && rest[year..].starts_with('_')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Printed by Linux 6 after bind mounts of a version's subdirectory, of a whole volume, and of a directory that
    /// was deleted then; the last two are a kubelet's tmpfs and its ConfigMap on the node's disk.
    const TABLE: &str = "\
63 43 0:39 / /tmp/tmp.4WMUs9VLfG rw,relatime - tmpfs tmpfs rw
64 63 0:39 /vol/..2026_11_24_16_00_00.1/sub /tmp/tmp.4WMUs9VLfG/in rw,relatime - tmpfs tmpfs rw
65 63 0:39 /vol /tmp/tmp.4WMUs9VLfG/in2 rw,relatime - tmpfs tmpfs rw
66 63 0:39 /plain//deleted /tmp/tmp.4WMUs9VLfG/in3 rw,relatime - tmpfs tmpfs rw
67 63 0:40 / /etc/secrets ro,relatime - tmpfs tmpfs rw,size=65536k
68 63 8:1 /var/lib/kubelet/pods/0/volumes/kubernetes.io~configmap/c /etc/config ro,relatime - ext4 /dev/sda1 rw
";

    #[test]
    fn only_a_mount_inside_a_version_and_a_deleted_one_never_change() {
        let found: Vec<_> = TABLE.lines().filter_map(fixed).collect();
        assert_eq!(found, [(64, Fixed::Version), (66, Fixed::Deleted)]);
        assert_eq!(fixed("not a line"), None);
        assert_eq!(fixed("70 1 0:1 /..hidden/..data/..20x /a rw - tmpfs tmpfs rw"), None);
    }

    #[test]
    fn a_remark_names_the_first_directory_on_the_mount_and_what_to_do() {
        let mut mounts = Mounts::default();
        for (id, path) in
            [(Some(63), ""), (Some(64), "partner"), (Some(64), "partner/deep"), (Some(65), "vol"), (None, "x")]
        {
            mounts.add(id, path);
        }
        let remarks = mounts.remarks_by(TABLE);
        assert_eq!(remarks.len(), 1, "{remarks:?}");
        assert!(remarks[0].starts_with("partner is a mount of a directory inside one version"), "{remarks:?}");
        assert!(remarks[0].ends_with("mount the whole volume instead"), "{remarks:?}");
    }
}
