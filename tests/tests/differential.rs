//! Random commands against real Redis servers and against Wafka: every reply is the same, but for what
//! `docs/compatibility.md` explains.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failure here is a failed test"
)]

use std::collections::BTreeSet;
use std::time::Duration;

use wafka_tests::diff::campaign::Limits;
use wafka_tests::diff::reference::Program;
use wafka_tests::diff::rules::rules;
use wafka_tests::diff::script::Script;
use wafka_tests::diff::servers::Servers;
use wafka_tests::{PATIENCE, payload, repository};

/// Commands of a script.
const STEPS: usize = 60;

/// Commands of a test.
const COMMANDS: usize = 2_000;

#[test]
fn redis_7_is_like_itself() {
    let redis = Program::redis_7().unwrap();
    same(&Servers::redis(&redis, &redis));
}

#[test]
fn redis_8_is_like_itself() {
    let redis = Program::redis_8().unwrap();
    same(&Servers::redis(&redis, &redis));
}

#[test]
fn redis_8_is_like_redis_7() {
    same(&Servers::redis(&Program::redis_7().unwrap(), &Program::redis_8().unwrap()));
}

#[test]
fn wafka_is_like_redis_8_with_one_partition() {
    same(&Servers::wafka(&Program::redis_8().unwrap(), 1));
}

#[test]
fn wafka_is_like_redis_8_with_two_partitions() {
    same(&Servers::wafka(&Program::redis_8().unwrap(), 2));
}

#[test]
fn wafka_is_like_redis_8_with_three_partitions() {
    same(&Servers::wafka(&Program::redis_8().unwrap(), 3));
}

#[test]
fn wafka_is_like_redis_7_with_one_partition() {
    same(&Servers::wafka(&Program::redis_7().unwrap(), 1));
}

#[test]
fn wafka_is_like_redis_7_with_two_partitions() {
    same(&Servers::wafka(&Program::redis_7().unwrap(), 2));
}

#[test]
fn wafka_is_like_redis_7_with_three_partitions() {
    same(&Servers::wafka(&Program::redis_7().unwrap(), 3));
}

/// Scripts that showed a difference once.
#[test]
fn what_was_found_before_stays_the_same() {
    let redis = Program::redis_8().unwrap();
    let servers = Servers::wafka(&redis, 2);
    let mut scripts = 0;
    for entry in std::fs::read_dir(repository().join("tests/reference/found")).unwrap() {
        let path = entry.unwrap().path();
        let script = Script::parse(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let comparison = servers.pair(PATIENCE).compare(&script).unwrap();
        if let Some(divergence) = comparison.divergence {
            panic!("{}: they part at {divergence}", path.display());
        }
        scripts += 1;
    }
    assert!(scripts >= 7, "only {scripts} scripts");
}

/// `docs/compatibility.md` lists the rules there are, and no others.
#[test]
fn every_rule_is_explained() {
    let text = std::fs::read_to_string(repository().join("docs/compatibility.md")).unwrap();
    let (_, section) = text.split_once("## Rules of the differential test").unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let explained: BTreeSet<&str> = rows.map(|(id, _)| id).collect();
    let rules: BTreeSet<&str> = rules().map(|rule| rule.id).collect();
    assert_eq!(explained, rules);
}

/// Plays scripts until there is a difference, or commands enough are played. `$WAFKA_DIFF_SEED` plays one script only: the one that a
/// difference was found with.
fn same(servers: &Servers) {
    let seed = std::env::var("WAFKA_DIFF_SEED").ok().map(|text| text.parse().unwrap());
    let limits = Limits {
        first_seed: seed.unwrap_or_else(payload::seed),
        steps: STEPS,
        commands: if seed.is_some() { 1 } else { COMMANDS },
        time: Duration::MAX,
        findings: 1,
        without: Vec::new(),
    };
    let mut findings = String::new();
    let tally = servers.pair(PATIENCE).campaign(&limits, |finding| findings += &finding.to_string()).unwrap();
    assert_eq!(tally.findings, 0, "\n{findings}");
    println!("{tally:?}");
    assert!(tally.replies >= tally.commands, "most commands have a reply: {tally:?}");
}
