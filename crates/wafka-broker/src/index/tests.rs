use super::search::UNREADABLE_MAX;
use super::*;
use wafka_storage::fs::StdFs;

fn entry(n: u64) -> IndexEntry {
    IndexEntry { id: EventId::new(n * 10, 0), offset: n * 5, position: n * 4096, ordinal: n * 5 }
}

fn place(dir: &Path) -> IndexPlace {
    IndexPlace { fs: Arc::new(StdFs), dir: dir.to_owned() }
}

fn seek(index: &SparseIndex, id: EventId) -> Option<(Cursor, u64)> {
    index.seek_entry(id).map(|(cursor, entry)| (cursor, entry.ordinal))
}

#[test]
fn finds_the_entry_at_or_before_an_id_in_file_and_memory() {
    let dir = tempfile::tempdir().unwrap();
    let index = SparseIndex::open(Some(&place(dir.path())), Path::new("db0/t-1.idx"));
    index.push((1..=100).map(entry));
    index.flush(60).unwrap();
    assert_eq!(index.unflushed(), 40);
    for n in 1..=100u64 {
        for id in [n * 10, n * 10 + 9] {
            let (cursor, ordinal) = seek(&index, EventId::new(id, 0)).unwrap();
            assert_eq!((cursor.offset, ordinal), (n * 5, n * 5), "{id}");
        }
        assert_eq!(index.before_offset(n * 5).map(|(c, _)| c.offset), (n > 1).then(|| (n - 1) * 5));
    }
    assert_eq!(seek(&index, EventId::new(9, 0)), None);
}

#[test]
fn where_the_search_before_ended_does_not_matter() {
    let dir = tempfile::tempdir().unwrap();
    let index = SparseIndex::open(Some(&place(dir.path())), Path::new("t-1.idx"));
    index.push((1..=1000).map(entry));
    index.flush(990).unwrap();
    // Onward in steps of all lengths, and back to the beginning after each.
    for step in (1..1000).step_by(7) {
        for n in (1..=1000).step_by(step) {
            let found = seek(&index, EventId::new(n * 10 + 1, 0));
            assert_eq!(found.map(|(_, ordinal)| ordinal), Some(n * 5), "{n} by {step}");
        }
    }
}

/// Counts the bytes that are read.
struct Counting(Arc<dyn File>, AtomicU64);

impl File for Counting {
    fn read_at(&self, into: &mut [u8], position: u64) -> io::Result<usize> {
        self.1.fetch_add(into.len() as u64, Ordering::Relaxed);
        self.0.read_at(into, position)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<usize> {
        self.0.write_at(bytes, position)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
}

#[test]
fn a_search_far_from_the_last_one_reads_single_entries_and_one_page() {
    const ENTRIES: u64 = 200_000;
    let dir = tempfile::tempdir().unwrap();
    let index = SparseIndex::open(Some(&place(dir.path())), Path::new("t-1.idx"));
    index.push((1..=ENTRIES).map(entry));
    index.flush(ENTRIES as usize).unwrap();
    let counting = Arc::new(Counting(index.inner.read().file.clone().unwrap(), AtomicU64::new(0)));
    index.inner.write().file = Some(counting.clone());
    let bytes_of = |n: u64| {
        counting.1.store(0, Ordering::Relaxed);
        let found = seek(&index, EventId::new(n * 10 + 1, 0));
        assert_eq!(found.map(|(_, ordinal)| ordinal), Some(n * 5), "{n}");
        counting.1.load(Ordering::Relaxed)
    };
    let page = 85 * ENTRY_BYTES;
    // Steps upward from where the last search ended, and halvings.
    let singles = 5 + u64::from(ENTRIES.ilog2() + 1);
    for n in (1..=ENTRIES).step_by(9973) {
        // The page where the last search ended, single entries, the page with what is left.
        let far = bytes_of(n);
        assert!(far <= 2 * page + singles * ENTRY_BYTES, "{far} bytes for {n}");
        let near = bytes_of((n + 1).min(ENTRIES));
        assert!(near <= 2 * page, "{near} bytes for the one behind {n}");
    }
}

#[test]
fn survives_reopening_and_is_cut_where_the_log_ends() {
    let dir = tempfile::tempdir().unwrap();
    let index = SparseIndex::open(Some(&place(dir.path())), Path::new("t-1.idx"));
    index.push((1..=10).map(entry));
    index.flush(10).unwrap();
    let index = SparseIndex::open(Some(&place(dir.path())), Path::new("t-1.idx"));
    assert_eq!(index.last(), Some(entry(10)));
    index.truncate_from(5 * 7);
    assert_eq!(index.last(), Some(entry(6)));
    index.push([entry(7)].into_iter());
    index.flush(1).unwrap();
    assert_eq!(index.last(), Some(entry(7)));
}

#[test]
fn a_bad_entry_only_makes_reading_longer() {
    let dir = tempfile::tempdir().unwrap();
    let index = SparseIndex::open(Some(&place(dir.path())), Path::new("t-1.idx"));
    index.push((1..=9).map(entry));
    index.flush(9).unwrap();
    let path = dir.path().join("t-1.idx");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[48 * 5 + 3] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let found = seek(&index, EventId::new(70, 0)).map(|(cursor, _)| cursor.offset);
    assert_eq!(found, Some(35), "what stands above the bad entry is found");
    let found = seek(&index, EventId::new(50, 0)).map(|(cursor, _)| cursor.offset);
    assert_eq!(found, Some(20), "the one below stands in for the bad entry");
}

#[test]
fn unreadable_entries_hide_nothing_that_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t-1.idx");
    for bad in [0..1u64, 0..40, 10..60, 60..100, 20..90, 0..100] {
        let index = SparseIndex::open(Some(&place(dir.path())), Path::new("t-1.idx"));
        index.reset().unwrap();
        index.push((1..=100).map(entry));
        index.flush(100).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        for at in bad.clone() {
            bytes[48 * (at as usize + 1) + 3] ^= 1;
        }
        std::fs::write(&path, bytes).unwrap();
        for n in 0..=101u64 {
            let readable = (1..=n.min(100)).rev().find(|n| !bad.contains(&(n - 1)));
            let found = seek(&index, EventId::new(n * 10, 0)).map(|(cursor, _)| cursor.offset);
            if bad.end - bad.start <= UNREADABLE_MAX {
                assert_eq!(found, readable.map(|n| n * 5), "{n} {bad:?}");
            } else {
                assert!(found.unwrap_or(0) <= readable.unwrap_or(0) * 5, "{n} {bad:?}");
            }
        }
        index.truncate_from(5 * 101);
        assert_eq!(index.last(), (1..=100).rev().find(|n| !bad.contains(&(n - 1))).map(entry));
    }
}

#[test]
fn what_was_set_aside_is_found_until_it_is_replaced_and_never_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let open = || SparseIndex::open(Some(&place(dir.path())), Path::new("t-1.idx"));
    let index = open();
    index.push((1..=10).map(entry));
    index.flush(8).unwrap();
    index.set_aside().unwrap();
    for n in 1..=10 {
        assert_eq!(seek(&index, entry(n).id).map(|(_, ordinal)| ordinal), Some(n * 5));
    }
    assert_eq!(open().last(), None, "the next start finds nothing");
    index.put_back().unwrap();
    index.flush(2).unwrap();
    assert_eq!(open().last(), Some(entry(10)));
    index.set_aside().unwrap();
    index.replace(vec![entry(3)], 7);
    assert_eq!((index.last(), open().last()), (Some(entry(3)), None));
    index.put_back().unwrap();
    assert_eq!(open().last(), None, "what was replaced does not come back");
    index.flush(1).unwrap();
    assert_eq!(open().last(), Some(entry(3)));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn garbage_is_no_index() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("t-1.idx"), b"hello").unwrap();
    let index = SparseIndex::open(Some(&place(dir.path())), Path::new("t-1.idx"));
    assert_eq!(index.last(), None);
    index.push([entry(1)].into_iter());
    index.flush(1).unwrap();
    assert_eq!(index.last(), Some(entry(1)));
}

#[test]
fn who_looked_before_a_cut_tells_nothing_of_what_stands_behind_it() {
    let index = SparseIndex::open(None, Path::new("t-1.idx"));
    index.set_unread(0, Arc::default());
    let id = |ms| EventId::new(ms, 0);
    index.learn(id(10), 5);
    index.learn(id(40), 20);
    index.learn_counts(&[Counted { offset: 5, lines: 3 }, Counted { offset: 20, lines: 11 }]);
    let known = |of| index.between(of).map(|found| (found.id, found.cursor.offset, found.high)).unwrap();
    assert_eq!(known(id(41)), (id(40), 20, Offset::MAX));
    assert_eq!(index.counted(1, 30), Counted { offset: 20, lines: 11 });
    index.truncate_from(15);
    // These two were on their way.
    index.learn(id(39), 19);
    index.learn_counts(&[Counted { offset: 19, lines: 10 }]);
    assert_eq!(known(id(41)), (id(10), 5, Offset::MAX));
    assert_eq!(index.counted(1, 30), Counted { offset: 5, lines: 3 });
    // What stands before it is as it was.
    index.learn(id(20), 14);
    assert_eq!(known(id(15)), (id(10), 5, 14));
    // Nothing was counted from a run's own beginning on.
    assert_eq!(index.counted(6, 30), Counted { offset: 6, lines: 0 });
}
