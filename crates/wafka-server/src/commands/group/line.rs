//! A command's places in the lines of the groups it reads, one for each topic.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use wafka_broker::{Arrival, Call, Turn, WatchPoint};
use wafka_core::EventId;
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
    /// Up to which id the look under way may take new events; `None` when they are for others.
    share: Option<EventId>,
    /// It left none.
    took_all: bool,
}

impl Line {
    /// Asks to pass those who wait, for every key that new events are wanted of.
    pub(super) fn pass(request: &GroupRead<'_>, streams: &[Stream<'_>]) -> Self {
        let arrival = Arrival::now();
        let mut line = Line::default();
        for stream in streams {
            let place = (stream.wanted == Wanted::New).then(|| {
                let point = stream.topic.watch_point();
                let known = line.places.iter().position(|place| Arc::ptr_eq(&place.point, point));
                known.unwrap_or_else(|| {
                    // Looked at first: what is there now is offered to those who wait before this command may pass.
                    let share = Some(stream.topic.visible_id());
                    let turn = point.pass(request.group, arrival);
                    line.places.push(Place { point: Arc::clone(point), turn, share, took_all: false });
                    line.places.len() - 1
                })
            });
            line.of_key.push(place);
        }
        line
    }

    /// Goes over from passing to waiting, and begins a look. `claims` is for a command that looks for pending events too.
    ///
    /// # Errors
    /// When a group is gone already.
    pub(super) fn line_up(&mut self, request: &GroupRead<'_>, claims: bool) -> Result<(), CommandError> {
        self.begin(request, |turn| turn.line_up(claims))
    }

    /// Begins a look.
    ///
    /// # Errors
    /// When a group is gone since the last one.
    pub(super) fn begin_look(&mut self, request: &GroupRead<'_>) -> Result<(), CommandError> {
        self.begin(request, Turn::begin_look)
    }

    fn begin(
        &mut self,
        request: &GroupRead<'_>,
        look: impl Fn(&mut Turn) -> (Option<Call>, bool),
    ) -> Result<(), CommandError> {
        let mut gone = None;
        for (at, place) in self.places.iter_mut().enumerate() {
            let (call, is_first) = look(&mut place.turn);
            (place.share, place.took_all) = (is_first.then_some(EventId::MAX), false);
            if call == Some(Call::Gone) {
                gone = gone.or(Some(at));
            }
        }
        match gone.and_then(|place| self.of_key.iter().position(|of| *of == Some(place))) {
            Some(key) => Err(text::no_group_to_read(request.streams[key].0, request.group).into()),
            None => Ok(()),
        }
    }

    fn place(&mut self, key: usize) -> Option<&mut Place> {
        let place = self.of_key.get(key).copied().flatten()?;
        self.places.get_mut(place)
    }

    /// Up to which id new events of a key may be taken; `None` when they are for others.
    pub(super) fn share(&mut self, key: usize) -> Option<EventId> {
        self.place(key).map_or(Some(EventId::MAX), |place| place.share)
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
            place.turn.end_look();
        }
    }

    /// Gives up all places; whoever is next is called where something may be left.
    pub(super) fn leave(self) {
        for mut place in self.places {
            // Where others stand before it, what is left is theirs.
            if place.took_all || place.share.is_none() {
                place.turn.end_look();
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

    /// Resolves when this command may pass everywhere.
    pub(super) async fn may_pass(&mut self) {
        for place in &mut self.places {
            poll_fn(|context| place.turn.poll_called(context)).await;
        }
    }
}
