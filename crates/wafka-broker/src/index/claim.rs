//! Whose the indexes are, where several servers open the same data one after the other.
//!
//! An index says what its log says as long as nobody else has rewritten that, or made another log of the same name. So the
//! catalog, which is with the data, names the place that was last in use, by a name that the place itself holds in the file
//! `OWNER`. A server whose place is not the one named begins a new one.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::Path;

use wafka_storage::fs::{OpenMode, read_full_at, write_all_at};

use crate::options::IndexPlace;

/// The file with the place's name.
const OWNER: &str = "OWNER";
/// It is written under this name.
const NEW_OWNER: &str = "OWNER.new";
/// Hexadecimal digits in a name.
const NAME_LEN: usize = 32;

/// A name that no other place has.
pub(crate) fn new_name() -> String {
    // Each RandomState has keys of its own, drawn from the system's randomness.
    (0..2).map(|n| format!("{:016x}", RandomState::new().hash_one(n))).collect()
}

/// Whether the place is the one that the catalog names.
pub(crate) fn is_named(place: &IndexPlace, named: &str) -> bool {
    let mut name = [0; NAME_LEN + 1];
    let read = place
        .fs
        .open(&place.dir.join(OWNER), OpenMode::Write)
        .and_then(|file| read_full_at(&*file, &mut name, 0));
    read.is_ok_and(|read| name[..read] == *named.as_bytes())
}

/// Removes every index and gives the place a name.
pub(crate) fn begin(place: &IndexPlace, name: &str) -> io::Result<()> {
    place.fs.create_dir_all(&place.dir)?;
    // First of all its name: half of the indexes are not what any catalog speaks of.
    remove(place, &place.dir.join(OWNER))?;
    place.fs.sync_dir(&place.dir)?;
    remove_files(place, &place.dir)?;
    let new = place.dir.join(NEW_OWNER);
    let file = place.fs.open(&new, OpenMode::Truncate)?;
    write_all_at(&*file, name.as_bytes(), 0)?;
    file.sync_data()?;
    place.fs.rename(&new, &place.dir.join(OWNER))?;
    place.fs.sync_dir(&place.dir)
}

/// Removes the files in a directory and in those right below it, one for each database.
fn remove_files(place: &IndexPlace, dir: &Path) -> io::Result<()> {
    for entry in place.fs.read_dir(dir)? {
        let path = dir.join(&entry.name);
        if !entry.is_dir {
            remove(place, &path)?;
            continue;
        }
        for entry in place.fs.read_dir(&path)? {
            if !entry.is_dir {
                remove(place, &path.join(&entry.name))?;
            }
        }
        place.fs.sync_dir(&path)?;
    }
    place.fs.sync_dir(dir)
}

fn remove(place: &IndexPlace, path: &Path) -> io::Result<()> {
    match place.fs.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
