//! Backends that several servers reach: who owns the data is told across the boundary, and what cannot be is not believed.

mod lies;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use wafka_core::storage::{Acquired, Holder, Lease, Owner, Ownership, Renewed};
use wafka_plugin_abi::status;
use wafka_storage::SharedMemory;
use wafka_storage::conformance::ownership::{self, SharedHarness};

use super::*;

/// How long anything may take that should be quick.
const PATIENCE: Duration = Duration::from_secs(60);

type Answer = Box<dyn FnOnce() -> Result<Said, StorageError> + Send>;

/// What an author's ownership says.
enum Said {
    Acquired(Acquired),
    Renewed(Renewed),
    Released,
}

/// What the next backend to be opened with this number is.
enum Made {
    Server(SharedMemory),
    Scripted(VecDeque<Answer>),
}

static MADE: Mutex<Vec<Made>> = Mutex::new(Vec::new());

fn make(made: Made) -> usize {
    let mut all = MADE.lock();
    all.push(made);
    all.len() - 1
}

#[derive(serde::Deserialize)]
struct Number {
    number: usize,
}

/// A backend that has nothing but an owner.
struct Scripted(Arc<Mutex<VecDeque<Answer>>>);

impl Scripted {
    fn next(&self) -> Result<Said, StorageError> {
        let answer = self.0.lock().pop_front().expect("an answer is left");
        answer()
    }
}

impl Ownership for Scripted {
    fn acquire(&self, _: &Owner) -> Result<Acquired, StorageError> {
        let Said::Acquired(acquired) = self.next()? else { panic!("acquire was not expected") };
        Ok(acquired)
    }

    fn renew(&self) -> Result<Renewed, StorageError> {
        let Said::Renewed(renewed) = self.next()? else { panic!("renew was not expected") };
        Ok(renewed)
    }

    fn release(&self) -> Result<(), StorageError> {
        let Said::Released = self.next()? else { panic!("release was not expected") };
        Ok(())
    }
}

/// The backend in memory, with that owner.
struct Owned(wafka_storage::MemoryStorage, Option<Arc<Scripted>>);

impl Storage for Owned {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn ownership(&self) -> Option<Arc<dyn Ownership>> {
        match &self.1 {
            Some(scripted) => Some(Arc::clone(scripted) as Arc<dyn Ownership>),
            None => self.0.ownership(),
        }
    }

    fn list(&self) -> Result<Vec<LogName>, StorageError> {
        self.0.list()
    }

    fn create(&self, logs: &[LogName]) -> Result<(), StorageError> {
        self.0.create(logs)
    }

    fn shard(&self, broker: BrokerId) -> Result<Box<dyn Shard>, StorageError> {
        self.0.shard(broker)
    }

    fn delete(&self, logs: &[LogName]) -> Result<(), StorageError> {
        self.0.delete(logs)
    }
}

fn author(_: &Path, options: Number) -> Result<Owned, StorageError> {
    match &mut MADE.lock()[options.number] {
        Made::Server(memory) => Ok(Owned(memory.server().storage(), None)),
        Made::Scripted(answers) => {
            let answers = Arc::new(Mutex::new(std::mem::take(answers)));
            Ok(Owned(wafka_storage::MemoryStorage::new(), Some(Arc::new(Scripted(answers)))))
        }
    }
}

unsafe extern "C" fn open_author(
    config: *const StorageConfig,
    storage: *mut *mut c_void,
    error: *mut ErrorOut,
) -> u32 {
    // SAFETY: the arguments are the host's.
    unsafe { glue::open(config, storage, error, author) }
}

unsafe extern "C" fn check_author(config: *const StorageConfig, error: *mut ErrorOut) -> u32 {
    // SAFETY: the arguments are the host's.
    unsafe { glue::check(config, error, author) }
}

fn owned() -> StorageVtable {
    glue::vtable(open_author, check_author)
}

fn open_numbered(functions: StorageVtable, number: usize) -> Result<Arc<dyn Storage>, StorageError> {
    let options = Options::from_iter([("number".to_owned(), number.into())]);
    factory(functions).open(Path::new("/data"), &options)
}

/// An ownership that answers so, and what it belongs to.
fn answering(functions: StorageVtable, answers: Vec<Said>) -> (Arc<dyn Storage>, Arc<dyn Ownership>) {
    let answers = answers.into_iter().map(|said| Box::new(move || Ok(said)) as Answer).collect();
    let storage = open_numbered(functions, make(Made::Scripted(answers))).expect("it opens");
    let ownership = storage.ownership().expect("it has an ownership");
    (storage, ownership)
}

fn us() -> Owner {
    Owner { id: "us".to_owned(), address: "here:6379".to_owned() }
}

fn ours(epoch: u64, millis: u64) -> Said {
    Said::Acquired(Acquired::Ours(Lease { epoch, time_to_live: Duration::from_millis(millis) }))
}

fn holder(id: &str, address: &str, epoch: u64, millis: u64) -> Holder {
    let owner = Owner { id: id.to_owned(), address: address.to_owned() };
    Holder { owner, epoch, remaining: Duration::from_millis(millis) }
}

fn held(holder: Holder) -> Said {
    Said::Acquired(Acquired::HeldBy(holder))
}

fn lost(holder: Option<Holder>) -> Said {
    Said::Renewed(Renewed::Lost(holder))
}

/// Leases through the ABI, by a clock that stands still until it is told.
struct Through {
    number: usize,
    millis: Arc<AtomicU64>,
}

impl SharedHarness for Through {
    fn open(&mut self) -> Arc<dyn Storage> {
        open_numbered(owned(), self.number).expect("it opens")
    }

    fn now(&self) -> Duration {
        Duration::from_millis(self.millis.load(Ordering::Acquire))
    }

    fn wait(&mut self, time: Duration) {
        self.millis.fetch_add(time.as_millis() as u64, Ordering::AcqRel);
    }
}

#[test]
fn it_conforms() {
    ownership::run(&mut || {
        let millis = Arc::new(AtomicU64::new(0));
        let clock = Arc::clone(&millis);
        let now = move || Duration::from_millis(clock.load(Ordering::Acquire));
        let number = make(Made::Server(SharedMemory::new("shared", Duration::from_secs(3), now)));
        Box::new(Through { number, millis })
    });
}

#[test]
fn most_backends_have_none() {
    assert!(opened(&[]).ownership().is_none(), "the author's backend has none");
    // A plugin of version 1.0.
    let older = StorageVtable {
        ownership: None,
        acquire: None,
        renew: None,
        release: None,
        ownership_close: None,
        ..functions()
    };
    assert!(opened_with(older, &[]).ownership().is_none());
}

#[test]
fn what_is_said_arrives() {
    let other = holder("them", "there:6379", 8, 2999);
    let (_storage, ownership) = answering(
        owned(),
        vec![
            held(holder("first", "", 3, 0)),
            ours(4, 100),
            // Asked for again, as when the answer was lost.
            ours(4, 100),
            Said::Renewed(Renewed::Ours),
            Said::Released,
            ours(5, 3_600_000),
            lost(None),
            lost(Some(other.clone())),
            ours(9, 3000),
        ],
    );
    assert_eq!(ownership.acquire(&us()).unwrap(), Acquired::HeldBy(holder("first", "", 3, 0)));
    let lease = |epoch, millis| Acquired::Ours(Lease { epoch, time_to_live: Duration::from_millis(millis) });
    assert_eq!(ownership.acquire(&us()).unwrap(), lease(4, 100));
    assert_eq!(ownership.acquire(&us()).unwrap(), lease(4, 100));
    assert_eq!(ownership.renew().unwrap(), Renewed::Ours);
    ownership.release().unwrap();
    assert_eq!(ownership.acquire(&us()).unwrap(), lease(5, 3_600_000));
    assert_eq!(ownership.renew().unwrap(), Renewed::Lost(None));
    assert_eq!(ownership.renew().unwrap(), Renewed::Lost(Some(other)));
    assert_eq!(ownership.acquire(&us()).unwrap(), lease(9, 3000));
}

#[test]
fn errors_keep_their_meaning() {
    let errors: [fn() -> StorageError; 3] = [
        || StorageError::NotOwner { log: "lease".to_owned(), reason: "it never was".to_owned() },
        || StorageError::Io {
            log: "/elsewhere".to_owned(),
            operation: "ask",
            source: std::io::Error::other("no quorum"),
        },
        || StorageError::Unsupported { backend: "x".to_owned(), operation: "leases" },
    ];
    let answers = errors.into_iter().map(|error| Box::new(move || Err(error())) as Answer).collect();
    let storage = open_numbered(owned(), make(Made::Scripted(answers))).unwrap();
    let ownership = storage.ownership().unwrap();
    let texts = [
        ownership.renew().unwrap_err().to_string(),
        ownership.acquire(&us()).unwrap_err().to_string(),
        ownership.release().unwrap_err().to_string(),
    ];
    assert_eq!(texts[0], "/data: this server does not own the data: it never was");
    assert_eq!(texts[1], "/data: acquire: /elsewhere: ask: no quorum");
    assert_eq!(texts[2], "storage backend 'scripted' does not support release");
    let long = Owner { id: "x".repeat(257), ..us() };
    assert!(ownership.acquire(&long).unwrap_err().to_string().contains("257 bytes, expected 1 to 256"));
}

#[test]
fn after_a_panic_it_is_used_no_more() {
    type Act = fn(&dyn Ownership) -> Result<(), StorageError>;
    let acts: [Act; 3] = [
        |ownership| ownership.acquire(&us()).map(|_| ()),
        |ownership| ownership.renew().map(|_| ()),
        |ownership| ownership.release(),
    ];
    for act in acts {
        let answers = VecDeque::from([
            Box::new(|| -> Result<Said, StorageError> { panic!("scripted panic") }) as Answer,
        ]);
        let storage = open_numbered(owned(), make(Made::Scripted(answers))).unwrap();
        let ownership = storage.ownership().unwrap();
        assert_faulty(act(&*ownership), "panicked: scripted panic");
        for act in acts {
            assert_faulty(act(&*storage.ownership().unwrap()), "not used until the server starts again");
        }
        // The storage is another handle.
        storage.create(&[log("a-1")]).unwrap();
    }
}

#[test]
fn an_ownership_that_is_not_given_is_no_backend() {
    unsafe extern "C" fn fails(_: *mut c_void, _: *mut *mut c_void, _: *mut ErrorOut) -> u32 {
        status::PANICKED
    }
    let number = make(Made::Scripted(VecDeque::new()));
    let refused = open_numbered(StorageVtable { ownership: Some(fails), ..owned() }, number);
    assert_faulty(refused.map(|_| ()), "panicked");
}

/// Who asks for the lease may have to wait for the engine; the one that is there is renewed meanwhile.
#[test]
fn a_renewal_waits_for_nobody() {
    let (asked, is_asked) = mpsc::channel();
    let (renewed, is_renewed) = mpsc::channel::<()>();
    let first: Answer = Box::new(|| Ok(ours(1, 3000)));
    let second: Answer = Box::new(move || {
        asked.send(()).expect("the test waits");
        is_renewed.recv_timeout(PATIENCE).expect("it is renewed meanwhile");
        Ok(ours(2, 3000))
    });
    let third: Answer = Box::new(|| Ok(Said::Renewed(Renewed::Ours)));
    let number = make(Made::Scripted(VecDeque::from([first, second, third])));
    let ownership = open_numbered(owned(), number).unwrap().ownership().unwrap();
    ownership.acquire(&us()).unwrap();
    thread::scope(|scope| {
        let asking = scope.spawn(|| ownership.acquire(&us()));
        is_asked.recv_timeout(PATIENCE).unwrap();
        assert_eq!(ownership.renew().unwrap(), Renewed::Ours);
        renewed.send(()).unwrap();
        assert!(matches!(asking.join().unwrap(), Ok(Acquired::Ours(Lease { epoch: 2, .. }))));
    });
}

/// The storage may be dropped first: it is closed last.
#[test]
fn it_is_closed_once_and_before_its_storage() {
    static CLOSED: Mutex<Vec<&str>> = Mutex::new(Vec::new());
    unsafe extern "C" fn close(storage: *mut c_void) {
        CLOSED.lock().push("storage");
        // SAFETY: the argument is the host's.
        unsafe { owned().close.expect("it is there")(storage) };
    }
    unsafe extern "C" fn ownership_close(ownership: *mut c_void) {
        CLOSED.lock().push("ownership");
        // SAFETY: the argument is the host's.
        unsafe { owned().ownership_close.expect("it is there")(ownership) };
    }
    let functions = StorageVtable { close: Some(close), ownership_close: Some(ownership_close), ..owned() };
    let (storage, ownership) = answering(functions, vec![]);
    let again = storage.ownership();
    drop(storage);
    drop(ownership);
    assert_eq!(*CLOSED.lock(), [""; 0]);
    drop(again);
    assert_eq!(*CLOSED.lock(), ["ownership", "storage"]);
}
