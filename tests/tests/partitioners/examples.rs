//! What the plugins' own pages say of the configuration is right; and all of them go together.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use wafka_tests::{Client, repository};

use crate::c;
use crate::support::setup;

/// Every strategy: its name, the page that explains it, and its library if that is one of Cargo's.
const STRATEGIES: [(&str, &str, Option<&str>); 6] = [
    ("fnv", "partitioner-c/README.md", None),
    ("geo", "partitioner-geo/src/lib.rs", Some("wafka_partitioner_geo")),
    ("jump", "partitioner-jump/src/lib.rs", Some("wafka_partitioner_jump")),
    ("modulo", "template/src/lib.rs", Some("wafka_partitioner_template")),
    ("rendezvous", "partitioner-rendezvous/src/lib.rs", Some("wafka_partitioner_rendezvous")),
    ("sticky", "partitioner-sticky/src/lib.rs", Some("wafka_partitioner_sticky")),
];

/// The block of TOML on a page, without the first two lines of its `[[plugins]]` table; they name the library's file.
fn example(page: &str, library: &Path) -> String {
    let text = fs::read_to_string(repository().join("plugins").join(page)).unwrap();
    let lines = text.lines().map(|line| line.strip_prefix("//!").map_or(line, str::trim_start));
    let mut block = lines.skip_while(|line| *line != "```toml").skip(1).take_while(|line| *line != "```");
    assert_eq!(block.next(), Some("[[plugins]]"), "{page}");
    let path = block.next().unwrap();
    let file = library.file_name().unwrap().to_str().unwrap();
    assert!(path.starts_with("path = \"") && path.ends_with(&format!("/{file}\"")), "{page}: {path}");
    block.map(|line| format!("{line}\n")).collect()
}

/// What `plugins/README.md` says to type: only the path is another one here.
#[test]
fn the_readme_s_example_works() {
    let library = wafka_tests::plugins::path("wafka_partitioner_jump");
    let server = setup(&[&library], &example("README.md", &library)).brokers(4).start();
    let described = server.client().run("TOPIC DESCRIBE deliveries");
    assert_eq!(described.get("partitioner").text(), "jump");
    let text = fs::read_to_string(repository().join("plugins/README.md")).unwrap();
    let built = "cargo build --release -p wafka-partitioner-jump";
    assert!(text.lines().any(|line| line == built), "the library of the example is not built");
}

fn loaded(client: &mut Client) -> Vec<String> {
    let listed = client.run("PLUGIN LIST");
    listed.array().iter().map(|plugin| plugin.get("name").text().to_owned()).collect()
}

#[test]
fn every_page_has_an_example_that_works() {
    let (_dir, in_c) = c::library();
    for (name, page, library) in STRATEGIES {
        let library = library.map_or_else(|| in_c.clone(), wafka_tests::plugins::path);
        let server = setup(&[&library], &example(page, &library)).brokers(4).start();
        let mut client = server.client();
        assert_eq!(loaded(&mut client), [name], "{page}");
        let topics = client.run("TOPIC LIST");
        let [topic] = topics.array() else { panic!("{page}: {topics:?}") };
        let described = client.call(&["TOPIC", "DESCRIBE", topic.text()]);
        assert_eq!(described.get("partitioner").text(), name, "{page}");
        // Each of these is in one of the examples; with unknown = 3 there, no label is refused.
        let added = client.call(&["XADD", topic.text(), "*", "truck", "7", "region", "eu"]);
        assert!(!added.is_error(""), "{page}: {added:?}");
    }
}

/// As its page says: copied, named, and told where the SDK is.
#[test]
fn the_template_builds_where_it_is_copied_to() {
    let dir = tempfile::tempdir().unwrap();
    let template = repository().join("plugins/template");
    fs::create_dir(dir.path().join("src")).unwrap();
    fs::copy(template.join("src/lib.rs"), dir.path().join("src/lib.rs")).unwrap();
    // The dependencies' versions that are here: nothing is fetched.
    fs::copy(repository().join("Cargo.lock"), dir.path().join("Cargo.lock")).unwrap();
    let mut manifest = fs::read_to_string(template.join("Cargo.toml")).unwrap();
    let sdk = repository().join("crates/wafka-plugin-sdk");
    for (from, to) in [
        ("\"wafka-partitioner-template\"", "\"mine\"".to_owned()),
        ("\"../../crates/wafka-plugin-sdk\"", format!("{:?}", sdk.to_str().unwrap())),
    ] {
        assert!(manifest.contains(from), "{from}: {manifest}");
        manifest = manifest.replace(from, &to);
    }
    fs::write(dir.path().join("Cargo.toml"), manifest).unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["check", "--quiet", "--offline"]).current_dir(dir.path());
    let output = cargo.env("CARGO_TARGET_DIR", dir.path().join("target")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn all_strategies_go_together() {
    let (_dir, in_c) = c::library();
    let libraries: Vec<PathBuf> = STRATEGIES
        .iter()
        .map(|(.., library)| library.map_or_else(|| in_c.clone(), wafka_tests::plugins::path))
        .collect();
    let paths: Vec<&Path> = libraries.iter().map(PathBuf::as_path).collect();
    let server = setup(&paths, "").brokers(3).start();
    let mut client = server.client();
    let mut names = loaded(&mut client);
    names.sort_unstable();
    assert_eq!(names, STRATEGIES.map(|(name, ..)| name));
    for name in names {
        let mut create = vec!["TOPIC", "CREATE", &name, "PARTITIONER", &name, "OPTION", "partition_key", "k"];
        if name == "geo" {
            create.extend(["OPTION", "labels", r#"{"7":3}"#]);
        }
        assert_eq!(client.call(&create).text(), "OK", "{name}");
        for _ in 0..3 {
            client.run(&format!("XADD {name} * k 7"));
        }
    }
    // Who goes by the value puts all three into one partition.
    let server = server.restart();
    let mut client = server.client();
    for (name, ..) in STRATEGIES {
        assert!(!client.run(&format!("XADD {name} * k 7")).is_error(""), "{name}");
        let mut lengths = crate::support::lengths(&mut client, name, 3);
        lengths.sort_unstable();
        assert_eq!(lengths, [0, 0, 4], "{name}");
    }
}
