//! Many scripts, one after the other.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::compare::{Comparison, Divergence, Subject, compare};
use super::generate::{Scope, script};
use super::player::play;
use super::reference::Version;
use super::script::Script;
use super::shrink::shrink;

/// How long a shorter script may keep the player waiting for a reply that the reference gave.
const SHRINK_PATIENCE: Duration = Duration::from_millis(500);

/// How often a script that showed a difference is played again.
const REPEATS: usize = 3;

/// Two servers.
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    /// Where the reference listens.
    pub reference: SocketAddr,
    /// Which Redis it is.
    pub version: Version,
    /// Where the subject listens.
    pub subject: SocketAddr,
    /// What the subject is.
    pub kind: Subject,
    /// How long a reply may take.
    pub patience: Duration,
    /// How long the subject may take to wake up a blocked reader that the reference has woken up.
    pub wake_patience: Duration,
}

/// What was played, and what was accepted.
#[derive(Clone, Default, Debug)]
pub struct Tally {
    /// Scripts played.
    pub scripts: usize,
    /// Commands sent to each of the two.
    pub commands: usize,
    /// Replies compared.
    pub replies: usize,
    /// Differences found.
    pub findings: usize,
    /// How often each rule explained a difference.
    pub accepted: BTreeMap<&'static str, usize>,
}

/// A difference, and the shortest script that shows it.
#[derive(Debug)]
pub struct Finding {
    /// The number of the script it was found with.
    pub seed: u64,
    /// The shortest script.
    pub script: Script,
    /// Where they part in it.
    pub divergence: Divergence,
    /// In how many of some repetitions the original script showed a difference again.
    pub repeated: (usize, usize),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (again, of) = self.repeated;
        writeln!(f, "seed {} (seen again in {again} of {of} repetitions)", self.seed)?;
        write!(f, "{}they part at {}", self.script, self.divergence)
    }
}

impl Pair {
    /// Plays a script on both and compares.
    ///
    /// # Errors
    /// When a server does not take connections.
    pub fn compare(&self, script: &Script) -> io::Result<Comparison> {
        let expected = play(self.reference, script, None, self.patience)?;
        let guide = Some((&expected, self.wake_patience));
        let found = play(self.subject, script, guide, self.patience)?;
        Ok(compare(self.version, &expected, self.kind, &found))
    }

    /// Plays the script of this number, and shrinks it if it shows a difference.
    ///
    /// # Errors
    /// When a server does not take connections.
    pub fn run(&self, seed: u64, limits: &Limits, tally: &mut Tally) -> io::Result<Option<Finding>> {
        let mut script = script(seed, Scope { version: self.version, steps: limits.steps });
        script.steps.retain(|step| !limits.without.iter().any(|word| step.has(word)));
        tally.scripts += 1;
        tally.commands += script.steps.len();
        let comparison = self.compare(&script)?;
        tally.replies += comparison.replies;
        for rule in comparison.accepted {
            *tally.accepted.entry(rule).or_default() += 1;
        }
        let Some(divergence) = comparison.divergence else { return Ok(None) };
        Ok(Some(self.finding(seed, script, divergence)))
    }

    fn finding(&self, seed: u64, script: Script, divergence: Divergence) -> Finding {
        let hasty = Pair { wake_patience: SHRINK_PATIENCE.min(self.wake_patience), ..*self };
        let differs =
            |script: &Script| hasty.compare(script).ok().and_then(|comparison| comparison.divergence);
        let again = (0..REPEATS).filter(|_| differs(&script).is_some()).count();
        let repeated = (again, REPEATS);
        if again == 0 {
            return Finding { seed, script, divergence, repeated };
        }
        let shortest = shrink(script, |script| differs(script).is_some());
        let divergence = differs(&shortest).unwrap_or(divergence);
        Finding { seed, script: shortest, divergence, repeated }
    }

    /// Plays scripts of rising numbers until the time is up, or so many commands are played, or there are differences
    /// enough; tells of each as it is found.
    ///
    /// # Errors
    /// When a server does not take connections.
    pub fn campaign(&self, limits: &Limits, mut found: impl FnMut(&Finding)) -> io::Result<Tally> {
        let begin = Instant::now();
        let mut tally = Tally::default();
        let mut seed = limits.first_seed;
        while tally.commands < limits.commands
            && begin.elapsed() < limits.time
            && tally.findings < limits.findings
        {
            if let Some(finding) = self.run(seed, limits, &mut tally)? {
                tally.findings += 1;
                found(&finding);
            }
            seed += 1;
        }
        Ok(tally)
    }
}

/// When a campaign ends.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The number of its first script.
    pub first_seed: u64,
    /// Commands of a script.
    pub steps: usize,
    /// Commands of all scripts.
    pub commands: usize,
    /// Time.
    pub time: Duration,
    /// Differences found.
    pub findings: usize,
    /// Words whose commands are left out.
    pub without: Vec<String>,
}
