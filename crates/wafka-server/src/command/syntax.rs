//! The arguments of a command, parsed from the notation in its row into the tree that `COMMAND DOCS` shows.
//!
//! ```text
//! word          an argument of that name; `key` and `pattern` are of those types, `count:integer` of a named one
//! WORD          a token, taken literally, as are `*`, `=`, `~`
//! WORD word     an argument that follows a token
//! WORD(…)       several that follow a token
//! (…)           several arguments that belong together
//! […]           may be left out
//! <… | …>       one of several; also within [ ]
//! …...          may be repeated
//! ```

use std::iter::Peekable;
use std::str::Chars;

/// An argument.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Argument {
    /// Its name.
    pub name: String,
    /// Redis's type: `string`, `integer`, `key`, `pattern`, `pure-token`, `oneof`, `block`.
    pub kind: String,
    /// The token that precedes it, or that it is.
    pub token: Option<String>,
    /// Whether it may be left out.
    pub optional: bool,
    /// Whether it may be repeated.
    pub multiple: bool,
    /// Those of a `oneof` or a `block`.
    pub arguments: Vec<Argument>,
}

/// Parses the notation. A row's syntax is part of the program and tested; what does not parse is left out.
#[must_use]
pub fn parse(syntax: &str) -> Vec<Argument> {
    sequence(&mut syntax.chars().peekable())
}

type Input<'a> = Peekable<Chars<'a>>;

/// Arguments up to a closing bracket, a `|` or the end.
fn sequence(input: &mut Input<'_>) -> Vec<Argument> {
    let mut arguments: Vec<Argument> = Vec::new();
    loop {
        while input.next_if(|c| c.is_whitespace()).is_some() {}
        let mut argument = match input.peek() {
            None | Some(']' | '>' | ')' | '|') => return arguments,
            Some('[') => Argument { optional: true, ..group(input) },
            Some('<' | '(') => group(input),
            Some(_) => word(input),
        };
        while input.next_if_eq(&'.').is_some() {
            argument.multiple = true;
        }
        let follows_token = argument.token.is_none() && !argument.optional && argument.arguments.is_empty();
        match arguments.last_mut() {
            // A token that stands before a word belongs to it.
            Some(before) if follows_token && before.kind == "pure-token" && !before.optional => {
                argument.token = before.token.take();
                *before = argument;
            }
            _ => arguments.push(argument),
        }
    }
}

/// What stands in brackets: one argument, a block of several, or one of several.
fn group(input: &mut Input<'_>) -> Argument {
    input.next();
    let mut alternatives = vec![block(sequence(input))];
    while input.next_if_eq(&'|').is_some() {
        alternatives.push(block(sequence(input)));
    }
    input.next();
    if alternatives.len() == 1 { alternatives.remove(0) } else { compound("oneof", alternatives) }
}

/// A lone argument as it is; several as a block.
fn block(mut arguments: Vec<Argument>) -> Argument {
    if arguments.len() == 1 { arguments.remove(0) } else { compound("block", arguments) }
}

fn compound(kind: &str, arguments: Vec<Argument>) -> Argument {
    let names: Vec<&str> = arguments.iter().map(|argument| argument.name.as_str()).collect();
    Argument {
        name: names.join(if kind == "oneof" { "-or-" } else { "-" }),
        kind: kind.to_owned(),
        token: None,
        optional: false,
        multiple: false,
        arguments,
    }
}

fn word(input: &mut Input<'_>) -> Argument {
    let mut text = String::new();
    while let Some(c) = input.next_if(|c| !c.is_whitespace() && !"[]<>()|.".contains(*c)) {
        text.push(c);
    }
    if text.is_empty() {
        // Not a word: a stray character is skipped, so that parsing ends.
        text.extend(input.next());
    }
    let simple = |name: String, kind: &str, token| Argument {
        name,
        kind: kind.to_owned(),
        token,
        optional: false,
        multiple: false,
        arguments: Vec::new(),
    };
    let is_token = !text.chars().any(|c| c.is_ascii_lowercase());
    if !is_token {
        let (name, kind) = match text.split_once(':') {
            Some((name, kind)) => (name, kind),
            None if text == "key" || text == "pattern" => (text.as_str(), text.as_str()),
            None => (text.as_str(), "string"),
        };
        return simple(name.to_owned(), kind, None);
    }
    if input.peek() == Some(&'(') {
        return Argument { token: Some(text), ..group(input) };
    }
    let name = match text.as_str() {
        "*" => "auto-id".to_owned(),
        "=" => "equal".to_owned(),
        "~" => "approximately".to_owned(),
        token => token.to_ascii_lowercase(),
    };
    simple(name, "pure-token", Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::table;

    /// A tree in short: name:type, `@TOKEN`, `?` optional, `*` multiple, `{…}` what is in it.
    fn short(arguments: &[Argument]) -> String {
        let one = |argument: &Argument| {
            let token = argument.token.as_ref().map(|token| format!("@{token}")).unwrap_or_default();
            let inner = match argument.arguments.as_slice() {
                [] => String::new(),
                inner => format!("{{{}}}", short(inner)),
            };
            let optional = if argument.optional { "?" } else { "" };
            let multiple = if argument.multiple { "*" } else { "" };
            format!("{}:{}{token}{optional}{multiple}{inner}", argument.name, argument.kind)
        };
        arguments.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_notation_is_that_of_redis_io() {
        let check = |syntax: &str, tree: &str| assert_eq!(short(&parse(syntax)), tree, "{syntax}");
        check("", "");
        check("key start end", "key:key start:string end:string");
        check("[COUNT count:integer]", "count:integer@COUNT?");
        check("key [NOMKSTREAM]", "key:key nomkstream:pure-token@NOMKSTREAM?");
        check("<* | id>", "auto-id-or-id:oneof{auto-id:pure-token@* id:string}");
        check("[= | ~]", "equal-or-approximately:oneof?{equal:pure-token@= approximately:pure-token@~}");
        check("(field value)...", "field-value:block*{field:string value:string}");
        check("STREAMS(key... id...)", "key-id:block@STREAMS{key:key* id:string*}");
        check("ON OFF", "on:pure-token@ON off:pure-token@OFF");
        check("<TYPE type | ID id...>", "type-or-id:oneof{type:string@TYPE id:string@ID*}");
        check("[[a] b]", "a-b:block?{a:string? b:string}");
    }

    #[test]
    fn nonsense_ends() {
        for syntax in ["]", "a ] b", "<", "(((", "[a | ", "a.b", "...", "|"] {
            assert!(parse(syntax).len() <= syntax.len(), "{syntax}");
        }
    }

    /// Every row's syntax parses to its end, and its arguments agree with its arity.
    #[test]
    fn rows_agree_with_their_arity() {
        for command in table::commands() {
            let balanced = |open: char, close: char| {
                command.syntax.matches(open).count() == command.syntax.matches(close).count()
            };
            assert!(balanced('[', ']') && balanced('<', '>') && balanced('(', ')'), "{}", command.full_name);
            if !command.children().is_empty() {
                continue;
            }
            let arguments = parse(command.syntax);
            let names = 1 + usize::from(command.full_name.contains('|'));
            let least = names + arguments.iter().map(least).sum::<usize>();
            let open =
                arguments.iter().any(|argument| argument.optional || argument.multiple || varies(argument));
            let arity = usize::from(command.arity.unsigned_abs());
            assert_eq!(least, arity, "{}: {}", command.full_name, command.syntax);
            assert_eq!(open, command.arity < 0, "{}: {}", command.full_name, command.syntax);
        }
    }

    /// redis-cli complains about any other type.
    #[test]
    fn rows_have_redis_s_types_only() {
        fn check(arguments: &[Argument]) {
            for argument in arguments {
                let kinds = [
                    "string",
                    "integer",
                    "double",
                    "key",
                    "pattern",
                    "pure-token",
                    "oneof",
                    "block",
                    "unix-time",
                ];
                assert!(kinds.contains(&argument.kind.as_str()), "{argument:?}");
                let compound = matches!(argument.kind.as_str(), "oneof" | "block");
                assert_eq!(compound, !argument.arguments.is_empty(), "{argument:?}");
                check(&argument.arguments);
            }
        }
        for command in table::commands() {
            check(&parse(command.syntax));
        }
    }

    /// How many arguments it is at least.
    fn least(argument: &Argument) -> usize {
        if argument.optional {
            return 0;
        }
        let own = usize::from(argument.token.is_some() && argument.kind != "pure-token");
        own + match argument.kind.as_str() {
            "oneof" => argument.arguments.iter().map(least).min().unwrap_or(0),
            "block" => argument.arguments.iter().map(least).sum(),
            _ => 1,
        }
    }

    /// Whether how many arguments it is depends on something within it.
    fn varies(argument: &Argument) -> bool {
        let inner = &argument.arguments;
        let lengths: std::collections::BTreeSet<usize> = inner.iter().map(least).collect();
        inner.iter().any(|inner| inner.optional || inner.multiple || varies(inner))
            || (argument.kind == "oneof" && lengths.len() > 1)
    }
}
