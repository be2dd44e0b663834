//! Wake-ups.

use async_trait::async_trait;
use omni_box_core::{DeliveryMode, OrderedLanes, OutboxRepository, Result, Wakeup};

use super::Broken;
use super::flaw::Flaw;

impl<S: OutboxRepository> OutboxRepository for Broken<S> {
    async fn delivery_mode(&self) -> Result<DeliveryMode> {
        let mode = self.inner.delivery_mode().await?;
        Ok(match (self.flaw, mode) {
            (Some(Flaw::TellsAnotherMode), DeliveryMode::Lanes) => DeliveryMode::Rows,
            (Some(Flaw::TellsAnotherMode), _) => DeliveryMode::Lanes,
            (_, mode) => mode,
        })
    }

    fn lanes(&self) -> Option<&dyn OrderedLanes> {
        Some(self)
    }

    fn wakeup(&self) -> Option<Box<dyn Wakeup>> {
        match self.flaw {
            Some(Flaw::NeverWakes) => Some(Box::new(Never)),
            Some(Flaw::ForgetsWakeUps) => Some(Box::new(Forgetful(self.inner.clone()))),
            _ => self.inner.wakeup(),
        }
    }
}

struct Never;

#[async_trait]
impl Wakeup for Never {
    async fn wait(&mut self) {
        std::future::pending().await
    }
}

/// Listens during a wait, and not between.
struct Forgetful<S>(S);

#[async_trait]
impl<S: OutboxRepository> Wakeup for Forgetful<S> {
    async fn wait(&mut self) {
        let mut wakeup = self.0.wakeup().unwrap();
        wakeup.wait().await;
    }
}
