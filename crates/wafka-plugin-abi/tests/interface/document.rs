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
fn the_document_says_the_versions() {
    let document = crate::read(DOCUMENT);
    let version = format!("version {}.{}", wafka_plugin_abi::ABI_MAJOR, wafka_plugin_abi::ABI_MINOR);
    assert!(document.contains(&version), "{DOCUMENT} does not say {version}");
}
