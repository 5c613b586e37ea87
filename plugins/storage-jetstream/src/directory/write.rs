//! Writing records: as many at once as the servers take.

use bytes::Bytes;

use super::{Directory, Record, strange};
use crate::api::Failure;
use crate::tenure::Tenure;

impl Directory {
    /// Writes records, all or none if the servers take so many at once; returns the first one's sequence.
    pub(super) async fn write(
        &self,
        tenure: &Tenure,
        last: &mut u64,
        records: &[Record],
    ) -> Result<u64, Failure> {
        let (first, mut together, mut rest) = (*last + 1, records.len(), records);
        while !rest.is_empty() {
            let (some, others) = rest.split_at(together.min(rest.len()));
            match self.write_together(tenure, last, some).await {
                Ok(()) => rest = others,
                // What is half-made is known by its record: of many logs some may be there, and others not.
                Err(refused) if refused.is_batch_refused() && some.len() > 1 => together = some.len() / 2,
                Err(failure) => return Err(failure),
            }
        }
        Ok(first)
    }

    /// Writes records, all or none.
    async fn write_together(
        &self,
        tenure: &Tenure,
        last: &mut u64,
        records: &[Record],
    ) -> Result<(), Failure> {
        let mut messages = Vec::with_capacity(records.len());
        for record in records {
            let body = Bytes::from(serde_json::to_vec(record).map_err(strange)?);
            messages.push((self.subject(&record.log()), body));
        }
        let Some((subject, body)) = messages.last().cloned() else { return Ok(()) };
        let (first, count) = (*last + 1, messages.len() as u64);
        match self.api.publish_together(*last, messages).await {
            Ok(end) if end + 1 == first + count => {}
            Ok(end) => {
                let reason = format!("{count} records behind {last} of the names end at {end}");
                return Err(Failure::Strange(reason));
            }
            Err(refused) if refused.is_wrong_last() => {
                // It was sent again because its answer did not come: then it is there, perhaps with more behind it.
                let found = self.api.at(&self.stream(), first + count - 1).await?;
                if !found.is_some_and(|found| found.subject == subject && found.data == body) {
                    let Some(by) = self.taken_by(tenure).await? else { return Err(refused) };
                    tenure.end(&by);
                    return Err(Failure::Strange(by));
                }
            }
            Err(failure) => return Err(failure),
        }
        *last = first + count - 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use wafka_core::Database;
    use wafka_core::storage::LogName;

    use crate::directory::{Record, Stage};
    use crate::tests::cluster::Cluster;
    use crate::tests::prefix;

    /// By default the servers take a thousand at once.
    #[test]
    fn more_than_the_servers_take_at_once_is_written_in_parts() {
        let cluster = Cluster::start(1, true);
        let prefix = prefix();
        let storage = cluster.open(&prefix);
        let home = storage.home();
        let tenure = home.tenure("names").expect("it has the lease");
        let names = format!("{prefix}-names");
        let record = |at: usize| Record {
            database: 0,
            stem: format!("t-{at}"),
            stream: "none".into(),
            stage: Stage::Making,
            epoch: tenure.epoch,
        };
        home.block_on(async {
            let state =
                async || home.api().stream(&names).await.expect("an answer").expect("the names").state;
            let before = state().await.last_seq;
            let mut last = before;
            let records: Vec<Record> = (0..2500).map(record).collect();
            let first = home.directory.write(&tenure, &mut last, &records).await.expect("it is written");
            assert_eq!((first, last), (before + 1, before + 2500));
            assert_eq!(state().await.last_seq, last);
            for at in [0, 624, 625, 2499] {
                let subject = home.directory.subject(&LogName::new(Database(0), &format!("t-{at}")));
                let found = home.api().at(&names, first + at as u64).await.expect("an answer");
                assert_eq!(found.expect("the record").subject, subject);
            }
        });
    }
}
