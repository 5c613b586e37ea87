//! Many lines with one request: *direct get*, which any replica of a stream answers from what it holds.
//!
//! A replica may be behind: it leaves out what was just acknowledged, and may still have what was just removed. So what comes
//! is a beginning: [`crate::reader`] takes lines as long as their sequences follow each other, and asks the stream's
//! leader for everything else.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_nats::{Client, Message, StatusCode};
use bytes::Bytes;
use futures_util::StreamExt as _;
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::api::Stored;

/// Asks for many messages at once.
pub(crate) struct Direct {
    client: Client,
    /// Where answers come: what is behind it says whose they are.
    inbox: String,
    next: AtomicU64,
    waiting: Arc<Mutex<HashMap<u64, Waiting>>>,
    /// What gets lost on its way.
    #[cfg(test)]
    pub losing: Arc<crate::tests::Losing>,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub sequence: u64,
    /// So many messages at most.
    pub count: u64,
    /// The answer ends with the message that exceeds this, headers included.
    pub bytes_max: u64,
}

/// An answer that is coming in.
struct Waiting {
    messages: Vec<Message>,
    /// More than were asked for are not kept.
    count: usize,
    done: oneshot::Sender<Answer>,
}

/// What came.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    messages: Vec<Message>,
    /// Whether it came to its end.
    pub is_whole: bool,
}

/// Takes back a request that nobody waits for any longer.
struct Asked<'a>(&'a Direct, u64);

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.0.waiting.lock().remove(&self.1);
    }
}

impl Direct {
    /// Begins to take in answers.
    pub(crate) async fn listen(client: &Client) -> Result<Self, async_nats::SubscribeError> {
        let inbox = client.new_inbox();
        let mut answers = client.subscribe(format!("{inbox}.*")).await?;
        let waiting: Arc<Mutex<HashMap<u64, Waiting>>> = Arc::default();
        let (requests, skip) = (Arc::clone(&waiting), inbox.len() + 1);
        #[cfg(test)]
        let losing: Arc<crate::tests::Losing> = Arc::default();
        #[cfg(test)]
        let lost = Arc::clone(&losing);
        tokio::spawn(async move {
            while let Some(answer) = answers.next().await {
                #[cfg(test)]
                if lost.takes(&answer) {
                    continue;
                }
                let token = answer.subject.get(skip..).and_then(|token| u64::from_str_radix(token, 16).ok());
                if let Some(token) = token {
                    take_in(&mut requests.lock(), token, answer);
                }
            }
        });
        Ok(Direct {
            client: client.clone(),
            inbox,
            next: AtomicU64::new(0),
            waiting,
            #[cfg(test)]
            losing,
        })
    }

    /// The messages of `stream` from a sequence on, as some replica has them. When nobody answers in time, or the answer
    /// stops on its way, it is what came until then.
    pub(crate) async fn get(&self, stream: &str, wanted: Wanted, deadline: Instant) -> Answer {
        let token = self.next.fetch_add(1, Ordering::Relaxed);
        let (done, came) = oneshot::channel();
        let count = usize::try_from(wanted.count).unwrap_or(usize::MAX);
        self.waiting.lock().insert(token, Waiting { messages: Vec::new(), count, done });
        let asked = Asked(self, token);
        let body = json!({
            "seq": wanted.sequence,
            // Without this the first one must be there.
            "next_by_subj": ">",
            "batch": wanted.count,
            "max_bytes": wanted.bytes_max,
        });
        let reply = format!("{}.{token:x}", self.inbox);
        let subject = format!("$JS.API.DIRECT.GET.{stream}");
        let whole = async {
            let body = Bytes::from(body.to_string().into_bytes());
            self.client.publish_with_reply(subject, reply, body).await.ok()?;
            came.await.ok()
        };
        match timeout_at(deadline, whole).await {
            Ok(Some(answer)) => answer,
            // The connection is gone, or something on the way is slow: the leader is asked next.
            _ => {
                let begun = asked.0.waiting.lock().remove(&token);
                Answer { messages: begun.map(|begun| begun.messages).unwrap_or_default(), is_whole: false }
            }
        }
    }
}

/// Takes in a message of the answer to request `token`.
fn take_in(requests: &mut HashMap<u64, Waiting>, token: u64, message: Message) {
    let is_whole = message.status != Some(StatusCode::NO_RESPONDERS);
    let Some(waiting) = requests.get_mut(&token) else { return };
    let is_end = message.status.is_some();
    let is_too_many = waiting.messages.len() == waiting.count;
    if !is_end && !is_too_many {
        waiting.messages.push(message);
        return;
    }
    if let Some(Waiting { messages, done, .. }) = requests.remove(&token) {
        // Whoever asked may have given up.
        let _late = done.send(Answer { messages, is_whole });
    }
}

impl Answer {
    /// The messages that came, up to the first that does not say what it is.
    pub(crate) fn stored(self) -> impl Iterator<Item = Stored> {
        self.messages.into_iter().map_while(|message| {
            let headers = message.headers.as_ref()?;
            let sequence = headers.get("Nats-Sequence")?.as_str().parse().ok()?;
            let subject = headers.get("Nats-Subject")?.as_str().to_owned();
            Some(Stored { sequence, subject, time: String::new(), data: message.payload })
        })
    }
}
