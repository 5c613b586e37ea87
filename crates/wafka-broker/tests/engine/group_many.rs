//! Groups with a great many pending entries.

use std::sync::Arc;

use wafka_broker::{Delivered, GroupStart, IdSpec, PendingEntry, Topic, wait};
use wafka_core::EventId;
use wafka_storage::fs::SimFs;
use wafka_storage::text::CommitJournalUse;

use crate::groups::{ALL_PENDING, NOW};
use crate::support::{Bench, Home, accept};

/// Adds `count` events and delivers them to four consumers in turn, a thousand at a time.
fn with_pending(bench: &Bench, count: u64) -> (Arc<Topic>, Vec<EventId>) {
    let topic = bench.topic("t");
    let ticket = topic.create_group(b"g", GroupStart::Id(EventId::MIN), None).unwrap();
    bench.commit(&topic, ticket);
    let mut all = Vec::new();
    for at in 0..count {
        let id = IdSpec::Explicit(EventId::new(at / 50 + 1, at % 50));
        let appended = accept(&topic, id, None, &[b"f", b"v"], None).unwrap();
        all.push(appended.id);
        if (at + 1) % 1_000 == 0 || at + 1 == count {
            bench.engine().kick();
            wait(topic.committed(appended.ticket)).unwrap();
        }
    }
    for (turn, ids) in all.chunks(1_000).enumerate() {
        let consumer = [b"abcd"[turn % 4]];
        let position = topic.group_position(b"g", &consumer, NOW).unwrap();
        let now = NOW + turn as u64;
        let delivered = topic.deliver(b"g", &consumer, &position, ids, false, now).unwrap();
        let Delivered::Yes(ticket) = delivered else { panic!("nobody else reads") };
        bench.commit(&topic, ticket);
    }
    (topic, all)
}

fn fingerprint(topic: &Topic) -> Vec<PendingEntry> {
    topic.pending_range(b"g", &ALL_PENDING, NOW).unwrap()
}

#[test]
fn a_snapshot_of_many_lines_is_whole_or_nothing() {
    for seed in 0..4 {
        let mut bench = Bench::new(Home::Sim(SimFs::new()), 2)
            .with(|options| options.journal_snapshot_bytes = 60_000)
            .started();
        let (topic, all) = with_pending(&bench, 30_000);
        // Every second one is left: no two of them make a run.
        let odd: Vec<EventId> = all.iter().copied().step_by(2).collect();
        for some in odd.chunks(700) {
            let (acked, ticket) = topic.ack(b"g", some).unwrap();
            assert_eq!(acked, some.len() as u64);
            bench.commit(&topic, ticket);
        }
        let before = fingerprint(&topic);
        assert_eq!(before.len(), 15_000);
        drop(topic);
        bench.crash(seed);
        let journal = bench.content("t.journal.txt");
        let parts = journal.lines().filter(|line| line.contains(r#""record":{"type":"part""#)).count();
        assert!(parts >= 4, "{parts} lines");
        assert!(fingerprint(&bench.topic("t")) == before, "seed {seed}");
    }
}

/// Every line of a journal ends at a place where power may have gone.
#[test]
fn of_a_snapshot_that_was_cut_short_nothing_counts() {
    let mut bench =
        Bench::new(Home::Sim(SimFs::new()), 1).with(|options| options.journal_snapshot_bytes = 1 << 30);
    bench.commit_journal = CommitJournalUse::Never;
    let mut bench = bench.started();
    let (topic, all) = with_pending(&bench, 300);
    let (_, ticket) = topic.ack(b"g", &all[..100]).unwrap();
    bench.commit(&topic, ticket);
    let before = fingerprint(&topic);
    drop(topic);
    bench.stop();
    let told = bench.content("t.journal.txt");
    // The next start is asked for a snapshot with the next record, which it stands for.
    bench.options.journal_snapshot_bytes = 0;
    bench.start().unwrap();
    let topic = bench.topic("t");
    let (_, ticket) = topic.ack(b"g", &all[100..150]).unwrap();
    bench.commit(&topic, ticket);
    let after = fingerprint(&topic);
    drop(topic);
    bench.kill_only();
    // A rewrite may have dropped what stood before it.
    let whole = bench.content("t.journal.txt");
    let snapshot = whole.find(r#","record":{"type":"snapshot""#).unwrap();
    let snapshot = &whole[whole[..snapshot].rfind('\n').map_or(0, |at| at + 1)..];
    let ends: Vec<usize> = snapshot.match_indices('\n').map(|(at, _)| at + 1).collect();
    let lines = ends.len();
    assert!(lines >= 4, "{snapshot}");
    for (number, end) in ends.into_iter().enumerate() {
        let cut = format!("{told}{}", &snapshot[..end]);
        bench.put("t.journal.txt", cut.as_bytes());
        bench.options.journal_snapshot_bytes = 1 << 30;
        bench.start().unwrap();
        let topic = bench.topic("t");
        let expected = if number + 1 == lines { &after } else { &before };
        assert!(fingerprint(&topic) == *expected, "{} of {lines} lines", number + 1);
        // What comes behind it counts as ever.
        let (acked, ticket) = topic.ack(b"g", &all[200..201]).unwrap();
        assert_eq!(acked, 1);
        bench.commit(&topic, ticket);
        let count = topic.pending_summary(b"g").unwrap().count;
        drop(topic);
        bench.kill();
        assert_eq!(bench.topic("t").pending_summary(b"g").unwrap().count, count);
        bench.stop();
    }
}
