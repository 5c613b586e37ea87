//! The README works as typed: every fenced block of it is run, or checked, here.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failure here is a failed test"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use wafka_tests::log_file::Line;
use wafka_tests::tour::{self, Block, START, Tour};
use wafka_tests::{Setup, repository, setup};

fn readme() -> Vec<Block> {
    tour::blocks(&fs::read_to_string(repository().join("README.md")).unwrap()).unwrap()
}

fn blocks_of_kind(info: &str) -> Vec<Block> {
    readme().into_iter().filter(|block| block.info == info).collect()
}

#[test]
fn every_block_is_of_a_kind_that_is_tested() {
    for block in readme() {
        let known =
            ["sh", "sh tour", "sh tour background", "toml", "json", "rust"].contains(&block.info.as_str());
        assert!(known, "README.md:{}: no test runs '{}' blocks: see tests/README.md", block.line, block.info);
    }
}

#[test]
fn the_tour_works_as_typed() {
    // Where a reader has two cores or more, topics have two partitions or more; the README shows two.
    let mut tour = Tour::begin(Setup::new().brokers(2));
    let mut ran = 0;
    for block in readme() {
        let done = match block.info.as_str() {
            "sh tour" => tour.run(&block),
            "sh tour background" => tour.run_in_background(&block),
            _ => continue,
        };
        done.unwrap_or_else(|reason| panic!("README.md, {reason}"));
        ran += 1;
    }
    assert!(ran >= 5, "the README's tour has only {ran} blocks");
}

/// Commands outside the tour: the server's start, scripts of the repository, the server's synopsis.
#[test]
fn other_commands_exist() {
    let blocks = blocks_of_kind("sh");
    assert!(blocks.iter().any(|block| block.text == [START]), "the README does not say how to start");
    for (block, line) in blocks.iter().flat_map(|block| block.text.iter().map(move |line| (block, line))) {
        let at = format!("README.md:{}: {line}", block.line);
        let first = line.split_ascii_whitespace().next().unwrap_or_else(|| panic!("{at}: an empty line"));
        match first {
            "cargo" => assert_eq!(line, START, "{at}"),
            "wafka-server" => assert_options(line),
            script => {
                assert!(script.starts_with("./"), "{at}: neither cargo, nor wafka-server, nor a script");
                let script =
                    fs::metadata(repository().join(script)).unwrap_or_else(|error| panic!("{at}: {error}"));
                assert!(script.permissions().mode() & 0o111 != 0, "{at}: not executable");
            }
        }
    }
}

/// A synopsis names exactly the options that there are.
fn assert_options(synopsis: &str) {
    let help = setup::program().arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let options = |text: &str| {
        let mut options: Vec<String> = text
            .split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'))
            .filter(|word| word.starts_with("--") && !["--help", "--version"].contains(word))
            .map(str::to_owned)
            .collect();
        options.sort();
        options.dedup();
        options
    };
    let listed: String =
        help.lines().filter(|line| line.trim_start().starts_with('-')).collect::<Vec<_>>().join("\n");
    assert_eq!(options(synopsis), options(&listed), "{synopsis}\n{help}");
}

#[test]
fn configurations_are_valid() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("wafka.toml");
    let documented = fs::read_to_string(repository().join("config/wafka.toml")).unwrap();
    let blocks: Vec<String> = blocks_of_kind("toml").into_iter().map(|block| block.text.join("\n")).collect();
    assert!(!blocks.is_empty());
    for text in blocks.iter().chain([&documented]) {
        fs::write(&file, text).unwrap();
        let output = setup::program().arg("--check-config").arg("--config").arg(&file).output().unwrap();
        assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// What the README shows of Rust is what is compiled and tested: the crate to copy, without comments and tests.
#[test]
fn rust_is_that_of_the_template() {
    let template = fs::read_to_string(repository().join("plugins/template/src/lib.rs")).unwrap();
    let code = |text: &str| {
        let lines =
            text.lines().filter(|line| !line.trim_start().starts_with("//") && !line.trim().is_empty());
        lines.collect::<Vec<_>>().join("\n")
    };
    let (product, _) = template.split_once("#[cfg(test)]").unwrap();
    let blocks = blocks_of_kind("rust");
    assert_eq!(blocks.len(), 1);
    assert_eq!(code(&blocks[0].text.join("\n")), code(product));
}

#[test]
fn lines_are_whole() {
    let blocks = blocks_of_kind("json");
    assert!(!blocks.is_empty());
    for (block, line) in blocks.iter().flat_map(|block| block.text.iter().map(move |line| (block, line))) {
        if line.starts_with("{\"event_id\"") {
            Line::parse(line.as_bytes())
                .unwrap_or_else(|reason| panic!("README.md:{}: {reason}", block.line));
        } else {
            let parsed = serde_json::from_str::<serde_json::Value>(line);
            parsed.unwrap_or_else(|error| panic!("README.md:{}: {error}", block.line));
        }
    }
}
