use super::*;
use crate::fs::{read_full_at, write_all_at};

fn path() -> &'static Path {
    Path::new("d/f")
}

fn made() -> (SimFs, Arc<dyn File>) {
    let fs = SimFs::new();
    fs.create_dir_all(Path::new("d")).unwrap();
    fs.sync_dir(Path::new("")).unwrap();
    let file = fs.open(path(), OpenMode::CreateNew).unwrap();
    (fs, file)
}

#[test]
fn a_name_is_durable_after_the_directory_was_synced() {
    let survives = |sync: bool| {
        (0..20).filter(move |seed| {
            let (fs, file) = made();
            write_all_at(&*file, b"x", 0).unwrap();
            file.sync_data().unwrap();
            if sync {
                fs.sync_dir(Path::new("d")).unwrap();
            }
            fs.crash(*seed).content(path()).is_some()
        })
    };
    assert_eq!(survives(true).count(), 20);
    assert!((1..20).contains(&survives(false).count()));
}

#[test]
fn unsynced_bytes_survive_in_parts_and_synced_ones_whole() {
    let mut kinds = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let (fs, file) = made();
        fs.sync_dir(Path::new("d")).unwrap();
        write_all_at(&*file, &[1; 6000], 0).unwrap();
        file.sync_data().unwrap();
        write_all_at(&*file, &[2; 6000], 6000).unwrap();
        let found = fs.crash(seed).content(path()).unwrap();
        assert_eq!(found[..6000], [1; 6000]);
        let tail = &found[6000..];
        assert!(tail.iter().all(|b| matches!(b, 0 | 2)));
        kinds.insert((tail.is_empty(), tail == [2; 6000], tail.contains(&0)));
    }
    assert!(kinds.contains(&(true, false, false)) && kinds.contains(&(false, true, false)));
    assert!(kinds.contains(&(false, false, true)));
}

#[test]
fn after_a_failed_sync_the_bytes_are_seen_and_lost() {
    let (fs, file) = made();
    fs.sync_dir(Path::new("d")).unwrap();
    fs.inject(Fault {
        operation: Operation::Sync,
        path_contains: "f".into(),
        skip: 0,
        times: 1,
        kind: FaultKind::Errno(5),
    });
    let other = fs.open(path(), OpenMode::Write).unwrap();
    write_all_at(&*file, b"abc", 0).unwrap();
    assert_eq!(file.sync_data().unwrap_err().raw_os_error(), Some(5));
    assert_eq!(other.sync_data().unwrap_err().raw_os_error(), Some(5));
    other.sync_data().unwrap();
    fs.open(path(), OpenMode::Write).unwrap().sync_data().unwrap();
    file.sync_data().unwrap();
    assert_eq!(fs.content(path()).unwrap(), b"abc");
    assert_eq!(fs.crash(1).content(path()).unwrap(), [0; 3]);
}

#[test]
fn space_ends_with_a_short_write() {
    let (fs, file) = made();
    fs.limit_space(5);
    assert_eq!(file.write_at(b"abcdefgh", 0).unwrap(), 5);
    assert_eq!(file.write_at(b"fgh", 5).unwrap_err().raw_os_error(), Some(28));
    assert_eq!(file.write_at(b"ABC", 0).unwrap(), 3);
    fs.heal();
    assert_eq!(file.write_at(b"fgh", 5).unwrap(), 3);
    assert_eq!(fs.content(path()).unwrap(), b"ABCdefgh");
}

#[test]
fn a_killed_process_loses_its_handles_and_nothing_else() {
    let (fs, file) = made();
    file.write_at(b"abc", 0).unwrap();
    let after = fs.kill();
    assert!(file.write_at(b"x", 0).is_err() && fs.open(path(), OpenMode::Read).is_err());
    let mut found = [0; 5];
    assert_eq!(read_full_at(&*after.open(path(), OpenMode::Read).unwrap(), &mut found, 0).unwrap(), 3);
    assert_eq!(&found[..3], b"abc");
}
