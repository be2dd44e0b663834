//! What a publisher has in flight.

use std::collections::VecDeque;

use omni_box_core::broker::Placed;
use omni_box_core::{Error, ErrorKind, EventId, FailureClass, Reporter, Result, SendOrder};

use super::State;
use crate::broker::NewMessage;

/// Events that were taken and are not delivered yet.
pub(in crate::broker) struct Queue {
    pub(in crate::broker) waiting: VecDeque<Waiting>,
    send_order: SendOrder,
    /// An event failed for a reason that is not its own: nothing behind it may be sent.
    pub(in crate::broker) is_broken: bool,
}

pub(in crate::broker) struct Waiting {
    pub(in crate::broker) id: EventId,
    pub(in crate::broker) message: NewMessage,
    pub(in crate::broker) reporter: Reporter,
}

impl Queue {
    pub(in crate::broker) fn new(send_order: SendOrder) -> Self {
        Self { waiting: VecDeque::new(), send_order, is_broken: false }
    }

    /// What is delivered next. Without a promise of order it is the last: a relay that relies on one shall notice.
    fn next(&mut self) -> Option<Waiting> {
        match self.send_order {
            SendOrder::Ordered => self.waiting.pop_front(),
            SendOrder::OnePerKey => self.waiting.pop_back(),
        }
    }

    /// Gives up everything that is not delivered.
    pub(in crate::broker) fn give_up(&mut self, why: &'static str) {
        for waiting in self.waiting.drain(..) {
            waiting.reporter.report(waiting.id, Err(Error::new(ErrorKind::Unavailable, why)));
        }
    }
}

impl State {
    /// Delivers what waits, unless the broker is away.
    pub(in crate::broker) fn deliver(&mut self) {
        let publishers: Vec<_> = self.queues.keys().copied().collect();
        for publisher in publishers {
            while !self.is_cut
                && let Some(waiting) = self.queues.get_mut(&publisher).and_then(Queue::next)
            {
                let Waiting { id, message, reporter } = waiting;
                let delivered = self.deliver_one(message);
                let is_own = delivered.as_ref().err().is_none_or(is_events_own);
                match delivered {
                    Ok(placed) => reporter.delivered(id, placed),
                    Err(error) => reporter.report(id, Err(error)),
                }
                if !is_own && let Some(queue) = self.queues.get_mut(&publisher) {
                    queue.is_broken = true;
                    queue.give_up("an event before this one was not delivered");
                }
            }
        }
    }

    fn deliver_one(&mut self, message: NewMessage) -> Result<Placed> {
        if let Some(kind) = self.failures.pop_front() {
            return Err(Error::new(kind, "delivery failed, as the test wants it"));
        }
        let (size, limit) = (message.size(), self.max_message_bytes);
        if size > limit {
            let error = format!("message takes {size} bytes, the broker takes {limit}");
            return Err(Error::new(ErrorKind::TooLarge, error));
        }
        self.append(message, None)
    }
}

fn is_events_own(error: &Error) -> bool {
    error.class() != FailureClass::Infrastructure || error.kind() == ErrorKind::TopicUnavailable
}
