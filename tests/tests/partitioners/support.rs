//! A server with plugins.

use std::fs;
use std::path::Path;

use wafka_tests::{Client, Setup, log_file};

/// A server with these libraries, and with what else the configuration says.
pub fn setup(libraries: &[&Path], rest: &str) -> Setup {
    let setup = Setup::new();
    let mut text = String::new();
    for library in libraries {
        text += &format!("[[plugins]]\npath = {:?}\n", library.to_str().unwrap());
    }
    let path = setup.dir().join("wafka.toml");
    fs::write(&path, text + rest).unwrap();
    setup.arg("--config").arg(path.to_str().unwrap())
}

/// A server with one of the crates in `plugins/`, by the end of its name.
pub fn with(strategy: &str, rest: &str) -> Setup {
    let library = wafka_tests::plugins::path(&format!("wafka_partitioner_{strategy}"));
    setup(&[&library], rest)
}

/// The partitions that the values of a field were written to, from 1, as the files say.
pub fn partitions_of(data_dir: &Path, topic: &str, partitions: u16, values: &[&[u8]]) -> Vec<Option<u16>> {
    let files: Vec<_> = (1..=partitions).map(|number| log_file::read(data_dir, topic, number)).collect();
    let has = |value: &[u8]| {
        let mut holders = (1..=partitions).zip(&files).filter(|(number, lines)| {
            lines.iter().any(|line| line.partition == *number && line.fields[1] == value)
        });
        let holder = holders.next().map(|(number, _)| number);
        assert!(holders.next().is_none(), "{value:?} is in two files");
        holder
    };
    values.iter().map(|value| has(value)).collect()
}

/// How many events each partition has.
pub fn lengths(client: &mut Client, topic: &str, partitions: u16) -> Vec<i64> {
    (1..=partitions).map(|number| client.run(&format!("XLEN {topic}#{number}")).int()).collect()
}
