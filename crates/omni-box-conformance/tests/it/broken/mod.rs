//! The suites, tested: each flaw here fails the cases that are named beside it, and without the flaw the same cases pass.

mod consumer;
mod covered;
mod model;
mod publisher;
mod store;

use std::cell::RefCell;
use std::future::{poll_fn, ready};
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;
use std::task::Poll;

/// A table of flaws and the cases that find them, `Flaw => suite::case [type of event], ..;`: makes the enum, and a test for each flaw.
macro_rules! flaws {
    ($fixture:ty: $($(#[$doc:meta])* $flaw:ident => $($($path:ident)::+ $([$event:ty])?),+;)+) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(in crate::broken) enum Flaw {
            $($(#[$doc])* $flaw,)+
        }

        #[expect(non_snake_case, reason = "a test is named as its flaw")]
        mod found {
            use super::*;

            $(
                #[tokio::test(start_paused = true)]
                async fn $flaw() {
                    $($crate::broken::assert_finds(
                        stringify!($($path)::+),
                        || <$fixture>::new(None),
                        || <$fixture>::new(Some(Flaw::$flaw)),
                        omni_box_conformance::$($path)::+::<$fixture $(, $event)?>,
                    )
                    .await;)+
                }
            )+
        }
    };
}
use flaws;

/// Runs a case on what has no flaw, where it passes, and on what has one, where it fails.
async fn assert_finds<F, R>(
    case_name: &str,
    sound: impl FnOnce() -> F,
    broken: impl FnOnce() -> F,
    case: impl Fn(F) -> R,
) where
    R: Future<Output = ()>,
{
    if let Some(failure) = failure_of(sound(), &case).await {
        panic!("{case_name} fails although there is no flaw: {failure}");
    }
    let Some(failure) = failure_of(broken(), &case).await else {
        panic!("{case_name} passes although what it tests is broken");
    };
    println!("{case_name}: {failure}");
}

thread_local! {
    /// The panic of the case that runs in this thread; `None`: none runs.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Keeps panics of cases for who expects them, instead of printing them.
fn keep_panics_of_cases() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let default = take_hook();
        set_hook(Box::new(move |panic| {
            let is_expected =
                PANIC.with_borrow_mut(|kept| kept.as_mut().map(|kept| *kept = panic.to_string()).is_some());
            if !is_expected {
                default(panic);
            }
        }));
    });
}

/// Runs a case with the deadline of every case; how it failed, if it did.
async fn failure_of<F, R: Future<Output = ()>>(fixture: F, case: impl Fn(F) -> R) -> Option<String> {
    keep_panics_of_cases();
    let mut run = Box::pin(omni_box_conformance::check(|| ready(Some(fixture)), case));
    poll_fn(|context| {
        PANIC.set(Some(String::new()));
        let polled = catch_unwind(AssertUnwindSafe(|| run.as_mut().poll(context)));
        let panic = PANIC.take();
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(())) => Poll::Ready(None),
            Err(_) => Poll::Ready(panic),
        }
    })
    .await
}
