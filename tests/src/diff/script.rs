//! What is played: commands, each on one of several connections.

use std::fmt;

/// One command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// The connection it is sent on, from 0.
    pub conn: usize,
    /// The command and its arguments. `<id:1>` stands for the client id of connection 1; a command that begins with
    /// `@` is the player's own, see [`Step::expiring_key`].
    pub args: Vec<Vec<u8>>,
}

/// Commands in their order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Script {
    /// RESP2 or RESP3, for each connection.
    pub protocols: Vec<u8>,
    /// Whether a further connection listens to all channels and keyspace notifications.
    pub listens: bool,
    /// The commands.
    pub steps: Vec<Step>,
}

/// The longest time that a blocking read may wait without counting as blocked: the player just waits for its end.
const SHORT_BLOCK_MS: u64 = 1_000;

impl Step {
    /// A command given as words.
    #[must_use]
    pub fn new(conn: usize, words: &str) -> Self {
        Step { conn, args: words.split_ascii_whitespace().map(|word| word.as_bytes().to_vec()).collect() }
    }

    /// The command's name in upper case.
    #[must_use]
    pub fn name(&self) -> String {
        name(&self.args)
    }

    /// Whether a word, in any case, is the command or one of its arguments.
    #[must_use]
    pub fn has(&self, word: &str) -> bool {
        self.args.iter().any(|arg| arg.eq_ignore_ascii_case(word.as_bytes()))
    }

    /// Whether it may wait for other commands: a read with `BLOCK 0`, or with a time that no run takes.
    #[must_use]
    pub fn may_block(&self) -> bool {
        if !matches!(self.name().as_str(), "XREAD" | "XREADGROUP") {
            return false;
        }
        self.args.windows(2).any(|pair| {
            let ms = std::str::from_utf8(&pair[1]).ok().and_then(|text| text.parse::<u64>().ok());
            pair[0].eq_ignore_ascii_case(b"block") && ms.is_some_and(|ms| ms == 0 || ms > SHORT_BLOCK_MS)
        })
    }

    /// Of `@expire a`: the key whose time is to come, in database 0.
    #[must_use]
    pub fn expiring_key(&self) -> Option<&[u8]> {
        match self.args.as_slice() {
            [word, key] if word == b"@expire" => Some(key),
            _ => None,
        }
    }
}

/// A command's name in upper case.
#[must_use]
pub fn name(args: &[Vec<u8>]) -> String {
    args.first().map(|name| String::from_utf8_lossy(name).to_ascii_uppercase()).unwrap_or_default()
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.conn)?;
        self.args.iter().try_for_each(|arg| write!(f, " {}", quoted(arg)))
    }
}

/// As it stands in a file: [`Script::parse`] reads it again.
impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocols: Vec<String> = self.protocols.iter().map(u8::to_string).collect();
        let listens = if self.listens { " listening" } else { "" };
        writeln!(f, "connections {}{listens}", protocols.join(" "))?;
        self.steps.iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}

fn quoted(arg: &[u8]) -> String {
    let plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
    if !arg.is_empty() && arg.iter().all(plain) {
        return arg.escape_ascii().to_string().replace("\\'", "'");
    }
    format!("\"{}\"", arg.escape_ascii())
}

/// What is wrong with a script's text.
#[derive(Debug, PartialEq, Eq)]
pub struct NoScript(pub String);

impl Script {
    /// Reads what [`Script`] shows itself as. Empty lines and those that begin with `#` are left out.
    ///
    /// # Errors
    /// When a line is something else.
    pub fn parse(text: &str) -> Result<Self, NoScript> {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let first = lines.next().and_then(|line| line.strip_prefix("connections "));
        let Some(first) = first else { return Err(NoScript("no line 'connections 2 3'".to_owned())) };
        let mut protocols = Vec::new();
        let mut listens = false;
        for word in first.split_ascii_whitespace() {
            match word {
                "2" => protocols.push(2),
                "3" => protocols.push(3),
                "listening" => listens = true,
                other => return Err(NoScript(format!("no protocol: {other}"))),
            }
        }
        let wrong = |line: &str| NoScript(format!("no step: {line}"));
        let steps = lines.map(|line| step(line).ok_or_else(|| wrong(line))).collect::<Result<Vec<_>, _>>()?;
        match steps.iter().find(|step| step.conn >= protocols.len()) {
            Some(step) => Err(NoScript(format!("no such connection: {step}"))),
            None => Ok(Script { protocols, listens, steps }),
        }
    }
}

fn step(line: &str) -> Option<Step> {
    let (conn, mut rest) = line.split_once(':')?;
    let mut args = Vec::new();
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            break;
        }
        let (arg, len) = if rest.starts_with('"') { unquote(rest)? } else { word(rest) };
        args.push(arg);
        rest = &rest[len..];
    }
    Some(Step { conn: conn.parse().ok()?, args }).filter(|step| !step.args.is_empty())
}

fn word(text: &str) -> (Vec<u8>, usize) {
    let len = text.find(' ').unwrap_or(text.len());
    (text.as_bytes()[..len].to_vec(), len)
}

fn unquote(text: &str) -> Option<(Vec<u8>, usize)> {
    let bytes = text.as_bytes();
    let mut arg = Vec::new();
    let mut at = 1;
    loop {
        match bytes.get(at)? {
            b'"' => return Some((arg, at + 1)),
            b'\\' => {
                let len = if bytes.get(at + 1)? == &b'x' { 4 } else { 2 };
                arg.push(match bytes[at + 1] {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'x' => u8::from_str_radix(text.get(at + 2..at + 4)?, 16).ok()?,
                    other => other,
                });
                at += len;
            }
            byte => {
                arg.push(*byte);
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_comes_back() {
        let mut script =
            Script { protocols: vec![2, 3], listens: true, steps: vec![Step::new(1, "XADD k * f v")] };
        script.steps[0].args[3] = b"\x00\xff \"quoted\" \\ 'single'\r\n\t".to_vec();
        script.steps[0].args[4] = Vec::new();
        script.steps.push(Step::new(0, "XREAD it's <id:1>"));
        assert_eq!(Script::parse(&script.to_string()), Ok(script));
    }

    #[test]
    fn other_text_is_refused() {
        for text in [
            "",
            "1: PING",
            "connections 4",
            "connections 2\nPING",
            "connections 2\n1: PING",
            "connections 2\n0:",
        ] {
            assert!(Script::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_may_block() {
        for (words, expected) in [
            ("XREAD BLOCK 0 STREAMS s $", true),
            ("xreadgroup group g c block 100000 streams s >", true),
            ("XREAD BLOCK 20 STREAMS s $", false),
            ("XREAD STREAMS s $", false),
            ("XADD BLOCK 0 f v", false),
        ] {
            assert_eq!(Step::new(0, words).may_block(), expected, "{words}");
        }
        assert_eq!(Step::new(0, "@expire a").expiring_key(), Some(&b"a"[..]));
    }
}
