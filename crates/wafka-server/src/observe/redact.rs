//! Which arguments are secrets that neither monitors nor logs may show.

use crate::command::Args;

/// What is shown instead.
const REDACTED: &[u8] = b"(redacted)";

/// The argument at `index` of a request for the command of that full name, as it may be shown.
pub(super) fn shown<'a>(full_name: &str, args: &Args<'a>, index: usize) -> &'a [u8] {
    let is = |at: usize, word: &[u8]| args.get(at).is_some_and(|arg| arg.eq_ignore_ascii_case(word));
    let secret = match full_name {
        "auth" => index >= 1,
        "hello" => (index >= 3 && is(index - 1, b"auth")) || (index >= 4 && is(index - 2, b"auth")),
        "config|set" => index >= 3 && index % 2 == 1 && is(index - 1, b"requirepass"),
        "acl|setuser" => index >= 3,
        _ => false,
    };
    if secret { REDACTED } else { args[index] }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(full_name: &str, line: &str) -> String {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let shown: Vec<String> = (0..args.len())
            .map(|index| String::from_utf8_lossy(shown(full_name, &args, index)).into_owned())
            .collect();
        shown.join(" ")
    }

    #[test]
    fn passwords_are_not_shown() {
        for (name, given, expected) in [
            ("auth", "AUTH secret", "AUTH (redacted)"),
            ("auth", "AUTH me secret", "AUTH (redacted) (redacted)"),
            ("hello", "HELLO 3 AUTH me secret SETNAME x", "HELLO 3 AUTH (redacted) (redacted) SETNAME x"),
            ("hello", "HELLO 3 SETNAME auth", "HELLO 3 SETNAME auth"),
            ("config|set", "CONFIG SET port 1 requirepass x", "CONFIG SET port 1 requirepass (redacted)"),
            ("acl|setuser", "ACL SETUSER me >secret", "ACL SETUSER me (redacted)"),
            ("echo", "ECHO auth", "ECHO auth"),
        ] {
            assert_eq!(line(name, given), expected);
        }
    }
}
