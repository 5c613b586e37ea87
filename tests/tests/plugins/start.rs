//! What keeps the server from starting. Each failure names the file, what was found and what was expected.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

use crate::support::{Workshop, sha256};

#[test]
fn a_file_that_cannot_be_trusted_is_not_loaded() {
    let shop = Workshop::new();
    let good = shop.strategy("good.so", &[]);
    let path = good.to_str().unwrap();

    let missing = shop.path("missing.so");
    shop.configure(&[&missing], "");
    shop.refused(&["plugins", missing.to_str().unwrap(), "No such file", "expected a shared library"]);

    shop.configure(&[shop.setup.dir()], "");
    shop.refused(&["plugins", "found a directory", "expected a regular file"]);

    shop.configure(&[&good], "");
    for mode in [0o775, 0o757] {
        fs::set_permissions(&good, Permissions::from_mode(mode)).unwrap();
        shop.refused(&[path, "the file", &format!("found mode {mode:04o}"), "expected", "chmod go-w"]);
    }
    fs::set_permissions(&good, Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(shop.setup.dir(), Permissions::from_mode(0o777)).unwrap();
    shop.refused(&[path, "its directory", "found mode 0777", "expected"]);
    // A link to it is no way around that.
    let other = Workshop::new();
    symlink(&good, other.path("link.so")).unwrap();
    other.configure(&[&other.path("link.so")], "");
    other.refused(&["link.so", "its directory", shop.setup.dir().to_str().unwrap()]);

    fs::set_permissions(shop.setup.dir(), Permissions::from_mode(0o755)).unwrap();
    shop.setup.start().stop();
}

#[test]
fn a_library_that_is_no_plugin_is_not_loaded() {
    let shop = Workshop::new();
    let not_one = shop.path("text.so");
    fs::write(&not_one, "not a library").unwrap();
    fs::set_permissions(&not_one, Permissions::from_mode(0o644)).unwrap();
    for (plugin, parts) in [
        (not_one, &["not", "shared library"][..]),
        (shop.strategy("symbol.so", &["ENTRY=another"]), &["wafka_plugin_manifest"]),
        (shop.strategy("magic.so", &["MAGIC=7"]), &["magic"]),
        (shop.strategy("major.so", &["MAJOR=2"]), &["ABI 2", "1"]),
        (shop.strategy("nameless.so", &["NAME=\"\""]), &["name"]),
    ] {
        shop.configure(&[&plugin], "");
        shop.refused(&[&["plugins", plugin.to_str().unwrap(), "expected"], parts].concat());
    }
}

#[test]
fn names_are_taken_once() {
    let shop = Workshop::new();
    let [first, second] = ["first.so", "second.so"].map(|file| shop.strategy(file, &[]));
    shop.configure(&[&first, &second], "");
    let both = [first.to_str().unwrap(), second.to_str().unwrap()];
    shop.refused(&["plugins", both[0], both[1], "'place'", "partitioner", "expected", "name of its own"]);
    // The very same library, twice, and by another path.
    symlink(&first, shop.path("link.so")).unwrap();
    for again in [first.clone(), shop.path("link.so")] {
        shop.configure(&[&first, &again], "");
        shop.refused(&["'place'", "name of its own"]);
    }
    let built_in = shop.strategy("key.so", &["NAME=\"key\""]);
    shop.configure(&[&built_in], "");
    shop.refused(&["plugins", built_in.to_str().unwrap(), "'key'", "built in"]);
}

#[test]
fn a_strategy_may_have_the_name_of_a_backend() {
    let shop = Workshop::new();
    let backend = wafka_tests::plugins::path("wafka_storage_redb");
    let [built_in, loaded] =
        ["text", "redb"].map(|name| shop.strategy(&format!("{name}.so"), &[&format!("NAME=\"{name}\"")]));
    let topic = |name| format!("[topics.{name}]\npartitioner = \"{name}\"\nbackend = \"{name}\"\n");
    shop.configure(&[&backend, &built_in, &loaded], &(topic("text") + &topic("redb")));
    let server = shop.setup.start();
    let mut client = server.client();
    for name in ["text", "redb"] {
        assert!(!client.run(&format!("XADD {name} * to 2")).is_error(""), "{name}");
        let described = client.run(&format!("TOPIC DESCRIBE {name}"));
        assert_eq!((described.get("partitioner").text(), described.get("backend").text()), (name, name));
        assert_eq!(client.run(&format!("XLEN {name}#2")).int(), 1, "{name}");
    }
}

#[test]
fn a_pinned_file_is_that_file() {
    let shop = Workshop::new();
    let plugin = shop.strategy("place.so", &[]);
    let (path, pin) = (plugin.to_str().unwrap().to_owned(), sha256(&plugin));
    shop.write(&format!("[[plugins]]\npath = \"{path}\"\nsha256 = \"{pin}\"\n"));
    shop.setup.start().stop();
    shop.strategy("place.so", &["VERSION=\"1.2.4\""]);
    shop.refused(&["plugins", &path, &pin, &sha256(&plugin), "expected"]);
    shop.strategy("place.so", &[]);
    shop.setup.start().stop();
    shop.write(&format!("[[plugins]]\npath = \"{path}\"\nsha256 = \"{}\"\n", &pin[1..]));
    let failure = shop.setup.start_refused().stderr;
    for part in ["wafka.toml", "sha256", &pin[1..], "64 hexadecimal digits"] {
        assert!(failure.contains(part), "{part:?} is not in: {failure}");
    }
}

#[test]
fn declared_topics_are_checked_with_their_strategies() {
    let shop = Workshop::new();
    let plugin = shop.strategy("place.so", &[]);
    let topic = "[topics.orders]\npartitioner = \"place\"\n";
    shop.configure(&[], topic);
    shop.refused(&["topics.orders", "unknown partitioner 'place'", "expected one of key, round-robin"]);
    shop.configure(&[], "[topic_defaults]\npartitioner = \"place\"\n");
    shop.refused(&["topic_defaults", "'place'", "key, round-robin"]);
    shop.configure(&[&plugin], &format!("{topic}colour = 1\n"));
    let (status, _, checked) = shop.check();
    assert_eq!(status, Some(1));
    for said in [checked, shop.setup.start_refused().stderr] {
        for part in ["orders", "'place'", "'colour'", "unknown, this strategy has no options"] {
            assert!(said.contains(part), "{part:?} is not in: {said}");
        }
    }
    fs::remove_dir_all(shop.setup.data_dir()).unwrap();
    shop.configure(&[&plugin], topic);
    let (status, said, log) = shop.check();
    assert_eq!((status, said.as_str()), (Some(0), "configuration ok\n"));
    assert!(log.contains("plugin loaded") && log.contains("place.so"), "{log}");
    assert!(!shop.setup.data_dir().exists());
    // The defaults' options may be of no use but together with a topic's.
    shop.configure(&[], "[topic_defaults]\npartitioner = \"key\"\n[topics.a]\npartition_key = \"truck\"\n");
    assert_eq!(shop.check().0, Some(0));
}

/// Relative to the working directory, as the data is; never searched for.
#[test]
fn relative_paths_are_those_of_the_working_directory() {
    let shop = Workshop::new();
    shop.strategy("place.so", &[]);
    shop.write("[[plugins]]\npath = \"place.so\"\n");
    assert_eq!(shop.check().0, Some(0));
    // The tests' own working directory is another one.
    let failure = shop.setup.start_refused().stderr;
    let looked_for = std::env::current_dir().unwrap().join("place.so");
    assert!(failure.contains(looked_for.to_str().unwrap()) && failure.contains("No such file"), "{failure}");
}
