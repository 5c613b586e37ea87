//! Files that are not what they should be: each is an error that names the file, never a panic.

use std::fs;

use wafka_core::storage::StorageError;

use super::*;

#[track_caller]
fn refused(dir: &Path, expected: &str) {
    match RedbStorage::open(dir, Options::default()) {
        Ok(_) => panic!("it was opened, expected: {expected}"),
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains("logs.redb") && text.contains(expected), "{text:?}, expected {expected:?}");
        }
    }
}

#[test]
fn a_file_that_is_no_database() {
    let dir = TempDir::new().expect("a directory");
    fs::create_dir(dir.path().join("redb")).expect("a directory");
    let path = dir.path().join("redb/logs.redb");
    for content in [&b"{\"this\":\"is a text file\"}\n"[..], &[b'x'; 100_000]] {
        fs::write(&path, content).expect("write");
        refused(dir.path(), "");
        assert_eq!(fs::read(&path).expect("read"), content, "what is not ours is left alone");
    }
    fs::remove_file(&path).expect("remove");
    fs::create_dir(&path).expect("a directory");
    refused(dir.path(), "irectory");
}

#[test]
fn a_newer_format() {
    let dir = TempDir::new().expect("a directory");
    drop(open(dir.path()));
    let database = redb::Database::open(dir.path().join("redb/logs.redb")).expect("open");
    let transaction = database.begin_write().expect("begin");
    {
        let meta: redb::TableDefinition<'_, &str, u64> = redb::TableDefinition::new("meta");
        transaction.open_table(meta).expect("table").insert("format", 2).expect("insert");
    }
    transaction.commit().expect("commit");
    drop(database);
    refused(dir.path(), "format 2, expected 1");
}

/// The tables of another program.
#[test]
fn foreign_tables() {
    let dir = TempDir::new().expect("a directory");
    fs::create_dir(dir.path().join("redb")).expect("a directory");
    let database = redb::Database::create(dir.path().join("redb/logs.redb")).expect("create");
    let transaction = database.begin_write().expect("begin");
    {
        let runs: redb::TableDefinition<'_, &str, &str> = redb::TableDefinition::new("runs");
        transaction.open_table(runs).expect("table").insert("key", "value").expect("insert");
    }
    transaction.commit().expect("commit");
    drop(database);
    refused(dir.path(), "runs");
}

#[test]
fn a_second_one_is_refused() {
    let harness = InFile::new();
    refused(harness.dir.path(), "one server at a time");
    // Nor may redb's own tools have it.
    assert!(redb::Database::open(harness.dir.path().join("redb/logs.redb")).is_err());
}

#[test]
fn bad_options() {
    let dir = TempDir::new().expect("a directory");
    let options = Options { cache_mib: 0, ..Options::default() };
    match RedbStorage::open(dir.path(), options).map(drop) {
        Err(StorageError::BadOption { option, expected, .. }) => {
            assert_eq!(option, "cache_mib");
            assert!(expected.contains("between 1 and"), "{expected}");
        }
        other => panic!("{other:?}"),
    }
}

/// Bytes anywhere in the file are overwritten, as a bad disk does. What can be read is right or an error.
#[test]
fn a_damaged_file() {
    let mut harness = InFile::new();
    {
        let mut shard = shard(harness.storage(), 1);
        let opened = create(&mut *shard, "a-1");
        for from in (0..2000).step_by(50) {
            append(&mut *shard, opened.slot, from, from + 50);
            sync(&mut *shard);
        }
    }
    harness.storage = None;
    let path = harness.dir.path().join("redb/logs.redb");
    let whole = fs::read(&path).expect("read");
    let mut opened_files = 0;
    for page in (0..whole.len() / 4096).step_by(5) {
        let mut bytes = whole.clone();
        // A different place and content in each page.
        for at in (page * 4096 + page % 64..).step_by(512).take(8) {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 0x5a;
            }
        }
        fs::write(&path, &bytes).expect("write");
        let storage = match RedbStorage::open(harness.dir.path(), Options::default()) {
            Ok(storage) => storage,
            Err(error) => {
                assert!(error.to_string().contains("logs.redb"), "{error}");
                continue;
            }
        };
        opened_files += 1;
        let mut shard = super::shard(&storage, 1);
        let Ok(opened) = shard.open(&log("a-1"), OpenRequest::default()) else { continue };
        let (mut bytes, mut cursor) = (Vec::new(), opened.first);
        // Bounded: a damaged log may seem to be longer than it is.
        for _ in 0..10_000 {
            match opened.reader.read(cursor, 10_000, &mut bytes) {
                Ok(chunk) if chunk.next.offset > chunk.start.offset => cursor = chunk.next,
                _ => break,
            }
        }
    }
    assert!(opened_files > 0, "all were refused");
}
