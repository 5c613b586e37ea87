//! Plays a script on a server and writes down what it answers, and when.
//!
//! A *moment* is a command and all that it leads to: its own reply, if it does not block, and the replies to blocked
//! commands that it serves. The player does not send the next command before the moment is over. A server says in
//! `CLIENT LIST` who is blocked; that is the whole truth for Redis, which serves whom it serves before it answers anybody else.
//! A server with many threads may take a little longer to wake up a reader, so its moments are held open until the
//! replies that the reference gave have come, or patience is over.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::generate::KEYS;
use super::script::{Script, Step};
use super::value::Value;
use super::wire::Wire;

/// Between two looks at a server that does not say anything.
const LOOK_EVERY: Duration = Duration::from_micros(200);

/// A short time to live, in milliseconds, which is not over before the command that gives it, and when it is over.
const LIVES_MS: &str = "20";
const EXPIRED_AFTER: Duration = Duration::from_millis(22);

/// A reply.
#[derive(Clone, PartialEq, Debug)]
pub struct Answer {
    /// The index of the step that it answers; none for what a listener is told.
    pub step: Option<usize>,
    /// The reply.
    pub value: Value,
    /// It answers a command that was blocked.
    pub late: bool,
    /// Of an `EXEC`: the indices of the steps that it executed.
    pub executed: Vec<usize>,
}

/// What one step led to.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Moment {
    /// The step was left out: it would have run at the same time as others.
    pub skipped: bool,
    /// The replies that came, by connection, in their order there; the listener's come last.
    pub answers: Vec<Answer>,
}

/// What a script led to.
#[derive(Clone, Default, Debug)]
pub struct Transcript {
    /// The steps that were played: those of the script, then those that look at what it left.
    pub steps: Vec<Step>,
    /// What each led to.
    pub moments: Vec<Moment>,
    /// Why it ends early: the server broke off.
    pub broken: Option<String>,
    /// The server's time when it ended, in Unix milliseconds.
    pub ended_ms: i64,
}

/// A connection of the script.
struct Conn {
    wire: Wire,
    id: i64,
    /// The steps that are not answered.
    waiting: VecDeque<usize>,
    /// What it has queued since `MULTI`.
    queued: Vec<usize>,
}

struct Player<'a> {
    conns: Vec<Conn>,
    control: Wire,
    listener: Option<Wire>,
    guide: Option<(&'a Transcript, Duration)>,
    patience: Duration,
    pings: u64,
    /// When an id was last made of the time, in Unix milliseconds.
    stamped_ms: u128,
}

/// Plays a script on an emptied server. With the transcript of another server as a guide, each moment is held open
/// until as many replies have come as there, at most for the time given with it.
///
/// # Errors
/// When the server does not take connections, or its own connection fails.
pub fn play(
    addr: SocketAddr,
    script: &Script,
    guide: Option<(&Transcript, Duration)>,
    patience: Duration,
) -> io::Result<Transcript> {
    let mut player = Player::new(addr, script, guide, patience)?;
    let steps = [script.steps.clone(), epilogue(script.protocols.len())].concat();
    let mut transcript = Transcript { steps, ..Transcript::default() };
    for at in 0..transcript.steps.len() {
        match player.moment(at, &transcript.steps) {
            Ok(moment) => transcript.moments.push(moment),
            Err(error) => {
                transcript.broken = Some(error.to_string());
                break;
            }
        }
    }
    transcript.ended_ms = player.leave()?;
    Ok(transcript)
}

impl<'a> Player<'a> {
    fn new(
        addr: SocketAddr,
        script: &Script,
        guide: Option<(&'a Transcript, Duration)>,
        patience: Duration,
    ) -> io::Result<Self> {
        let mut control = Wire::connect(addr, patience)?;
        control.run("FLUSHALL")?;
        let mut conns = Vec::new();
        for protocol in script.protocols.iter().chain(&[3]) {
            let mut wire = Wire::connect(addr, patience)?;
            if *protocol == 3 {
                wire.run("HELLO 3")?;
            }
            let id = wire.run("CLIENT ID")?;
            let Value::Int(id) = id else { return Err(io::Error::other(format!("CLIENT ID: {id}"))) };
            conns.push(Conn { wire, id, waiting: VecDeque::new(), queued: Vec::new() });
        }
        let listener = if script.listens {
            control.run("CONFIG SET notify-keyspace-events KEAn")?;
            let mut listener = Wire::connect(addr, patience)?;
            listener.run("PSUBSCRIBE *")?;
            Some(listener)
        } else {
            None
        };
        Ok(Player { conns, control, listener, guide, patience, pings: 0, stamped_ms: 0 })
    }

    /// Plays a step. Those that may make an id of the time come in different milliseconds, so that all these ids differ
    /// and which of two is lower does not depend on the speed.
    fn moment(&mut self, at: usize, steps: &[Step]) -> io::Result<Moment> {
        let step = &steps[at];
        let stamps = step.args.iter().any(|arg| arg == b"*") || step.name() == "EXEC";
        while stamps && unix_ms() <= self.stamped_ms {
            std::thread::sleep(LOOK_EVERY);
        }
        let moment = self.play(at, steps)?;
        if stamps {
            self.stamped_ms = unix_ms();
        }
        Ok(moment)
    }

    fn play(&mut self, at: usize, steps: &[Step]) -> io::Result<Moment> {
        let step = &steps[at];
        let mut moment = Moment::default();
        if self.is_undetermined(step, steps) {
            moment.skipped = true;
            return Ok(moment);
        } else if let Some(key) = step.expiring_key() {
            self.let_expire(key)?;
        } else {
            let args: Vec<Vec<u8>> = step.args.iter().map(|arg| self.filled_in(arg)).collect();
            let conn = &mut self.conns[step.conn];
            conn.wire.send(&args)?;
            let answers_at_once = conn.waiting.is_empty() && !step.may_block();
            conn.waiting.push_back(at);
            if answers_at_once {
                let value = conn.wire.reply()?;
                moment.answers.push(conn.answer(value, steps));
            }
        }
        self.settle(at, steps, &mut moment)?;
        for answer in &mut moment.answers {
            answer.late = answer.step != Some(at);
        }
        moment.answers.sort_by_key(|answer| answer.step.map(|step| (step != at, step)));
        self.listen(at, &mut moment)?;
        Ok(moment)
    }

    /// Gives a key a short time to live, waits for its end, and has the server look at it: at the latest then
    /// it is gone.
    fn let_expire(&mut self, key: &[u8]) -> io::Result<()> {
        self.control.send(&[b"PEXPIRE", key, LIVES_MS.as_bytes()])?;
        self.control.reply()?;
        std::thread::sleep(EXPIRED_AFTER);
        self.control.send(&[b"EXISTS", key])?;
        match self.control.reply()? {
            Value::Int(0) => Ok(()),
            other => Err(io::Error::other(format!("a key whose time has come exists: {other}"))),
        }
    }

    /// Whether a command would run at the same time as others: what it leads to were a matter of chance. That is so when it is
    /// piped behind a blocked one, unless nobody else waits, and then for one command only.
    fn is_undetermined(&self, step: &Step, steps: &[Step]) -> bool {
        let matters = |at: &usize| !matches!(steps[*at].name().as_str(), "PING" | "ECHO");
        let piped = self.conns.iter().any(|conn| conn.waiting.iter().skip(1).any(matters));
        let expires = step.expiring_key().is_some();
        if expires || self.conns[step.conn].waiting.is_empty() {
            return (expires || step.may_block()) && piped;
        }
        let waiting = self.conns.iter().filter(|conn| !conn.waiting.is_empty()).count();
        // A listener would see the order of what they do.
        let alone = !piped && waiting == 1 && self.listener.is_none();
        step.has("BLOCK") || !matches!(step.name().as_str(), "PING" | "ECHO") && !alone
    }

    fn filled_in(&self, arg: &[u8]) -> Vec<u8> {
        let inner = arg.strip_prefix(b"<id:").and_then(|arg| arg.strip_suffix(b">"));
        let number = inner.and_then(|inner| std::str::from_utf8(inner).ok()?.parse::<usize>().ok());
        match number.and_then(|number| self.conns.get(number)) {
            Some(conn) => conn.id.to_string().into_bytes(),
            None => arg.to_vec(),
        }
    }

    /// Waits until everybody is answered or blocked.
    fn settle(&mut self, at: usize, steps: &[Step], moment: &mut Moment) -> io::Result<()> {
        let (expected, patience) = self.expected(at, |answer| answer.step.is_some());
        let (begin, until) = (Instant::now(), Instant::now() + self.patience);
        loop {
            let waiting: Vec<i64> =
                self.conns.iter().filter(|conn| !conn.waiting.is_empty()).map(|conn| conn.id).collect();
            if waiting.is_empty() {
                return Ok(());
            }
            let all_blocked = self.all_blocked(&waiting)?;
            let mut came = 0;
            for conn in &mut self.conns {
                while !conn.waiting.is_empty()
                    && let Some(value) = conn.wire.try_reply()?
                {
                    moment.answers.push(conn.answer(value, steps));
                    came += 1;
                }
            }
            if came > 0 {
                continue;
            }
            if all_blocked && (moment.answers.len() >= expected || begin.elapsed() > patience) {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(io::Error::other("neither a reply nor blocked"));
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// How many replies of a kind the guide had in this moment, and how long they may take.
    fn expected(&self, at: usize, kind: impl Fn(&Answer) -> bool) -> (usize, Duration) {
        let Some((guide, patience)) = self.guide else { return (0, Duration::ZERO) };
        let moment = guide.moments.get(at);
        let count = moment.map_or(0, |moment| moment.answers.iter().filter(|answer| kind(answer)).count());
        (count, patience)
    }

    /// Whether the server says of all these clients that they are blocked.
    fn all_blocked(&mut self, ids: &[i64]) -> io::Result<bool> {
        let mut command = vec!["CLIENT".to_owned(), "LIST".to_owned(), "ID".to_owned()];
        command.extend(ids.iter().map(i64::to_string));
        self.control.send(&command)?;
        let list = self.control.reply()?;
        let list = list.text().ok_or_else(|| io::Error::other(format!("CLIENT LIST: {list}")))?;
        let flags =
            list.lines().filter_map(|line| line.split(' ').find_map(|word| word.strip_prefix("flags=")));
        Ok(flags.filter(|flags| flags.contains('b')).count() == ids.len())
    }

    /// Takes what the listener was told: all that comes before the reply to a `PING`.
    fn listen(&mut self, at: usize, moment: &mut Moment) -> io::Result<()> {
        let (expected, patience) = self.expected(at, |answer| answer.step.is_none());
        let Some(listener) = &mut self.listener else { return Ok(()) };
        let begin = Instant::now();
        let mut heard = 0;
        loop {
            self.pings += 1;
            let mark = format!("ping-{}", self.pings);
            listener.send(&["PING", &mark])?;
            loop {
                let value = listener.reply()?;
                let elements = value.elements().unwrap_or_default();
                if elements.first().and_then(Value::text) == Some("pong") {
                    break;
                }
                heard += 1;
                moment.answers.push(Answer { step: None, value, late: false, executed: Vec::new() });
            }
            if heard >= expected || begin.elapsed() > patience {
                return Ok(());
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Ends what may still run, so that it does not meddle with the next script. Returns the server's time.
    fn leave(mut self) -> io::Result<i64> {
        for conn in &self.conns {
            if !conn.waiting.is_empty() {
                self.control.run(&format!("CLIENT KILL ID {}", conn.id))?;
            }
        }
        if self.listener.is_some() {
            self.control.send(&["CONFIG", "SET", "notify-keyspace-events", ""])?;
            self.control.reply()?;
        }
        Ok(i64::try_from(unix_ms()).unwrap_or(i64::MAX))
    }
}

fn unix_ms() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis())
}

impl Conn {
    /// What a reply on this connection answers.
    fn answer(&mut self, value: Value, steps: &[Step]) -> Answer {
        let step = self.waiting.pop_front();
        let mut executed = Vec::new();
        let name = step.map(|step| steps[step].name()).unwrap_or_default();
        match (&value, name.as_str()) {
            (Value::Status(text), _) if text == "QUEUED" => self.queued.extend(step),
            (_, "EXEC") => executed = std::mem::take(&mut self.queued),
            (_, "DISCARD" | "RESET") => self.queued.clear(),
            _ => {}
        }
        Answer { step, value, late: false, executed }
    }
}

/// The commands with which the player ends: who still waits is sent away, and what is there is looked at.
fn epilogue(inspector: usize) -> Vec<Step> {
    let unblock = (0..inspector).map(|conn| format!("CLIENT UNBLOCK <id:{conn}> TIMEOUT"));
    let look = KEYS.iter().flat_map(|key| {
        [format!("EXISTS {key}"), format!("XINFO STREAM {key} FULL COUNT 0"), format!("PTTL {key}")]
    });
    let other = look.clone();
    let head = unblock.chain(["KEYS *".to_owned()]);
    let all = head.chain(look).chain(["SELECT 1", "KEYS *"].map(str::to_owned)).chain(other);
    all.map(|words| Step::new(inspector, &words)).collect()
}
