//! Everything that is built in is under a permissive licence.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failure here is a failed test"
)]

use std::process::Command;

use serde_json::Value;
use spdx::{Expression, LicenseReq, ParseMode};
use wafka_tests::repository;

/// Permissive licences that ask for no more than their own text.
const ALLOWED: [&str; 12] = [
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

fn is_allowed(licence: &LicenseReq) -> bool {
    let id = licence.license.id().map(|id| id.name);
    let exception = licence.addition.as_ref().map(ToString::to_string);
    id.is_some_and(|id| ALLOWED.contains(&id)) && exception.is_none_or(|name| name == "LLVM-exception")
}

/// Whether there is a way to use what is under this SPDX expression (or Cargo's older form, `MIT/Apache-2.0`).
fn is_permissive(expression: &str) -> Result<bool, String> {
    let parsed = Expression::parse_mode(expression, ParseMode::LAX).map_err(|error| error.to_string())?;
    Ok(parsed.evaluate(is_allowed))
}

#[test]
fn expressions_are_evaluated() {
    for good in
        ["MIT", "MIT OR GPL-3.0-only", "MIT/Apache-2.0", "Apache-2.0 WITH LLVM-exception OR GPL-2.0-only"]
    {
        assert_eq!(is_permissive(good), Ok(true), "{good}");
    }
    for bad in ["GPL-3.0-only", "MIT AND MPL-2.0", "LGPL-2.1-or-later", "LicenseRef-Own"] {
        assert_eq!(is_permissive(bad), Ok(false), "{bad}");
    }
    assert!(is_permissive("no licence at all").is_err());
}

#[test]
fn every_package_is_permissive() {
    let cargo = |args: &[&str]| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo).args(args).current_dir(repository()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let version = String::from_utf8(cargo(&["-vV"])).unwrap();
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    // Packages for other platforms are not built, and perhaps not even downloaded.
    let metadata = cargo(&["metadata", "--format-version=1", "--locked", "--filter-platform", host]);
    let metadata: Value = serde_json::from_slice(&metadata).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let mut objections = Vec::new();
    for package in packages {
        let (name, licence) = (&package["name"], package["license"].as_str());
        match licence.map(is_permissive) {
            Some(Ok(true)) => {}
            Some(Ok(false)) | None => objections.push(format!("{name}: {licence:?}")),
            Some(Err(error)) => {
                objections.push(format!("{name}: {licence:?} is no licence expression: {error}"))
            }
        }
    }
    assert!(packages.len() > 20, "cargo metadata lists only {} packages", packages.len());
    assert!(objections.is_empty(), "not allowed:\n{}", objections.join("\n"));
}
