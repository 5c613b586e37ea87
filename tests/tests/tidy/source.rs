//! A source file, and its code without comments and texts.

use std::fs;
use std::path::{Path, PathBuf};

/// A Rust file.
pub struct Source {
    pub path: PathBuf,
    /// As they stand in the file.
    pub lines: Vec<String>,
    /// The same lines with everything in comments, strings and characters replaced by spaces.
    code: Vec<String>,
}

impl Source {
    pub fn read(path: &Path) -> Self {
        Self::new(path, &fs::read_to_string(path).unwrap())
    }

    fn new(path: &Path, text: &str) -> Self {
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let code = blank(text).lines().map(str::to_owned).collect();
        Source { path: path.to_owned(), lines, code }
    }

    /// Whether it is part of what is built for users, not a test (as the conformance suite of backends is) or a benchmark.
    pub fn is_product(&self) -> bool {
        let path = self.path.to_string_lossy();
        let tests = ["/tests/", "/benches/", "/conformance/"];
        let is_test = path.ends_with("/tests.rs") || tests.iter().any(|dir| path.contains(dir));
        !is_test && path.contains("/src/")
    }

    /// Lines of code, numbered from 1, that are compiled without tests. A module for tests is the last of its file, or
    /// a file of its own.
    pub fn code_outside_tests(&self) -> impl Iterator<Item = (usize, &str)> {
        let is_test_module = |at: usize| {
            self.code[at].contains("#[cfg(test)]")
                && self.code[at + 1..].iter().take(3).any(|line| line.contains("mod "))
        };
        let end = (0..self.code.len()).find(|at| is_test_module(*at)).unwrap_or(self.code.len());
        (1..).zip(self.code[..end].iter().map(String::as_str))
    }

    /// Name, first line from 1, and number of lines of each function.
    pub fn functions(&self) -> Vec<(String, usize, usize)> {
        let text = self.code.join("\n");
        let mut functions = Vec::new();
        for (at, _) in text.match_indices("fn ") {
            let starts_word = text[..at].chars().next_back().is_none_or(|c| !c.is_alphanumeric() && c != '_');
            let name: String =
                text[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let body = text[at..].find(['{', ';']).map(|offset| at + offset);
            let Some(open) =
                body.filter(|open| starts_word && !name.is_empty() && text[*open..].starts_with('{'))
            else {
                continue;
            };
            let mut depth = 0;
            let close = text[open..].char_indices().find(|(_, c)| {
                depth += i32::from(*c == '{') - i32::from(*c == '}');
                depth == 0
            });
            let close = open + close.map_or(text.len() - open, |(offset, _)| offset);
            let line = text[..at].matches('\n').count() + 1;
            functions.push((name, line, text[at..close].matches('\n').count() + 1));
        }
        functions
    }

    /// The directory, or file without its ending, that has to declare this file, and the module's name. None for files
    /// that begin a crate.
    pub fn module(&self) -> Option<(PathBuf, String)> {
        let stem = self.path.file_stem()?.to_str()?.to_owned();
        let dir = self.path.parent()?;
        let dir_name = dir.file_name()?.to_str()?;
        if ["lib", "main", "build"].contains(&stem.as_str())
            || ["bin", "tests", "benches", "examples"].contains(&dir_name) && is_target(dir)
        {
            return None;
        }
        match stem.as_str() {
            "mod" => Some((dir.parent()?.to_owned(), dir_name.to_owned())),
            _ => Some((dir.to_owned(), stem)),
        }
    }

    pub fn declares_module(&self, name: &str) -> bool {
        let declaration = format!("mod {name};");
        self.code.iter().any(|line| line.contains(&declaration))
    }
}

/// Whether each file of the directory begins a crate of its own: it lies beside a manifest, or in `src/bin`.
pub fn is_target(dir: &Path) -> bool {
    dir.parent().is_some_and(|parent| parent.join("Cargo.toml").exists()) || dir.ends_with("src/bin")
}

/// Replaces what stands in comments, strings and characters by spaces; lines stay lines.
fn blank(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let len = token(rest, out.chars().next_back());
        if len == 0 {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            out.extend(rest[..len].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = &rest[len..];
        }
    }
    out
}

/// How long the comment, string or character is that the text begins with; 0 when it begins with none.
fn token(text: &str, before: Option<char>) -> usize {
    let within =
        |open: usize, close: &str| text[open..].find(close).map_or(text.len(), |at| open + at + close.len());
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return within(2, "*/");
    }
    if text.starts_with('"') {
        return escaped(text, '"');
    }
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let hashes = text.strip_prefix('r').map_or(0, |raw| raw.len() - raw.trim_start_matches('#').len());
    if !in_word && text.starts_with('r') && text[1 + hashes..].starts_with('"') {
        return within(2 + hashes, &format!("\"{}", "#".repeat(hashes)));
    }
    if let Some(quoted) = text.strip_prefix('\'') {
        let mut chars = quoted.chars();
        // A lifetime has no closing quote behind its first letter.
        return match (chars.next(), chars.next()) {
            (Some('\\'), _) => escaped(text, '\''),
            (Some(c), Some('\'')) => 2 + c.len_utf8(),
            _ => 0,
        };
    }
    0
}

/// The length of what stands between quotes, with backslashes before quotes that do not count.
fn escaped(text: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = r##"
/// A comment with "quotes and { braces
fn short<'a>(c: char) -> &'a str {
    let _ = ['{', '\'', '"', c]; // }
    r#"a " raw { string"#
}
trait T { fn declared(&self); }
fn long() {
    /* { */ let _ = "\"{";
    x.unwrap();
}
#[cfg(test)]
mod tests {
    fn f() { y.unwrap(); }
}
"##;

    #[test]
    fn functions_are_measured() {
        let functions = Source::new(Path::new("/x/src/a.rs"), SAMPLE).functions();
        let short: Vec<_> =
            functions.iter().map(|(name, line, lines)| (name.as_str(), *line, *lines)).collect();
        assert_eq!(short, [("short", 3, 4), ("long", 8, 4), ("f", 14, 1)]);
    }

    #[test]
    fn code_is_what_is_no_comment_no_text_and_no_test() {
        let source = Source::new(Path::new("/x/src/a.rs"), SAMPLE);
        let found: Vec<usize> = source
            .code_outside_tests()
            .filter(|(_, line)| line.contains(".unwrap()"))
            .map(|(line, _)| line)
            .collect();
        assert_eq!(found, [10]);
        assert!(!source.code.iter().any(|line| line.contains("raw") || line.contains("quotes")));
        assert_eq!(source.code.len(), source.lines.len());
    }

    #[test]
    fn modules_are_known_by_their_paths() {
        let module = |path: &str| Source::new(Path::new(path), "").module();
        assert_eq!(module("/x/src/lib.rs"), None);
        assert_eq!(module("/x/src/a/mod.rs"), Some(("/x/src".into(), "a".to_owned())));
        assert_eq!(module("/x/src/a/b.rs"), Some(("/x/src/a".into(), "b".to_owned())));
        assert!(Source::new(Path::new("/x"), "pub mod b;").declares_module("b"));
        assert!(!Source::new(Path::new("/x"), "// mod b;").declares_module("b"));
    }
}
