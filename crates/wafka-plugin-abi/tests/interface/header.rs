//! Sizes, offsets and constants, as the C compiler sees them.

use std::fmt::Write;
use std::fs;
use std::process::Command;

use wafka_plugin_abi::layout::STRUCTS;
use wafka_plugin_abi::{ABI_MAJOR, ABI_MINOR, MAGIC, NOTHING_DUE, kind, lease, level, route, status};

use crate::repository;

/// Every constant, by its name in C.
pub(crate) fn constants() -> Vec<(&'static str, i128)> {
    let unsigned = [
        ("WAFKA_MAGIC", MAGIC),
        ("WAFKA_NOTHING_DUE", NOTHING_DUE),
        ("WAFKA_ABI_MAJOR", ABI_MAJOR.into()),
        ("WAFKA_ABI_MINOR", ABI_MINOR.into()),
        ("WAFKA_KIND_PARTITIONER", kind::PARTITIONER.into()),
        ("WAFKA_KIND_STORAGE", kind::STORAGE.into()),
        ("WAFKA_STATUS_OK", status::OK.into()),
        ("WAFKA_STATUS_FAILED", status::FAILED.into()),
        ("WAFKA_STATUS_PANICKED", status::PANICKED.into()),
        ("WAFKA_STATUS_BAD_OPTION", status::BAD_OPTION.into()),
        ("WAFKA_STATUS_IO", status::IO.into()),
        ("WAFKA_STATUS_NOT_FOUND", status::NOT_FOUND.into()),
        ("WAFKA_STATUS_EXISTS", status::EXISTS.into()),
        ("WAFKA_STATUS_FENCED", status::FENCED.into()),
        ("WAFKA_STATUS_POISONED", status::POISONED.into()),
        ("WAFKA_STATUS_DAMAGED", status::DAMAGED.into()),
        ("WAFKA_STATUS_UNSUPPORTED", status::UNSUPPORTED.into()),
        ("WAFKA_STATUS_NOT_READY", status::NOT_READY.into()),
        ("WAFKA_STATUS_NOT_OWNER", status::NOT_OWNER.into()),
        ("WAFKA_LEASE_OURS", lease::OURS.into()),
        ("WAFKA_LEASE_OTHERS", lease::OTHERS.into()),
        ("WAFKA_LEVEL_ERROR", level::ERROR.into()),
        ("WAFKA_LEVEL_WARN", level::WARN.into()),
        ("WAFKA_LEVEL_INFO", level::INFO.into()),
        ("WAFKA_LEVEL_DEBUG", level::DEBUG.into()),
        ("WAFKA_LEVEL_TRACE", level::TRACE.into()),
    ];
    let signed = [
        ("WAFKA_ROUTE_ANY", route::ANY),
        ("WAFKA_ROUTE_UNKEYED", route::UNKEYED),
        ("WAFKA_ROUTE_FAILED", route::FAILED),
        ("WAFKA_ROUTE_PANICKED", route::PANICKED),
    ];
    let unsigned = unsigned.into_iter().map(|(name, value): (_, u64)| (name, i128::from(value)));
    unsigned.chain(signed.into_iter().map(|(name, value)| (name, i128::from(value)))).collect()
}

/// What Rust says, one fact a line.
fn expected() -> String {
    let mut facts = String::new();
    for layout in STRUCTS {
        writeln!(facts, "{} {}", layout.c_name, layout.size).unwrap();
        for field in layout.fields {
            writeln!(facts, "{}.{} {} {}", layout.c_name, field.name, field.offset, field.size).unwrap();
        }
    }
    for (name, value) in constants() {
        writeln!(facts, "{name} {value}").unwrap();
    }
    facts
}

/// A program that says the same things of the header.
fn program() -> String {
    let mut lines = String::from("#include <stdio.h>\n#include \"wafka_plugin.h\"\nint main(void) {\n");
    for layout in STRUCTS {
        let of = layout.c_name;
        writeln!(lines, r#"printf("{of} %zu\n", sizeof({of}));"#).unwrap();
        for field in layout.fields {
            let name = field.name;
            writeln!(
                lines,
                r#"printf("{of}.{name} %zu %zu\n", offsetof({of}, {name}), sizeof((({of} *)0)->{name}));"#
            )
            .unwrap();
        }
    }
    for (name, value) in constants() {
        // What is negative is shown as such, and what needs 64 bits is not cut.
        let (format, kind) = if value < 0 { ("%lld", "long long") } else { ("%llu", "unsigned long long") };
        writeln!(lines, r#"printf("{name} {format}\n", ({kind}){name});"#).unwrap();
    }
    lines + "return 0;\n}\n"
}

/// Compiles a C program, as strictly as one can, and says what it prints.
fn run(standard: &str, source: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let (file, binary) = (dir.path().join("facts.c"), dir.path().join("facts"));
    fs::write(&file, source).unwrap();
    let include = repository("crates/wafka-plugin-abi/include");
    let compiled = Command::new("cc")
        .args([standard, "-Wall", "-Wextra", "-Werror", "-pedantic", "-I"])
        .args([include.as_os_str(), file.as_os_str(), "-o".as_ref(), binary.as_os_str()])
        .output()
        .expect("a C compiler is needed to build Wafka");
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    String::from_utf8(Command::new(&binary).output().unwrap().stdout).unwrap()
}

#[test]
fn the_header_has_the_layout_and_the_constants_of_rust() {
    for standard in ["-std=c99", "-std=c17"] {
        let (found, expected) = (run(standard, &program()), expected());
        for (found, expected) in found.lines().zip(expected.lines()) {
            assert_eq!(found, expected, "{standard}");
        }
        assert_eq!(found.lines().count(), expected.lines().count(), "{standard}");
    }
}

/// A constant of the header that this test does not compare would be one that nobody compares.
#[test]
fn every_constant_of_the_header_is_compared() {
    let header = crate::read("crates/wafka-plugin-abi/include/wafka_plugin.h");
    let known = constants();
    for line in header.lines() {
        let Some(name) = line.strip_prefix("#define ").and_then(|rest| rest.split(' ').next()) else {
            continue;
        };
        // Those that are no numbers.
        if ["WAFKA_PLUGIN_H", "WAFKA_EXPORT"].contains(&name) || name.contains('(') {
            continue;
        }
        assert!(known.iter().any(|(known, _)| *known == name), "{name} is not compared");
    }
}

/// The other way round: what Rust has, C has.
#[test]
fn every_constant_of_rust_is_compared() {
    let known = constants();
    let mut count = 0;
    for source in ["error.rs", "host.rs", "manifest.rs", "partitioner.rs", "storage/ownership.rs"] {
        let source = crate::read(&format!("crates/wafka-plugin-abi/src/{source}"));
        for module in source.split("pub mod ").skip(1) {
            let (name, body) = module.split_once(" {\n").unwrap();
            let (body, _) = body.split_once("\n}").unwrap();
            for constant in body.split("pub const ").skip(1) {
                let name = format!("WAFKA_{}_{}", name.to_uppercase(), constant.split_once(':').unwrap().0);
                assert!(known.iter().any(|(known, _)| *known == name), "{name} is not in the header");
                count += 1;
            }
        }
    }
    // Those that stand in no module are the magic number, the version and `NOTHING_DUE`.
    assert_eq!(count + 4, known.len());
}

#[test]
fn the_header_is_c_plus_plus_too() {
    for standard in ["-std=c++11", "-std=c++17"] {
        let header = repository("crates/wafka-plugin-abi/include/wafka_plugin.h");
        let compiled = Command::new("c++")
            .args(["-x", "c++", standard, "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-pedantic"])
            .arg(header)
            .output()
            .expect("a C++ compiler");
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    }
}

/// No field of the header may be left out of the comparison either.
#[test]
fn the_header_has_no_struct_or_field_of_its_own() {
    let header = crate::read("crates/wafka-plugin-abi/include/wafka_plugin.h");
    let structs = header.split("typedef struct ").skip(1);
    let mut names = Vec::new();
    for part in structs {
        let (name, body) = part.split_once(" {\n").unwrap();
        let (body, _) = body.split_once("\n}").unwrap();
        let layout = STRUCTS.iter().find(|layout| layout.c_name == name);
        let layout = layout.unwrap_or_else(|| panic!("{name} is not known to Rust"));
        let code = crate::signatures::without_comments(body);
        assert_eq!(code.matches(';').count(), layout.fields.len(), "fields of {name}");
        names.push(name);
    }
    assert_eq!(names.len(), STRUCTS.len());
}
