//! The lease: who of several servers owns the data, in a key-value bucket of the engine.
//!
//! | what | where |
//! |---|---|
//! | the bucket | `<prefix>-lease`, which is the stream `KV_<prefix>-lease`; `nats kv get <prefix>-lease owner` shows it |
//! | who owns the data | the value of its one key, `owner`: JSON with id, address, epoch and the lease's length |
//!
//! Each value says which one it follows, so of two who want the lease one is refused. It is taken by following a value
//! that says it was given up, or one that has stood as long as it says the lease lasts; it is renewed by following one's
//! own, also when that has stood longer: nobody else has had it then.
//!
//! **Time.** A server that waits counts from when it first *saw* a value, by its own clock, so no two machines' clocks are
//! compared, and the owner's time, which it counts from before it wrote the value, is over earlier. For the same reason the bucket
//! has no limit of age: the engine's servers would apply it by clocks of their own, and an owner could not find out whether it
//! was somebody else's meanwhile. One exception spares a restart the wait: a value that is older by the engine's clock than the
//! lease and ten seconds is over.
//!
//! **The engine is out of reach** for longer than the lease lasts (an election of the bucket's leader may take that
//! long): the owner's time is over, and nobody can take over. When the engine is back the owner has half a lease to renew
//! before those who wait take it.

mod record;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::json;
use tokio::time::timeout;
use wafka_core::storage::{Acquired, Holder, Lease, Owner, Ownership, Renewed, StorageError};

use crate::api::{Api, Failure, NewStream, Stored, TRY};
use crate::connect;
use crate::home::{Home, failed};
use crate::tenure::{Tenure, not_owner, title};
use record::{Found, Record, Seen, Stands, holder};

/// The clocks of two of the engine's servers differ by less.
const CLOCKS_APART: Duration = Duration::from_secs(10);
/// How often what came between is looked at in one call.
const ATTEMPTS: usize = 4;
/// Our lease.
struct Mine {
    record: Record,
    sequence: u64,
    tenure: Arc<Tenure>,
    /// It is somebody else's now, as far as that is known.
    lost: Option<Option<Holder>>,
}

#[derive(Default)]
struct State {
    seen: Option<Seen>,
    mine: Option<Mine>,
    /// The engine could not be asked, last time.
    failed: bool,
    /// The bucket is as it must be.
    checked: bool,
}

/// The lease of a backend. It has a connection of its own: renewals do not queue behind lines.
pub(crate) struct JetStreamLease {
    home: Arc<Home>,
    api: Api,
    state: Mutex<State>,
}

impl JetStreamLease {
    pub(crate) fn new(home: &Arc<Home>) -> Result<Self, StorageError> {
        let options = home.options();
        let client = home.block_on(connect::connect(options, &options.login))?;
        // What got lost is sent again while there is time.
        let patience = options.lease() / 2;
        let api = Api {
            client,
            patience,
            one_try: patience / 3,
            silent: Arc::default(),
            #[cfg(test)]
            stale: Arc::default(),
        };
        Ok(JetStreamLease { home: Arc::clone(home), api, state: Mutex::default() })
    }

    fn stream(&self) -> String {
        format!("KV_{}-lease", self.home.options().prefix)
    }

    fn subject(&self) -> String {
        format!("$KV.{}-lease.owner", self.home.options().prefix)
    }

    /// Makes the bucket, or makes sure that nothing goes from it by itself.
    async fn check_bucket(&self) -> Result<(), Failure> {
        let api = self.home.api();
        let name = self.stream();
        if let Some(info) = api.stream(&name).await? {
            return match info.config.max_age {
                0 => Ok(()),
                _ => Err(Failure::Strange(format!(
                    "the bucket's stream {name} was given a limit of age, expected none: the lease says itself how \
                     long it lasts"
                ))),
            };
        }
        let bucket = NewStream {
            name: &name,
            // Nobody can make a renewal fail by writing another key.
            subjects: &[self.subject()],
            num_replicas: self.home.options().replicas,
            max_msgs_per_subject: 1,
            allow_direct: false,
            metadata: json!({ "wafka": "lease" }),
        };
        api.make_stream(&name, &bucket.config()).await
    }

    /// The value, and the sequence that the next one follows.
    async fn read(&self) -> Result<(u64, Option<Found>), Failure> {
        let name = self.stream();
        if let Some(Stored { sequence, time, data, .. }) = self.api.last_on(&name, &self.subject()).await? {
            let record = serde_json::from_slice(&data).ok().filter(Record::can_be);
            return Ok((sequence, Some(Found { sequence, time, record })));
        }
        let info = self.api.stream(&name).await?;
        let gone = || Failure::Strange(format!("the bucket's stream {name} is gone"));
        Ok((info.ok_or_else(gone)?.state.last_seq, None))
    }

    async fn write(&self, last: u64, record: &Record) -> Result<u64, Failure> {
        let body = serde_json::to_vec(record).map_err(|error| Failure::Strange(error.to_string()))?;
        self.api.publish_behind(self.subject(), last, Bytes::from(body)).await
    }

    /// How long the server that wrote a value owns the data still, at most.
    async fn remaining(
        &self,
        state: &mut State,
        found: &Found,
        record: &Record,
    ) -> Result<Duration, Failure> {
        let (now, lease) = (self.now(), record.lease());
        // One that has changed since another was seen is alive, whatever the clocks say.
        if state.seen.is_none() && self.is_old(found, lease).await? {
            let since = now.checked_sub(lease).unwrap_or(now);
            state.seen = Some(Seen { sequence: found.sequence, since });
            return Ok(Duration::ZERO);
        }
        let mut known = Seen::next(state.seen, found.sequence, lease, now);
        if std::mem::take(&mut state.failed) {
            // Where this server could not ask, that one could not renew: it gets the time to.
            known.since = known.since.max(now.checked_sub(lease / 2).unwrap_or(now));
        }
        state.seen = Some(known);
        Ok(known.remaining(lease, now))
    }

    /// Ends what takes so long that the lease would be over meanwhile. It may have come about.
    async fn in_time<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let patience = (self.api.patience * 3 / 2).max(TRY);
        let late = |_| Err(Failure::Silence { waited: patience, last: "the lease would be over".into() });
        timeout(patience, work).await.unwrap_or_else(late)
    }

    fn now(&self) -> Instant {
        #[cfg(test)]
        return Instant::now() + *self.home.faults.skipped.lock();
        #[cfg(not(test))]
        Instant::now()
    }

    /// Whether a value is so old that clocks cannot be the reason.
    async fn is_old(&self, found: &Found, lease: Duration) -> Result<bool, Failure> {
        let Some(info) = self.api.stream(&self.stream()).await? else { return Ok(false) };
        let times = (info.ts.parse::<jiff::Timestamp>(), found.time.parse::<jiff::Timestamp>());
        let (Ok(now), Ok(then)) = times else { return Ok(false) };
        Ok(Duration::try_from(now.duration_since(then)).is_ok_and(|age| age > lease + CLOCKS_APART))
    }

    async fn take(&self, state: &mut State, owner: &Owner) -> Result<Acquired, Failure> {
        if !state.checked {
            self.in_time(self.check_bucket()).await?;
            state.checked = true;
        }
        for _ in 0..ATTEMPTS {
            let read = self.read().await;
            if read.as_ref().is_err_and(Failure::is_no_stream) {
                state.checked = false;
            }
            let (last, found) = read?;
            if let Some((found, record)) =
                found.as_ref().and_then(|found| Some((found, found.record.as_ref()?)))
                && !record.released
                && record.id != owner.id
            {
                let remaining = self.remaining(state, found, record).await?;
                if !remaining.is_zero() {
                    return Ok(Acquired::HeldBy(holder(record, remaining)));
                }
            }
            let before = found.and_then(|found| found.record).map_or(0, |record| record.epoch);
            let epoch = 1 + before.max(self.in_time(self.home.directory.epoch()).await?);
            let lease_ms = self.home.options().lease_ms.into();
            let (id, address) = (owner.id.clone(), owner.address.clone());
            let record = Record { id, address, epoch, lease_ms, released: false };
            match self.write(last, &record).await {
                Ok(sequence) => return self.begin(state, owner, record, sequence).await,
                // Somebody else was faster, or it is there already and its answer was lost: then it is taken anew.
                Err(refused) if refused.is_wrong_last() => {}
                Err(failure) => return Err(failure),
            }
        }
        Err(Failure::Strange("several servers ask for the lease at once".into()))
    }

    /// Begins to own the data. Nobody of an earlier epoch makes or deletes a log from then on.
    async fn begin(
        &self,
        state: &mut State,
        owner: &Owner,
        record: Record,
        sequence: u64,
    ) -> Result<Acquired, Failure> {
        if let Some(before) = state.mine.take() {
            self.home.end(&before.tenure, &title(record.epoch, &record.address));
        }
        let tenure = Tenure::new(record.epoch, owner.clone(), self.home.session().to_owned());
        self.in_time(self.home.directory.take_over(&tenure)).await?;
        self.home.begin(&tenure);
        let lease = Lease { epoch: record.epoch, time_to_live: self.home.options().lease() };
        (state.mine, state.seen) = (Some(Mine { record, sequence, tenure, lost: None }), None);
        Ok(Acquired::Ours(lease))
    }

    /// Writes another value in the place of our own; says who has the lease if that is not the one.
    async fn replace(&self, mine: &mut Mine, record: &Record) -> Result<Result<(), Option<Holder>>, Failure> {
        for _ in 0..ATTEMPTS {
            match self.write(mine.sequence, record).await {
                Ok(sequence) => {
                    mine.sequence = sequence;
                    return Ok(Ok(()));
                }
                Err(refused) if refused.is_wrong_last() => {}
                Err(failure) => return Err(failure),
            }
            let (last, found) = self.read().await?;
            let found = found.and_then(|found| found.record);
            match Stands::read(&mine.record, mine.sequence, last, found.as_ref()) {
                Stands::Ours => mine.sequence = last,
                Stands::Before => {
                    let reason = "the bucket's leader does not know of our value yet";
                    return Err(Failure::Strange(reason.into()));
                }
                Stands::Others(holder) => return Ok(Err(holder)),
            }
        }
        Err(Failure::Strange("the value changes all the time".into()))
    }
}

impl Ownership for JetStreamLease {
    fn acquire(&self, owner: &Owner) -> Result<Acquired, StorageError> {
        let mut state = self.state.lock();
        let taken = self.home.block_on(self.take(&mut state, owner));
        state.failed |= taken.is_err();
        taken.map_err(|failure| failed("the lease", "acquire", failure))
    }

    fn renew(&self) -> Result<Renewed, StorageError> {
        let mut state = self.state.lock();
        let Some(mine) = &mut state.mine else {
            return Err(not_owner("the lease", "there is none to renew"));
        };
        if let Some(lost) = &mine.lost {
            return Ok(Renewed::Lost(lost.clone()));
        }
        if mine.tenure.over().is_some() {
            // A log was found to be another server's already.
            return Ok(Renewed::Lost(None));
        }
        let record = mine.record.clone();
        let renewed = self.home.block_on(self.in_time(self.replace(mine, &record)));
        match renewed.map_err(|failure| failed("the lease", "renew", failure))? {
            Ok(()) => Ok(Renewed::Ours),
            Err(by) => {
                let reason = match &by {
                    Some(by) => title(by.epoch, &by.owner.address),
                    None => "another server has had the lease since, or somebody deleted it".into(),
                };
                self.home.end(&mine.tenure, &reason);
                mine.lost = Some(by.clone());
                Ok(Renewed::Lost(by))
            }
        }
    }

    fn release(&self) -> Result<(), StorageError> {
        let mut state = self.state.lock();
        let Some(mut mine) = state.mine.take() else { return Ok(()) };
        self.home.end(&mine.tenure, "the lease was given up");
        if mine.lost.is_some() {
            return Ok(());
        }
        let record = Record { released: true, ..mine.record.clone() };
        let released = self.home.block_on(self.in_time(self.replace(&mut mine, &record)));
        // Who has it now does not matter.
        released.map(drop).map_err(|failure| failed("the lease", "release", failure))
    }
}
