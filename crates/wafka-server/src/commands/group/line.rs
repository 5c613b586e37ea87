//! A command's places in the lines of the groups it reads, one for each topic.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use wafka_broker::{Arrival, Call, Manner, Turn, WatchPoint};
use wafka_protocol::error_text::stream as text;

use super::read::Stream;
use super::xreadgroup::{GroupRead, Wanted};
use crate::command::CommandError;

/// See the module. Without places, everything is for the command to take: nobody waits.
#[derive(Default)]
pub(super) struct Line {
    places: Vec<Place>,
    /// The place of each key, by its index.
    of_key: Vec<Option<usize>>,
}

struct Place {
    point: Arc<WatchPoint>,
    turn: Turn,
    /// The look under way may take new events.
    may_take: bool,
    /// It left none.
    took_all: bool,
}

impl Line {
    /// Lines up for every key that new events are wanted of.
    pub(super) fn join(request: &GroupRead<'_>, streams: &[Stream<'_>], manner: Manner) -> Self {
        let arrival = Arrival::now();
        let mut line = Line::default();
        for stream in streams {
            let place = (stream.wanted == Wanted::New).then(|| {
                let point = stream.topic.watch_point();
                let known = line.places.iter().position(|place| Arc::ptr_eq(&place.point, point));
                known.unwrap_or_else(|| {
                    let turn = point.line_up(request.group, arrival, manner);
                    let point = Arc::clone(point);
                    line.places.push(Place { point, turn, may_take: false, took_all: false });
                    line.places.len() - 1
                })
            });
            line.of_key.push(place);
        }
        line
    }

    fn place(&mut self, key: usize) -> Option<&mut Place> {
        let place = self.of_key.get(key).copied().flatten()?;
        self.places.get_mut(place)
    }

    /// Begins a look.
    ///
    /// # Errors
    /// When a group is gone since the last one.
    pub(super) fn begin_look(&mut self, request: &GroupRead<'_>) -> Result<(), CommandError> {
        let mut gone = None;
        for (at, place) in self.places.iter_mut().enumerate() {
            let (call, is_first) = place.turn.begin_look();
            (place.may_take, place.took_all) = (is_first, false);
            if call == Some(Call::Gone) {
                gone = gone.or(Some(at));
            }
        }
        match gone.and_then(|place| self.of_key.iter().position(|of| *of == Some(place))) {
            Some(key) => Err(text::no_group_to_read(request.streams[key].0, request.group).into()),
            None => Ok(()),
        }
    }

    /// Whether new events of a key may be taken.
    pub(super) fn may_take(&mut self, key: usize) -> bool {
        self.place(key).is_none_or(|place| place.may_take)
    }

    /// Notes that no new event of a key is left.
    pub(super) fn took_all(&mut self, key: usize) {
        if let Some(place) = self.place(key) {
            place.took_all = true;
        }
    }

    /// The look found nothing: all places are kept.
    pub(super) fn found_nothing(&mut self) {
        for place in &mut self.places {
            place.turn.found_nothing();
        }
    }

    /// Gives up all places; whoever is next is called where something may be left.
    pub(super) fn leave(self) {
        for mut place in self.places {
            // Where others stand before it, what is left is theirs.
            if place.took_all || !place.may_take {
                place.turn.took_all();
            }
        }
    }

    /// Resolves when this command is called in one of its lines.
    pub(super) async fn called(&mut self) {
        poll_fn(|context| {
            let mut called = false;
            // All are polled, so that each knows whom to wake.
            for place in &mut self.places {
                called |= place.turn.poll_called(context).is_ready();
            }
            if called { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Resolves when this command is called in all of its lines.
    pub(super) async fn called_everywhere(&mut self) {
        for place in &mut self.places {
            poll_fn(|context| place.turn.poll_called(context)).await;
        }
    }
}
