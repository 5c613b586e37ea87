use std::ptr;

use wafka_plugin_abi::MANIFEST_SIZE_MIN;
use wafka_plugin_abi::layout::{FieldLayout, StructLayout};

use wafka_plugin_abi::StorageConfig;

use super::*;

unsafe extern "C" fn create(_: *const PartitionerConfig, _: *mut *mut c_void, _: *mut ErrorOut) -> u32 {
    0
}

unsafe extern "C" fn route(_: *mut c_void, _: *const RouteRequest, _: *mut ErrorOut) -> i32 {
    0
}

unsafe extern "C" fn destroy(_: *mut c_void) {}

static VTABLE: PartitionerVtable = PartitionerVtable {
    struct_size: size_of::<PartitionerVtable>() as u32,
    route_version: 3,
    create: Some(create),
    route: Some(route),
    destroy: Some(destroy),
};

fn good() -> Manifest {
    Manifest {
        magic: MAGIC,
        abi_major: ABI_MAJOR,
        abi_minor: ABI_MINOR,
        struct_size: size_of::<Manifest>() as u32,
        kind: kind::PARTITIONER,
        reserved: 0,
        name: Bytes::new(b"good"),
        version: Bytes::new(b"1.2.3"),
        partitioner: &VTABLE,
        storage: ptr::null(),
        description: Bytes::new(b"routes well"),
    }
}

fn check(manifest: &Manifest) -> Result<Described, PluginError> {
    check_by(manifest, (ABI_MAJOR, ABI_MINOR))
}

/// As a host of another version would.
fn check_by(manifest: &Manifest, abi: (u16, u16)) -> Result<Described, PluginError> {
    let reader = Reader { file: Path::new("/lib/libgood.so"), known: Known { abi } };
    // SAFETY: the tests' manifests are there, as far as they say.
    unsafe { reader.read(manifest) }
}

#[track_caller]
fn refused(manifest: &Manifest, parts: &[&str]) {
    let error = check(manifest).unwrap_err().to_string();
    for part in [&["plugin /lib/libgood.so: "], parts].concat() {
        assert!(error.contains(part), "{error}\nlacks {part}");
    }
}

#[test]
fn a_good_manifest_is_read() {
    let described = check(&good()).unwrap();
    assert_eq!(
        (&*described.name, &*described.version, &*described.description),
        ("good", "1.2.3", "routes well")
    );
    assert_eq!(described.abi, (ABI_MAJOR, ABI_MINOR));
    match described.functions {
        Functions::Partitioner(functions) => assert_eq!(functions.route_version, 3),
        Functions::Storage(_) => panic!("it is a strategy"),
    }
}

#[test]
fn another_magic_number_or_abi_is_refused() {
    refused(
        &Manifest { magic: MAGIC.swap_bytes(), ..good() },
        &["magic number: found 0x5741464b41504c47, expected 0x474c50414b464157 (WAFKAPLG)"],
    );
    refused(&Manifest { abi_major: 2, abi_minor: 5, ..good() }, &["found ABI 2.5, expected 1.x"]);
    refused(&Manifest { abi_major: 0, ..good() }, &["found ABI 0.1, expected 1.x"]);
    // SAFETY: null is allowed.
    let null = unsafe { read(Path::new("/lib/libgood.so"), ptr::null()) };
    assert!(matches!(null, Err(PluginError::Refused { .. })));
}

#[test]
fn a_manifest_that_is_not_aligned_is_not_read() {
    let bytes = [0_u64; 16];
    // SAFETY: within the array.
    let odd: *const Manifest = unsafe { bytes.as_ptr().cast::<u8>().add(4).cast() };
    // SAFETY: it is refused for its address alone.
    let error = unsafe { read(Path::new("/lib/libgood.so"), odd) }.unwrap_err().to_string();
    assert!(error.contains("manifest's address") && error.contains("expected a multiple of 8"), "{error}");
}

/// A manifest of a later minor version, as its plugin knows it.
#[repr(C)]
struct Longer {
    known: Manifest,
    unknown: [u64; 4],
}

#[test]
fn a_newer_minor_is_accepted_with_all_that_is_known() {
    let longer = Longer {
        known: Manifest { abi_minor: ABI_MINOR + 1, struct_size: size_of::<Longer>() as u32, ..good() },
        unknown: [u64::MAX; 4],
    };
    assert_eq!(longer.unknown[0], u64::MAX);
    assert_eq!(check(&longer.known).unwrap().abi, (ABI_MAJOR, ABI_MINOR + 1));
    let shorter = Manifest { abi_minor: ABI_MINOR + 1, struct_size: MANIFEST_SIZE_MIN as u32, ..good() };
    refused(&shorter, &["manifest's size: found 72 bytes, expected at least 88"]);
}

#[test]
fn an_older_minor_is_accepted_and_what_it_lacks_is_absent() {
    let older = Manifest { struct_size: MANIFEST_SIZE_MIN as u32, ..good() };
    // The field behind its size is not read, whatever is there.
    let described = check_by(&older, (ABI_MAJOR, ABI_MINOR + 3)).unwrap();
    assert_eq!(described.description, "");
    let too_old = Manifest { struct_size: MANIFEST_SIZE_MIN as u32 - 1, ..good() };
    refused(&too_old, &["manifest's size: found 71 bytes, expected at least 72"]);
    refused(&Manifest { struct_size: 0, ..good() }, &["found 0 bytes"]);
}

/// A vtable as a later host knows it, of which the plugin has the first two functions.
#[repr(C)]
#[derive(Clone, Copy)]
struct Later {
    known: PartitionerVtable,
    later: Option<unsafe extern "C" fn(*mut c_void)>,
}

const LATER_FIELDS: &[FieldLayout] =
    &[FieldLayout { name: "known", offset: 0, size: 32 }, FieldLayout { name: "later", offset: 32, size: 8 }];

// SAFETY: integers and optional functions.
unsafe impl Growing for Later {
    const SIZE_MIN: usize = PartitionerVtable::SIZE_MIN;
    const LAYOUT: &'static StructLayout =
        &StructLayout { name: "Later", c_name: "later", size: 40, fields: LATER_FIELDS };
}

#[test]
fn functions_of_an_older_minor_are_enough_for_a_later_host() {
    let reader =
        Reader { file: Path::new("/lib/libgood.so"), known: Known { abi: (ABI_MAJOR, ABI_MINOR + 1) } };
    // Behind the plugin's struct lies something else.
    let in_memory = Later { known: VTABLE, later: Some(destroy) };
    // SAFETY: all of it is there, and read as far as it says.
    let read =
        |is_newer| unsafe { reader.vtable("functions", (&raw const in_memory).cast::<Later>(), is_newer) };
    let older = read(false).unwrap();
    assert!(older.known.route.is_some() && older.later.is_none());
    let error = read(true).err().unwrap().to_string();
    assert!(error.contains("found 32 bytes, expected at least 40"), "{error}");
}

#[test]
fn a_size_within_a_field_is_refused() {
    // SAFETY: zeros are absent functions.
    let mut vtable: StorageVtable = unsafe { std::mem::zeroed() };
    for size in [185, 188, 191, 223, 228] {
        vtable.struct_size = size;
        let manifest = Manifest { kind: kind::STORAGE, partitioner: ptr::null(), storage: &vtable, ..good() };
        let found = format!("its backend's functions: found {size} bytes, expected a size that ends where");
        refused(&manifest, &[&found]);
    }
    refused(
        &Manifest { struct_size: 80, ..good() },
        &["its manifest's size: found 80 bytes", "where a field does"],
    );
}

#[test]
fn names_are_names() {
    let with = |name: &'static [u8]| Manifest { name: Bytes::new(name), ..good() };
    refused(&with(b""), &["its name: found 0 bytes, expected 1 to 64 bytes"]);
    refused(&with(&[b'a'; 65]), &["its name: found 65 bytes"]);
    refused(&with(b"\xff\xfe"), &["its name: found '\u{fffd}\u{fffd}', expected 1 to 64 bytes of UTF-8"]);
    refused(&with(b"a\nb"), &["found 'a\\nb'", "without control characters"]);
    refused(&with(b"Jump"), &["found 'Jump', expected only characters of a-z"]);
    refused(&with(b"../jump"), &["found '../jump'"]);
    let null = Bytes { ptr: ptr::null(), len: 4 };
    refused(&Manifest { name: null, ..good() }, &["its name: found a null pointer"]);
    let endless = Bytes { ptr: b"x".as_ptr(), len: usize::MAX };
    refused(&Manifest { name: endless, ..good() }, &["its name: found 18446744073709551615 bytes"]);
    refused(&Manifest { version: Bytes::EMPTY, ..good() }, &["its version: found 0 bytes"]);
    refused(&Manifest { description: null, ..good() }, &["its description: found a null pointer"]);
    assert!(check(&Manifest { description: Bytes::EMPTY, ..good() }).is_ok());
}

#[test]
fn the_functions_are_those_of_its_kind() {
    refused(&Manifest { kind: 0, ..good() }, &["its kind: found 0, expected 1 (partitioner) or 2 (storage)"]);
    refused(&Manifest { kind: 9, ..good() }, &["its kind: found 9"]);
    let null = Manifest { partitioner: ptr::null(), ..good() };
    refused(&null, &["its partitioner's functions: found a null pointer"]);
    refused(&Manifest { kind: kind::STORAGE, ..good() }, &["those of another kind too"]);
    let none = Manifest { kind: kind::STORAGE, partitioner: ptr::null(), ..good() };
    refused(&none, &["its backend's functions: found a null pointer"]);
    let short = PartitionerVtable { struct_size: 24, ..VTABLE };
    refused(
        &Manifest { partitioner: &short, ..good() },
        &["its partitioner's functions: found 24 bytes, expected at least 32"],
    );
    for (vtable, name) in [
        (PartitionerVtable { create: None, ..VTABLE }, "'create'"),
        (PartitionerVtable { route: None, ..VTABLE }, "'route'"),
        (PartitionerVtable { destroy: None, ..VTABLE }, "'destroy'"),
    ] {
        refused(
            &Manifest { partitioner: &vtable, ..good() },
            &[name, "found a null pointer, expected a function"],
        );
    }
}

#[test]
fn a_backend_without_a_function_is_refused() {
    // SAFETY: zeros are absent functions.
    let mut vtable: StorageVtable = unsafe { std::mem::zeroed() };
    vtable.struct_size = size_of::<StorageVtable>() as u32;
    let manifest = Manifest { kind: kind::STORAGE, partitioner: ptr::null(), storage: &vtable, ..good() };
    refused(&manifest, &["its function 'open': found a null pointer"]);
}

unsafe extern "C" fn open(_: *const StorageConfig, _: *mut *mut c_void, _: *mut ErrorOut) -> u32 {
    0
}

unsafe extern "C" fn check_options(_: *const StorageConfig, _: *mut ErrorOut) -> u32 {
    0
}

fn storage_of(manifest: &Manifest) -> Result<Box<StorageVtable>, PluginError> {
    match check(manifest)?.functions {
        Functions::Storage(functions) => Ok(functions),
        Functions::Partitioner(_) => panic!("it is a backend"),
    }
}

#[test]
fn a_backend_of_the_first_minor_says_nothing_of_owners() {
    // What lies behind the functions that it knows is not its own.
    let full = wafka_plugin_sdk::private::storage::vtable(open, check_options);
    let vtable = StorageVtable { struct_size: 224, ..full };
    let manifest = Manifest { kind: kind::STORAGE, partitioner: ptr::null(), storage: &vtable, ..good() };
    let older = storage_of(&Manifest { abi_minor: 0, ..manifest }).unwrap();
    assert!(older.check_options.is_some() && older.ownership.is_none() && older.ownership_close.is_none());
    let vtable = full;
    let manifest = Manifest { storage: &vtable, ..manifest };
    assert!(storage_of(&manifest).unwrap().ownership.is_some());
}

#[test]
fn who_says_who_owns_the_data_says_all_of_it() {
    let full = wafka_plugin_sdk::private::storage::vtable(open, check_options);
    for (vtable, name) in [
        (StorageVtable { acquire: None, ..full }, "'acquire'"),
        (StorageVtable { renew: None, ..full }, "'renew'"),
        (StorageVtable { release: None, ..full }, "'release'"),
        (StorageVtable { ownership_close: None, ..full }, "'ownership_close'"),
    ] {
        let manifest = Manifest { kind: kind::STORAGE, partitioner: ptr::null(), storage: &vtable, ..good() };
        refused(&manifest, &["its function ", name, "found a null pointer"]);
    }
    let vtable = StorageVtable { ownership: None, acquire: None, renew: None, ..full };
    let manifest = Manifest { kind: kind::STORAGE, partitioner: ptr::null(), storage: &vtable, ..good() };
    assert!(storage_of(&manifest).is_ok());
}
