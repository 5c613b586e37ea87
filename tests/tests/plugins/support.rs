//! Plugins of one's own, and servers that load them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use wafka_tests::{Setup, repository, setup};

/// A server's setup beside the plugins and the configuration it is started with.
pub struct Workshop {
    pub setup: Setup,
    config: PathBuf,
}

impl Workshop {
    /// With two brokers, and no plugin.
    pub fn new() -> Self {
        let setup = Setup::new().brokers(2);
        fs::set_permissions(setup.dir(), Permissions::from_mode(0o755)).unwrap();
        let config = setup.dir().join("wafka.toml");
        fs::write(&config, "").unwrap();
        let setup = setup.arg("--config").arg(config.to_str().unwrap());
        Workshop { setup, config }
    }

    /// Where a file of this name is, or would be.
    pub fn path(&self, file: &str) -> PathBuf {
        self.setup.dir().join(file)
    }

    /// Compiles the strategy of `strategy.c`; `defines` says what it is to say of itself.
    pub fn strategy(&self, file: &str, defines: &[&str]) -> PathBuf {
        let path = self.path(file);
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plugins/strategy.c");
        let output = Command::new("cc")
            .args([
                "-shared",
                "-fPIC",
                "-std=c11",
                "-D_POSIX_C_SOURCE=200809L",
                "-Wall",
                "-Wextra",
                "-Werror",
                "-I",
            ])
            .arg(repository().join("crates/wafka-plugin-abi/include"))
            .args(defines.iter().map(|define| format!("-D{define}")))
            .arg("-o")
            .args([&path, &source])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        // Whatever the umask is.
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// Configures these plugins, and what else is said.
    pub fn configure(&self, plugins: &[&Path], more: &str) {
        let tables = plugins.iter().map(|path| format!("[[plugins]]\npath = \"{}\"\n", path.display()));
        self.write(&(tables.collect::<String>() + more));
    }

    /// Configures this.
    pub fn write(&self, text: &str) {
        fs::write(&self.config, text).unwrap();
    }

    /// The server must refuse to start and say all of this, `--check-config` in the same words; neither may leave
    /// anything behind.
    #[track_caller]
    pub fn refused(&self, parts: &[&str]) {
        let existed = self.setup.data_dir().exists();
        let failure = self.setup.start_refused();
        assert_eq!(failure.status.and_then(|status| status.code()), Some(1), "{failure}");
        assert_eq!(failure.stdout, "", "{failure}");
        let said = failure.stderr.lines().last().unwrap_or_default();
        for part in [self.config.to_str().unwrap()].iter().chain(parts) {
            assert!(said.contains(part), "{part:?} is not in: {}", failure.stderr);
        }
        let (status, _, checked) = self.check();
        assert_eq!(status, Some(1), "{checked}");
        assert_eq!(checked.lines().last(), Some(said));
        assert_eq!(self.setup.data_dir().exists(), existed, "something was left behind");
    }

    /// Runs `--check-config`: the exit code, standard output, standard error.
    pub fn check(&self) -> (Option<i32>, String, String) {
        let mut command = setup::program();
        command.args(["--set", "server.brokers=2", "--check-config", "--config"]).arg(&self.config);
        let output = command.current_dir(self.setup.dir()).output().unwrap();
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }
}

/// What `sha256sum` says.
pub fn sha256(path: &Path) -> String {
    let output = Command::new("sha256sum").arg(path).output().unwrap();
    String::from_utf8(output.stdout).unwrap()[..64].to_owned()
}
