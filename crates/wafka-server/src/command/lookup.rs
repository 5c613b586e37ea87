//! Finds a command by its name, in any case.

use std::sync::LazyLock;

use super::table::{self, Command};

/// The longest name there can be, so that longer ones are not hashed.
const NAME_LEN_MAX: usize = 24;

/// Slots of the hash table: a power of two well above twice the number of commands, so that most probes hit at once.
const SLOTS: usize = 512;

/// Slot by hash, linear probing; an entry is an index into [`table::top_level`] plus one, 0 when empty.
static INDEX: LazyLock<[u16; SLOTS]> = LazyLock::new(|| {
    let mut slots = [0; SLOTS];
    for (index, command) in (1..).zip(table::top_level()) {
        let mut slot = hash(command.name.as_bytes());
        while slots[slot] != 0 {
            slot = (slot + 1) % SLOTS;
        }
        slots[slot] = index;
    }
    slots
});

/// FNV-1a (<http://www.isthe.com/chongo/tech/comp/fnv/>) over the name in lower case, folded to a slot.
fn hash(name: &[u8]) -> usize {
    let hash = name.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte | 0x20)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash ^ (hash >> 32)) as usize % SLOTS
}

/// The command called `name`, in any case.
#[must_use]
pub fn lookup(name: &[u8]) -> Option<&'static Command> {
    // Nearly every command of a busy server is this one, the first in the table.
    if let Ok(name) = <[u8; 4]>::try_from(name)
        && u32::from_le_bytes(name) | u32::from_le_bytes([b' '; 4]) == u32::from_le_bytes(*b"xadd")
    {
        return table::top_level().first();
    }
    if name.len() > NAME_LEN_MAX {
        return None;
    }
    let mut slot = hash(name);
    loop {
        let index = usize::from(INDEX[slot]).checked_sub(1)?;
        let command = &table::top_level()[index];
        if command.name.as_bytes().eq_ignore_ascii_case(name) {
            return Some(command);
        }
        slot = (slot + 1) % SLOTS;
    }
}

/// The subcommand called `name`, in any case.
#[must_use]
pub fn subcommand(command: &Command, name: &[u8]) -> Option<&'static Command> {
    command.children().iter().find(|child| child.name.as_bytes().eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_found_in_any_case() {
        for command in table::top_level() {
            assert!(command.name.len() <= NAME_LEN_MAX, "{}", command.name);
            for name in [command.name.to_owned(), command.name.to_ascii_uppercase()] {
                assert!(std::ptr::eq(lookup(name.as_bytes()).unwrap(), command), "{name}");
            }
            for child in command.children() {
                let found = subcommand(command, child.name.to_ascii_uppercase().as_bytes()).unwrap();
                assert_eq!(found.full_name, format!("{}|{}", command.name, child.name));
                assert!(std::ptr::eq(&table::commands()[found.index], found));
            }
        }
    }

    #[test]
    fn what_is_no_command_is_not_found() {
        for name in ["", "nosuch", "get", "set", "xad", "xaddd", "client|id", "x\0dd"] {
            assert!(lookup(name.as_bytes()).is_none(), "{name}");
        }
        assert!(lookup(&[b'a'; 1000]).is_none());
    }

    #[test]
    fn names_are_unique_and_leave_slots_free() {
        let names: std::collections::BTreeSet<_> =
            table::top_level().iter().map(|command| command.name).collect();
        assert_eq!(names.len(), table::top_level().len());
        assert!(names.len() * 2 < SLOTS);
        assert_eq!(table::top_level()[0].name, "xadd");
    }
}
