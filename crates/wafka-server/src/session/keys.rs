//! The gates of the keys that the session's command works on.

use std::sync::Arc;

use wafka_broker::Transaction;
use wafka_core::Database;

use super::Session;
use crate::command::{Args, CommandSpec, Flags, KeysOf};
use crate::gate::{Held, Mode, Wanted};

/// The gates of the current command.
pub(super) struct Keys {
    pub(super) held: Held,
    /// What to take again after a wait.
    wanted: Wanted,
}

impl Keys {
    pub(super) fn new(held: Held) -> Self {
        Keys { held, wanted: Wanted::default() }
    }
}

impl Session {
    /// Lets transactions pass while a command waits for data: gives back the gates of its keys. What the command knew
    /// of its topics may be wrong afterwards. Within a transaction nothing is given back.
    pub fn release_keys(&mut self) {
        if !self.in_transaction() {
            self.keys.held.release();
        }
    }

    /// Takes the gates again that [`Session::release_keys`] gave back: waits until no transaction is at work on them.
    /// May be dropped and called again.
    pub async fn acquire_keys(&mut self) {
        if !self.in_transaction() {
            self.keys.held.release();
            self.keys.held.acquire(&self.keys.wanted).await;
        }
    }

    /// Takes the gate of a command with the one key `key` if nothing is to be waited for. It is kept for the commands
    /// behind it until [`Session::settle`].
    pub(crate) fn try_key(&mut self, key: &[u8]) -> bool {
        self.keys.held.try_shared(self.database, key)
    }

    /// Takes the gates of a command's keys. They are held until [`Session::end_keys`].
    pub(crate) async fn begin_keys(&mut self, command: &CommandSpec, args: &Args<'_>) {
        let names = command.flags.contains(Flags::ALL_NAMES).then_some(Mode::Exclusive);
        // Keys that are not where they should be are an error, which the command will say.
        let keys = KeysOf::find(command.keys, args);
        let database = self.database;
        let keys = keys.iter().flat_map(|keys| keys.iter()).map(|key| (database, key));
        self.keys.wanted.set(keys, Mode::Shared, names);
        self.acquire_keys().await;
    }

    /// Takes the gates of keys for a command that works on them alone, in the place of those that it has. They are held until
    /// [`Session::end_keys`].
    pub(crate) async fn begin_alone<'k>(&mut self, keys: impl Iterator<Item = (Database, &'k [u8])>) {
        self.keys.wanted.set(keys, Mode::Exclusive, None);
        self.acquire_keys().await;
    }

    /// Begins a transaction: takes the gates of its keys alone. They are held until [`Session::end_transaction`].
    pub(crate) async fn begin_transaction<'k>(
        &mut self,
        keys: impl Iterator<Item = (Database, &'k [u8])>,
        names: Mode,
    ) {
        self.keys.wanted.set(keys, Mode::Exclusive, Some(names));
        self.acquire_keys().await;
        self.in_transaction = true;
    }

    /// Has the commands that follow count as a whole.
    pub(crate) fn set_transaction(&mut self, transaction: Arc<Transaction>) {
        self.transaction = Some(transaction);
    }

    /// What makes the commands of `EXEC` count as a whole; `None` when they need nothing for that.
    pub(crate) fn transaction(&self) -> Option<&Arc<Transaction>> {
        self.transaction.as_ref()
    }

    /// Ends the transaction: all may see what it did.
    pub(crate) fn end_transaction(&mut self) {
        self.in_transaction = false;
        self.transaction = None;
        self.drop_held_events();
        // Each command's reply was looked at.
        self.beyond_limit = true;
        self.command_begin = self.reply_begin;
        self.release_keys();
    }

    /// Gives the gates back when the command is done.
    pub(crate) fn end_keys(&mut self) {
        self.release_keys();
    }
}
