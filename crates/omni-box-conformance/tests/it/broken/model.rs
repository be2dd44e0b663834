//! The models, tested: each finds a store that differs from it, and passes the same store without the flaw.

use std::future::Future;
use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use omni_box_conformance::{InboxFixture, StoreFixture, model};
use omni_box_core::{DeliveryMode, QuarantinedMessage};

use super::store::{Fixture, Flaw};

/// A flaw by its type, as the models make their fixtures themselves.
trait Chosen: Send + Sync + 'static {
    const FLAW: Option<Flaw>;
}

macro_rules! chosen {
    ($($name:ident = $flaw:expr),+ $(,)?) => {$(
        struct $name;

        impl Chosen for $name {
            const FLAW: Option<Flaw> = $flaw;
        }
    )+};
}

chosen! {
    Sound = None,
    ForgetsFollowers = Some(Flaw::AReleaseForgetsFollowers),
    FetchesBeforeWhatIsClaimed = Some(Flaw::FetchesBeforeWhatIsClaimed),
    ReceivesTheCompletedAnew = Some(Flaw::ReceivesTheCompletedAnew),
}

struct Played<C>(Fixture, PhantomData<C>);

impl<C: Chosen> StoreFixture for Played<C> {
    type Store = <Fixture as StoreFixture>::Store;

    async fn create() -> Option<Self> {
        Some(Self(Fixture::new(C::FLAW), PhantomData))
    }

    async fn open(&self) -> Self::Store {
        self.0.open().await
    }

    async fn set_mode(&self, mode: DeliveryMode) {
        self.0.set_mode(mode).await;
    }

    async fn advance(&self, by: Duration) {
        self.0.advance(by).await;
    }
}

impl<C: Chosen> InboxFixture for Played<C> {
    async fn quarantined(&self) -> Vec<QuarantinedMessage> {
        self.0.quarantined().await
    }
}

async fn assert_finds(play: impl Future<Output = ()>) {
    let panic = AssertUnwindSafe(play).catch_unwind().await.expect_err("the model finds no difference");
    let text = panic.downcast_ref::<String>().expect("a model fails with a text");
    assert!(text.contains("differs from the model"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes() {
    model::lanes::<Played<Sound>>().await;
    assert_finds(model::lanes::<Played<ForgetsFollowers>>()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows() {
    model::rows::<Played<Sound>>().await;
    assert_finds(model::rows::<Played<FetchesBeforeWhatIsClaimed>>()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inbox() {
    model::inbox::<Played<Sound>>().await;
    assert_finds(model::inbox::<Played<ReceivesTheCompletedAnew>>()).await;
}
