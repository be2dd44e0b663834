//! Plays sequences, and makes one that fails as short as it still fails.

use std::cell::{Cell, RefCell};
use std::fmt::{Debug, Write as _};
use std::rc::Rc;
use std::str::FromStr;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use tokio::runtime::Handle;
use tokio::task::block_in_place;
use tokio::time::timeout;

use super::call::Checked;
use super::clock::SLOW;

/// After so many cases a store is replaced by an empty one: its clock must not leave what a schedule may be.
const CASES_A_STORE: u32 = 200;

/// Longer than any case takes.
const LIMIT: Duration = Duration::from_secs(60);

/// Where cases are played, one after the other: each leaves it as it found it.
pub(super) trait Ground: Sized {
    /// A step.
    type Operation: Debug;

    /// How many cases are played unless the environment says otherwise: a second or two on a database.
    const CASES: u32;

    /// Steps of a case.
    const LENGTH: std::ops::Range<usize>;

    /// `None`: a server is missing, or the store does not offer what is tested.
    async fn prepare() -> Option<Self>;

    /// Steps as they may come.
    fn operations() -> impl Strategy<Value = Self::Operation>;

    /// Plays a case.
    async fn play(&mut self, operations: &[Self::Operation], trace: &Trace) -> Checked;
}

/// What happened in a case, step by step.
#[derive(Debug, Clone, Default)]
pub(super) struct Trace(Rc<RefCell<Vec<String>>>);

impl Trace {
    pub(super) fn note(&self, what: String) {
        self.0.borrow_mut().push(what);
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (number, line) in self.0.borrow().iter().enumerate() {
            let _ = write!(text, "\n{:>4}  {line}", number + 1);
        }
        text
    }
}

pub(super) async fn run<G: Ground>(name: &str) {
    let Some(ground) = G::prepare().await else { return };
    let seed: u64 = setting("OMNI_BOX_MODEL_SEED").unwrap_or(1);
    let config = Config {
        cases: setting("OMNI_BOX_MODEL_CASES").unwrap_or(G::CASES),
        failure_persistence: None,
        max_shrink_iters: 2_000,
        max_shrink_time: 90_000,
        ..Config::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let kept = Kept { ground: RefCell::new(Some(ground)), cases: Cell::new(0) };
    // a sequence is played from beginning to end by one thread, and this one may block
    let outcome =
        block_in_place(|| runner.run(&vec(G::operations(), G::LENGTH), |operations| kept.play(&operations)));
    match outcome {
        Ok(()) => {}
        Err(TestError::Abort(reason)) => panic!("{name}: {reason}"),
        Err(TestError::Fail(reason, operations)) => {
            let steps: String = operations.iter().map(|step| format!("\n      {step:?}")).collect();
            panic!(
                "the store differs from the model ({name}, OMNI_BOX_MODEL_SEED={seed}). The shortest sequence that shows it:{reason}\n\
                 as it was generated:{steps}"
            )
        }
    }
}

fn setting<T: FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    match text.parse() {
        Ok(value) => Some(value),
        Err(_) => panic!("{name} is {text:?}: a number was expected"),
    }
}

/// The ground that is kept from case to case, as stores on a server take a while to make.
struct Kept<G> {
    ground: RefCell<Option<G>>,
    cases: Cell<u32>,
}

impl<G: Ground> Kept<G> {
    fn play(&self, operations: &[G::Operation]) -> Checked {
        let runtime = Handle::current();
        let kept = self.ground.take();
        let mut ground = kept.unwrap_or_else(|| {
            self.cases.set(0);
            runtime.block_on(G::prepare()).expect("a store could be made before, so it can be made again")
        });
        let trace = Trace::default();
        let began = Instant::now();
        let outcome =
            runtime.block_on(async { timeout(LIMIT, Box::pin(ground.play(operations, &trace))).await });
        if std::env::var_os("OMNI_BOX_MODEL_TRACE").is_some() {
            println!("a case:{}", trace.text());
        }
        let fail = |reason: String| Err(TestCaseError::fail(format!("{}\n{reason}\n", trace.text())));
        match outcome {
            Ok(Ok(())) => {
                self.cases.set(self.cases.get() + 1);
                if self.cases.get() < CASES_A_STORE {
                    self.ground.replace(Some(ground));
                }
                Ok(())
            }
            _ if began.elapsed() > SLOW && began.elapsed() < LIMIT => {
                Err(TestCaseError::reject("the machine was so slow that the store's clock ran away"))
            }
            // what it left behind would be found by the next case, so its ground is not used again
            Ok(Err(TestCaseError::Fail(reason))) => fail(reason.to_string()),
            Ok(Err(rejected)) => Err(rejected),
            Err(_) => fail(format!(
                "this has not ended within {} s: something waits that should not",
                LIMIT.as_secs()
            )),
        }
    }
}
