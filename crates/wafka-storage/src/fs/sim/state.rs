//! The directory tree of the simulated file system, its faults and its counts.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::image::Image;
use super::rng::Rng;
use super::{DirEntry, Fault, FaultKind, Operation};

/// What a name stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Node {
    Directory,
    /// An index into the images.
    File(usize),
}

/// A change of a directory that is not durable yet; each is atomic.
enum Change {
    Set(PathBuf, Node),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
}

impl Change {
    fn directory(&self) -> &Path {
        let (Change::Set(path, _) | Change::Remove(path) | Change::Rename(path, _)) = self;
        parent(path)
    }

    fn apply(&self, tree: &mut BTreeMap<PathBuf, Node>) {
        match self {
            Change::Set(path, node) => _ = tree.insert(path.clone(), *node),
            Change::Remove(path) => _ = tree.remove(path),
            Change::Rename(from, to) => {
                if let Some(node) = tree.remove(from) {
                    tree.insert(to.clone(), node);
                }
            }
        }
    }
}

#[derive(Default)]
pub(super) struct State {
    pub images: Vec<Image>,
    pub faults: Vec<Fault>,
    pub space_left: Option<u64>,
    pub direct_allowed: bool,
    /// How many operations that change something there may still be.
    pub changes_left: Option<u64>,
    pub counts: [u64; 11],
    pub bytes_read: u64,
    pub files_open: u64,
    /// How many bytes direct writes wrote.
    pub bytes_direct: u64,
    pub run: u64,
    live: BTreeMap<PathBuf, Node>,
    durable: BTreeMap<PathBuf, Node>,
    /// What leads from `durable` to `live`, oldest first.
    changes: Vec<Change>,
}

impl State {
    /// Makes every file durable, or fails to.
    pub fn sync_volume(&mut self, works: bool) {
        for image in &mut self.images {
            if works { image.sync() } else { image.fail_sync() }
        }
    }

    /// Counts an operation and fails it when a fault says so; `Some` is how many bytes a write may take.
    pub fn meet_fault(&mut self, operation: Operation, path: &Path) -> io::Result<Option<usize>> {
        self.counts[operation as usize] += 1;
        if !matches!(operation, Operation::Open | Operation::Read)
            && let Some(left) = &mut self.changes_left
        {
            *left = left.checked_sub(1).ok_or_else(|| io::Error::other("the machine has stopped"))?;
        }
        let mut met = None;
        for fault in &mut self.faults {
            let hits = fault.operation == operation
                && fault.times > 0
                && path.to_string_lossy().contains(&fault.path_contains);
            if hits && fault.skip > 0 {
                fault.skip -= 1;
            } else if hits && met.is_none() {
                fault.times -= 1;
                met = Some(fault.kind);
            }
        }
        match met {
            None => Ok(None),
            Some(FaultKind::ShortWrite(bytes)) => Ok(Some(bytes)),
            Some(FaultKind::Errno(errno)) => Err(io::Error::from_raw_os_error(errno)),
        }
    }

    /// Whether nothing is carried out any more.
    pub fn is_stopped(&self) -> bool {
        self.changes_left == Some(0)
    }

    pub fn file(&self, path: &Path) -> Option<usize> {
        match self.live.get(path) {
            Some(Node::File(file)) => Some(*file),
            _ => None,
        }
    }

    fn check_dir(&self, path: &Path) -> io::Result<()> {
        let root = path.as_os_str().is_empty() || path == Path::new("/") || path == Path::new(".");
        match self.live.get(path) {
            _ if root => Ok(()),
            Some(Node::Directory) => Ok(()),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.live);
        self.changes.push(change);
    }

    pub fn create(&mut self, path: &Path) -> io::Result<usize> {
        self.check_dir(parent(path))?;
        self.images.push(Image::default());
        let file = self.images.len() - 1;
        self.change(Change::Set(path.to_owned(), Node::File(file)));
        Ok(file)
    }

    pub fn add_durable_file(&mut self, path: &Path) -> usize {
        self.images.push(Image::default());
        let file = self.images.len() - 1;
        for tree in [&mut self.live, &mut self.durable] {
            for directory in parent(path).ancestors().filter(|path| !path.as_os_str().is_empty()) {
                tree.insert(directory.to_owned(), Node::Directory);
            }
            tree.insert(path.to_owned(), Node::File(file));
        }
        file
    }

    pub fn create_dir_all(&mut self, path: &Path) -> io::Result<()> {
        let mut missing: Vec<&Path> = Vec::new();
        for path in path.ancestors() {
            match self.check_dir(path) {
                Ok(()) => break,
                Err(error) if error.kind() == io::ErrorKind::NotFound => missing.push(path),
                Err(error) => return Err(error),
            }
        }
        for path in missing.into_iter().rev() {
            self.change(Change::Set(path.to_owned(), Node::Directory));
        }
        Ok(())
    }

    pub fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.check_dir(path)?;
        let inside = self.live.iter().filter(|(name, _)| parent(name) == path);
        Ok(inside
            .filter_map(|(name, node)| {
                Some(DirEntry { name: name.file_name()?.to_owned(), is_dir: *node == Node::Directory })
            })
            .collect())
    }

    pub fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        if self.file(from).is_none() {
            return Err(io::ErrorKind::NotFound.into());
        }
        if parent(from) != parent(to) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        self.change(Change::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    pub fn remove(&mut self, path: &Path) -> io::Result<()> {
        if self.file(path).is_none() {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.change(Change::Remove(path.to_owned()));
        Ok(())
    }

    pub fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        self.check_dir(path)?;
        let path = if path == Path::new(".") { Path::new("") } else { path };
        let (mine, others) =
            std::mem::take(&mut self.changes).into_iter().partition(|change| change.directory() == path);
        self.changes = others;
        let mine: Vec<Change> = mine;
        for change in &mine {
            change.apply(&mut self.durable);
        }
        Ok(())
    }

    /// Keeps the first few of the unsynced changes of directories (a journal of a file system replays in order), and of
    /// each file what its image chooses.
    pub fn lose_power(&mut self, seed: u64) {
        let mut rng = Rng::new(seed);
        let kept = rng.up_to(self.changes.len() as u64) as usize;
        for change in std::mem::take(&mut self.changes).iter().take(kept) {
            change.apply(&mut self.durable);
        }
        // A name whose directory was lost is lost too.
        let names: Vec<PathBuf> = self.durable.keys().cloned().collect();
        for name in names {
            let above = parent(&name);
            let root = above.as_os_str().is_empty() || above == Path::new("/");
            if !root && self.durable.get(above) != Some(&Node::Directory) {
                self.durable.remove(&name);
            }
        }
        self.live.clone_from(&self.durable);
        for image in &mut self.images {
            image.lose_power(&mut rng);
        }
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}
