//! The tables of `docs/plugin-abi.md`.

use wafka_plugin_abi::layout::{STRUCTS, StructLayout};

const DOCUMENT: &str = "docs/plugin-abi.md";

/// The rows of the table below a struct's heading: offset, size, name.
fn rows(document: &str, layout: &StructLayout) -> Vec<(usize, usize, String)> {
    let heading = format!("#### `{}`, {} bytes\n", layout.c_name, layout.size);
    let (_, below) = document.split_once(&heading).unwrap_or_else(|| panic!("{DOCUMENT} lacks\n{heading}"));
    let table =
        below.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    table
        .skip(2)
        .map(|row| {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let number = |cell: &str| cell.parse().unwrap_or_else(|_| panic!("{}: {row}", layout.c_name));
            (number(cells[1]), number(cells[2]), cells[3].trim_matches('`').to_owned())
        })
        .collect()
}

#[test]
fn the_document_has_the_layout_of_rust() {
    let document = crate::read(DOCUMENT);
    for layout in STRUCTS {
        let expected: Vec<_> =
            layout.fields.iter().map(|field| (field.offset, field.size, field.name.to_owned())).collect();
        assert_eq!(rows(&document, layout), expected, "{DOCUMENT}: {}", layout.c_name);
    }
    let tables = document.lines().filter(|line| line.starts_with("#### `")).count();
    assert_eq!(tables, STRUCTS.len(), "{DOCUMENT} has tables of what is not there");
}

#[test]
fn the_document_has_the_least_sizes() {
    let document = crate::read(DOCUMENT);
    let manifest = format!("`wafka_manifest` {} bytes", wafka_plugin_abi::MANIFEST_SIZE_MIN);
    let partitioner = format!("`wafka_partitioner_vtable` {}", wafka_plugin_abi::PARTITIONER_VTABLE_SIZE_MIN);
    let storage = format!("`wafka_storage_vtable` {}", wafka_plugin_abi::STORAGE_VTABLE_SIZE_MIN);
    let least = format!("The least that a struct must have: {manifest}, {partitioner}, {storage}, ");
    let request = format!("(`wafka_route_request` {})", wafka_plugin_abi::ROUTE_REQUEST_SIZE_MIN);
    assert!(document.contains(&least) && document.contains(&request), "{DOCUMENT} lacks {least}… {request}");
}

/// The tables of codes: `| number | `NAME` | …`.
#[test]
fn the_document_has_the_codes() {
    let document = crate::read(DOCUMENT);
    let known = crate::header::constants();
    let wanted = |name: &str| {
        ["WAFKA_STATUS_", "WAFKA_ROUTE_", "WAFKA_LEASE_"].iter().any(|start| name.starts_with(start))
    };
    let mut found: Vec<(String, i128)> = Vec::new();
    for row in document.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let name = cells[2].trim_matches('`');
        if let (true, Ok(code)) = (wanted(name), cells[1].parse()) {
            found.push((name.to_owned(), code));
        }
    }
    let expected = known.into_iter().filter(|(name, _)| wanted(name));
    let mut expected: Vec<_> = expected.map(|(name, code)| (name.to_owned(), code)).collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected, "{DOCUMENT}");
}

#[test]
fn the_document_says_the_versions() {
    let document = crate::read(DOCUMENT);
    let version = format!("version {}.{}", wafka_plugin_abi::ABI_MAJOR, wafka_plugin_abi::ABI_MINOR);
    assert!(document.contains(&version), "{DOCUMENT} does not say {version}");
}
