//! What a server that does not own the data says to a command.

use std::time::Duration;

use wafka_core::storage::Holder;
use wafka_storage::line::timestamp;

use super::{Role, Shares, Standing, Told, millis};

impl Standing {
    /// The error for a command that needs topics, or that may write, or does neither; `None` when it may be executed.
    #[must_use]
    pub fn refusal(&self, needs_topics: bool, writes: bool) -> Option<String> {
        let lease = self.lease.as_ref()?;
        self.look();
        let role = self.role();
        let refused = match role {
            Role::Owner => false,
            Role::Lapsed => writes,
            Role::Standby | Role::Opening | Role::Fenced => needs_topics || writes,
        };
        refused.then(|| text(role, lease))
    }

    /// Whether another server has taken the data over, and what is said then.
    pub(crate) fn fenced(&self) -> Option<String> {
        let lease = self.lease.as_ref().filter(|_| self.role() == Role::Fenced)?;
        Some(text(Role::Fenced, lease))
    }

    /// What is said to whoever needs the topics now that there are none.
    pub(crate) fn not_open(&self) -> String {
        let text = self.lease.as_ref().map(|lease| text(self.role(), lease));
        text.unwrap_or_else(|| "LOADING Wafka is opening its topics".to_owned())
    }
}

fn text(role: Role, lease: &Shares) -> String {
    let told = lease.told.lock().clone();
    let epoch = told.epoch.unwrap_or_default();
    let ended = told.ended_ms.map(timestamp);
    match role {
        // It changed since it was looked at.
        Role::Owner => "LOADING Wafka owns the data again: try once more".to_owned(),
        Role::Opening => format!("LOADING Wafka took the data over at epoch {epoch} and is opening it"),
        Role::Standby => standby(&told, lease.clock.now()),
        Role::Lapsed => format!(
            "LAPSED Wafka's lease on the data (epoch {epoch}) ended at {} and could not be renewed{}; what may write is refused \
             until it is",
            ended.as_deref().unwrap_or("an unknown time"),
            told.unknown.map_or_else(String::new, |reason| format!(": {reason}")),
        ),
        Role::Fenced => {
            let by = told.holder.map_or_else(
                || "another server took it over".to_owned(),
                |(Holder { owner, epoch, .. }, _)| {
                    format!("{} at {} took it over at epoch {epoch}", owner.id, owner.address)
                },
            );
            let after = ended.map_or_else(String::new, |ended| {
                format!(", after this server's lease had ended at {ended}")
            });
            format!(
                "FENCED Wafka no longer owns the data: {by}{after}; restart this server to make it a standby"
            )
        }
    }
}

fn standby(told: &Told, now: Duration) -> String {
    match (&told.unknown, &told.holder) {
        (Some(reason), _) => {
            format!("LOADING Wafka is a standby: it cannot be found out who owns the data: {reason}")
        }
        (None, Some((Holder { owner, epoch, remaining }, heard_at))) => {
            let left = millis(remaining.saturating_sub(now.saturating_sub(*heard_at)));
            format!(
                "LOADING Wafka is a standby: {} at {} owns the data since epoch {epoch}, for another {left} ms unless it renews",
                owner.id, owner.address
            )
        }
        (None, None) => "LOADING Wafka is a standby: it has not found out yet who owns the data".to_owned(),
    }
}
