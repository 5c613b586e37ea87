//! Takes a document's fenced code blocks out of it.

/// A fenced code block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Block {
    /// What stands behind the opening fence: `sh tour`.
    pub info: String,
    /// The line of the opening fence, from 1.
    pub line: usize,
    /// The lines between the fences.
    pub text: Vec<String>,
}

/// A command and what it prints.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// The command.
    pub command: String,
    /// The line of the command in the document, from 1.
    pub line: usize,
    /// What is expected, line by line.
    pub expected: Vec<String>,
}

/// All fenced code blocks of a document, also those within lists.
///
/// # Errors
/// When a fence is not closed.
pub fn blocks(markdown: &str) -> Result<Vec<Block>, String> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut open: Option<(Block, usize, usize)> = None;
    for (number, line) in markdown.lines().enumerate() {
        let unindented = line.trim_start();
        let ticks = unindented.len() - unindented.trim_start_matches('`').len();
        match &mut open {
            None if ticks >= 3 => {
                let info = unindented[ticks..].trim().to_owned();
                let block = Block { info, line: number + 1, text: Vec::new() };
                open = Some((block, line.len() - unindented.len(), ticks));
            }
            None => {}
            // A fence is closed by one at least as long.
            Some((block, _, fence)) if ticks >= *fence && unindented.len() == ticks => {
                blocks.push(block.clone());
                open = None;
            }
            Some((block, indent, _)) => {
                let spaces = line.len() - unindented.len();
                block.text.push(line[spaces.min(*indent)..].to_owned());
            }
        }
    }
    match open {
        None => Ok(blocks),
        Some((block, _, _)) => Err(format!("line {}: the code block is not closed", block.line)),
    }
}

/// The commands of a block: a line that begins with `$ ` is one, lines that begin with `> ` right after it go on with
/// it, and the others are what it prints.
///
/// # Errors
/// When the block does not begin with a command.
pub fn steps(block: &Block) -> Result<Vec<Step>, String> {
    let mut steps: Vec<Step> = Vec::new();
    for (number, text) in block.text.iter().enumerate() {
        let line = block.line + 1 + number;
        if let Some(command) = text.strip_prefix("$ ") {
            steps.push(Step { command: command.to_owned(), line, expected: Vec::new() });
            continue;
        }
        let Some(step) = steps.last_mut() else {
            return Err(format!("line {line}: a command was expected, '$ …', not: {text}"));
        };
        match text.strip_prefix("> ") {
            Some(more) if step.expected.is_empty() => {
                step.command.push('\n');
                step.command.push_str(more);
            }
            _ => step.expected.push(text.clone()),
        }
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "# A\n\n```sh tour\n$ echo a\na\n$ cat <<END\n> b\n> END\nb\n```\n\n- a list\n  ````text\n  ```\n    x\n  ````\n";

    #[test]
    fn blocks_are_found_with_their_lines() {
        let blocks = blocks(SAMPLE).unwrap();
        assert_eq!(blocks.len(), 2);
        assert_eq!((blocks[0].info.as_str(), blocks[0].line), ("sh tour", 3));
        assert_eq!(blocks[0].text.len(), 6);
        assert_eq!((blocks[1].info.as_str(), blocks[1].line), ("text", 13));
    }

    #[test]
    fn a_block_that_is_not_closed_is_an_error() {
        assert!(blocks("a\n```sh\n$ b\n").unwrap_err().contains("line 2"));
    }

    #[test]
    fn commands_have_their_output_and_go_on_over_lines() {
        let steps = steps(&blocks(SAMPLE).unwrap()[0]).unwrap();
        let step = |command: &str, line, expected: &str| Step {
            command: command.to_owned(),
            line,
            expected: vec![expected.to_owned()],
        };
        assert_eq!(steps, [step("echo a", 4, "a"), step("cat <<END\nb\nEND", 6, "b")]);
    }

    #[test]
    fn output_without_a_command_is_an_error() {
        let block = Block { info: String::new(), line: 7, text: vec!["a".to_owned()] };
        assert!(super::steps(&block).unwrap_err().contains("line 8"));
    }
}
