//! Which directories must be watched so that a change of any file is noticed.

use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

use super::Reader;

/// Most links that lead to one path.
const MAX_LINKS: usize = 40;

/// A directory to watch, and what of it matters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The directory.
    pub dir: PathBuf,
    /// The one entry of it that matters; `None`: all.
    pub only: Option<OsString>,
}

impl Place {
    /// All of a directory.
    pub fn all(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), only: None }
    }

    /// One entry of a directory.
    pub fn entry(dir: impl Into<PathBuf>, only: &OsStr) -> Self {
        Self { dir: dir.into(), only: Some(only.to_owned()) }
    }
}

/// The place of every link that is passed on the way to `path`, and of its last component: if
/// none of these entries changes, the path leads to the same file. Links of the kubelet's
/// `..data` directories are included.
pub fn passed(path: &Path) -> Vec<Place> {
    let mut places = Vec::new();
    let mut links = 0;
    let mut here = PathBuf::new();
    let mut todo: Vec<OsString> = components(path);
    while let Some(part) = todo.pop() {
        if part == ".." {
            here.pop();
            continue;
        }
        let next = here.join(&part);
        match std::fs::read_link(&next) {
            Ok(target) if links < MAX_LINKS => {
                links += 1;
                places.push(Place::entry(&here, &part));
                if target.is_absolute() {
                    here = PathBuf::new();
                }
                todo.extend(components(&target));
            }
            _ => {
                if todo.is_empty() {
                    places.push(Place::entry(&here, &part));
                }
                here = next;
            }
        }
    }
    places
}

/// In reverse order; `.` left out, `/` and `..` kept.
fn components(path: &Path) -> Vec<OsString> {
    let parts = path.components().filter(|part| !matches!(part, Component::CurDir));
    let mut parts: Vec<OsString> = parts.map(|part| part.as_os_str().to_owned()).collect();
    parts.reverse();
    parts
}

impl Reader {
    /// Everything to watch for the state that the last scan found: the secrets directory, every
    /// directory that was walked, and each link on the way to them or to a file.
    pub fn places(&self) -> impl Iterator<Item = Place> + '_ {
        let folders = self.folders.iter().flat_map(|(name, folder)| {
            let own = Place::all(self.root.join(&**name));
            std::iter::once(own).chain(folder.links.iter().flat_map(|links| links.iter().cloned()))
        });
        let links = self.known.values().filter_map(|known| known.links.as_deref()).flatten().cloned();
        passed(&self.root).into_iter().chain([Place::all(&self.root)]).chain(folders).chain(links)
    }
}
