use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use tempfile::TempDir;

use super::*;

/// `printf library | sha256sum`
const SHA256_OF_LIBRARY: &str = "b718f1354f7247312eca086d9a024afe5fa717ddea5adeddd6f12bcf945b2e8c";

/// A directory of the mode that plugins should lie in, with a file of that kind in it.
fn library() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    let path = dir.path().canonicalize().unwrap().join("lib.so");
    fs::write(&path, "library").unwrap();
    set_mode(&path, 0o755);
    (dir, path)
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn plugin(path: &Path) -> PluginFile {
    PluginFile { path: path.to_owned(), sha256: None }
}

#[track_caller]
fn refused(path: &Path, parts: &[&str]) {
    let error = check(&plugin(path)).unwrap_err().to_string();
    for part in [path.to_str().unwrap()].iter().chain(parts) {
        assert!(error.contains(part), "{part:?} is not in: {error}");
    }
}

#[test]
fn a_library_s_checksum_is_that_of_its_bytes() {
    let (_dir, path) = library();
    let checked = check(&plugin(&path)).unwrap();
    assert_eq!(hex(&checked.sha256), SHA256_OF_LIBRARY);
    assert_eq!(checked.path, path);
    let pinned = PluginFile { sha256: parse_hex(&SHA256_OF_LIBRARY.to_uppercase()), ..plugin(&path) };
    check(&pinned).unwrap();
}

#[test]
fn a_changed_file_is_not_the_pinned_one() {
    let (_dir, path) = library();
    fs::write(&path, "Library").unwrap();
    let pinned = PluginFile { sha256: parse_hex(SHA256_OF_LIBRARY), ..plugin(&path) };
    let error = check(&pinned).unwrap_err();
    assert!(
        matches!(&error, FileError::Checksum { expected, .. } if expected == SHA256_OF_LIBRARY),
        "{error}"
    );
    let found = hex(&check(&plugin(&path)).unwrap().sha256);
    assert!(error.to_string().contains(&found), "{error}");
}

/// Longer than what is read at a time, and no multiple of it.
#[test]
fn all_of_a_long_file_counts() {
    let (_dir, path) = library();
    let mut bytes = vec![7; 3 * CHUNK + 5];
    fs::write(&path, &bytes).unwrap();
    let first = check(&plugin(&path)).unwrap().sha256;
    assert_eq!(first, <[u8; 32]>::from(Sha256::digest(&bytes)));
    *bytes.last_mut().unwrap() = 8;
    fs::write(&path, &bytes).unwrap();
    assert_ne!(check(&plugin(&path)).unwrap().sha256, first);
}

#[test]
fn what_is_no_regular_file_is_refused() {
    let (dir, path) = library();
    refused(dir.path(), &["found a directory", "expected a regular file"]);
    refused(Path::new("/"), &["found a directory"]);
    refused(Path::new("/dev/null"), &["found a device"]);
    refused(&dir.path().join("missing.so"), &["cannot find it", "No such file", "expected a shared library"]);
    refused(&path.join("below"), &["Not a directory"]);
    let pipe = dir.path().join("pipe.so");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    refused(&pipe, &["found a pipe"]);
    let broken = dir.path().join("broken.so");
    symlink("nowhere", &broken).unwrap();
    refused(&broken, &["No such file"]);
}

#[test]
fn what_others_may_write_is_refused() {
    let (dir, path) = library();
    for (mode, shown) in [(0o775, "0775"), (0o757, "0757"), (0o666, "0666")] {
        set_mode(&path, mode);
        refused(&path, &["the file", "its group or by others", shown, "chmod go-w"]);
    }
    set_mode(&path, 0o644);
    for (mode, shown) in [(0o775, "0775"), (0o777, "0777")] {
        set_mode(dir.path(), mode);
        refused(&path, &["its directory", shown]);
    }
    // Nobody but its owner may put another file in the place of one in a sticky directory, as /tmp is one.
    set_mode(dir.path(), 0o1777);
    check(&plugin(&path)).unwrap();
}

/// Links are followed to the file that is loaded, and it is that one that counts.
#[test]
fn links_lead_to_the_file_that_is_checked() {
    let (dir, path) = library();
    let (_other, link) = library();
    fs::remove_file(&link).unwrap();
    symlink(&path, &link).unwrap();
    assert_eq!(check(&plugin(&link)).unwrap().path, path);
    set_mode(dir.path(), 0o777);
    refused(&link, &["its directory", dir.path().to_str().unwrap()]);
    set_mode(dir.path(), 0o755);
    set_mode(&path, 0o722);
    refused(&link, &["the file", path.to_str().unwrap()]);
}

#[test]
fn other_people_s_files_are_refused() {
    let (_dir, path) = library();
    let mut state = fstat(File::open(&path).unwrap()).unwrap();
    let server = 4711;
    let ask =
        |state: &Stat, part| trusted(&path, part, &path, state, server).map_err(|error| error.to_string());
    state.st_uid = 4712;
    let error = ask(&state, Part::File).unwrap_err();
    assert!(
        error.contains("belongs to user 4712, expected root (0) or the server's own user (4711)"),
        "{error}"
    );
    assert!(ask(&state, Part::Directory).unwrap_err().contains("its directory"));
    // Sticky or not: who owns a directory may rename what is in it.
    state.st_mode |= STICKY;
    ask(&state, Part::Directory).unwrap_err();
    for owner in [0, server] {
        state.st_uid = owner;
        ask(&state, Part::File).unwrap();
    }
    // As the test's own user, the file's owner, it is one's own; as another one's it is not, unless root's.
    let owner = fs::metadata(&path).unwrap().uid();
    check_as(&plugin(&path), owner).unwrap();
    assert_eq!(check_as(&plugin(&path), owner + 1).is_ok(), owner == 0);
}

/// The path may name another file by the time of loading, or the directory may be another.
#[cfg(target_os = "linux")]
#[test]
fn what_is_loaded_is_what_was_checked() {
    let (dir, path) = library();
    let checked = check(&plugin(&path)).unwrap();
    assert_eq!(checked.load_path().unwrap().file_name(), path.file_name());
    let moved = dir.path().with_extension("moved");
    fs::rename(dir.path(), &moved).unwrap();
    fs::create_dir(dir.path()).unwrap();
    fs::write(&path, "another").unwrap();
    assert_eq!(fs::read(checked.load_path().unwrap()).unwrap(), b"library");
    fs::remove_dir_all(dir.path()).unwrap();
    fs::rename(&moved, dir.path()).unwrap();
    fs::remove_file(&path).unwrap();
    let refused = |checked: &Checked| checked.load_path().unwrap_err().to_string();
    assert!(refused(&checked).contains("replaced or removed"), "{}", refused(&checked));
    fs::write(&path, "another").unwrap();
    assert!(refused(&checked).contains("replaced or removed"), "{}", refused(&checked));
}

#[test]
fn where_there_is_no_proc_that_is_said() {
    let (dir, path) = library();
    let checked = check(&plugin(&path)).unwrap();
    let nowhere = dir.path().join("proc/self/fd");
    let error = checked.load_path_below(&nowhere).unwrap_err().to_string();
    assert!(error.contains(&format!("found no {}, expected /proc", nowhere.display())), "{error}");
}

#[test]
fn checksums_are_64_digits() {
    let digits = SHA256_OF_LIBRARY;
    assert_eq!(hex(&parse_hex(digits).unwrap()), digits);
    for bad in
        ["", &digits[1..], &format!("{digits}0"), &digits.replace('a', "g"), &format!("+{}", &digits[1..])]
    {
        assert_eq!(parse_hex(bad), None, "{bad}");
    }
}
