//! What a suite needs of the store or broker that it tests.

use std::future::Future;
use std::ops::DerefMut;
use std::time::Duration;

use omni_box_core::{
    ConsumerGroup, DeliveryMode, EventConsumer, EventId, EventPublisher, QuarantinedMessage, Store,
};

/// Gives each test an empty store of its own.
pub trait StoreFixture: Send + Sync + Sized + 'static {
    /// The store under test.
    type Store: Store;

    /// Whether everybody who writes waits for an open transaction that has written, whatever it wrote.
    const SINGLE_WRITER: bool = false;

    /// Makes an empty store. `None`: a server it needs is not there, as the fixture has said on standard output.
    fn create() -> impl Future<Output = Option<Self>> + Send;

    /// A store on the same data, as another process would open it: two of them share nothing in memory that two processes could not.
    fn open(&self) -> impl Future<Output = Self::Store> + Send;

    /// Sets the table's delivery mode. A store that knows only one does nothing for it and panics for others.
    fn set_mode(&self, mode: DeliveryMode) -> impl Future<Output = ()> + Send;

    /// Moves the store's clock forward, for everyone who works on its data.
    fn advance(&self, by: Duration) -> impl Future<Output = ()> + Send;

    /// Waits until no call is under way whose future was dropped: what it was to do has happened, or never will. So many transactions
    /// are open meanwhile. A store whose calls end with their futures does nothing for it.
    fn quiet(&self, open_transactions: usize) -> impl Future<Output = ()> + Send {
        let _ = open_transactions;
        std::future::ready(())
    }
}

/// Stores of inbox events, whose quarantine a test must be able to look into.
pub trait InboxFixture: StoreFixture {
    /// What is in quarantine, in any order.
    fn quarantined(&self) -> impl Future<Output = Vec<QuarantinedMessage>> + Send;
}

/// Stores whose connections exist outside a transaction.
pub trait BareConnections: StoreFixture {
    /// A connection with no open transaction.
    fn bare(
        &self,
    ) -> impl Future<Output = Box<dyn DerefMut<Target = <Self::Store as Store>::Conn> + Send>> + Send;
}

/// Gives each test a broker to publish to, or topics of its own on a shared one.
pub trait PublisherFixture: Send + Sync + Sized + 'static {
    /// The publisher under test.
    type Publisher: EventPublisher;

    /// Makes the fixture. `None`: a server it needs is not there, as the fixture has said on standard output.
    fn create() -> impl Future<Output = Option<Self>> + Send;

    /// A new, empty topic.
    fn topic(&self) -> impl Future<Output = String> + Send;

    /// A publisher.
    fn publisher(&self) -> impl Future<Output = Self::Publisher> + Send;

    /// The events on a topic as a consumer outside of omni-box sees them, repeats included; those of one key in their order.
    fn read(&self, topic: &str) -> impl Future<Output = Vec<EventId>> + Send;
}

/// Brokers that a test can take away.
pub trait Outages: PublisherFixture {
    /// Takes the broker away from the publishers: what they send from now on does not arrive, and gets no answer or an error.
    fn cut(&self) -> impl Future<Output = ()> + Send;

    /// Gives it back.
    fn restore(&self) -> impl Future<Output = ()> + Send;
}

/// Gives each test a broker to consume from, or topics and groups of its own on a shared one.
pub trait ConsumerFixture: Send + Sync + Sized + 'static {
    /// The consumer under test.
    type Consumer: EventConsumer;

    /// Makes the fixture. `None`: a server it needs is not there, as the fixture has said on standard output.
    fn create() -> impl Future<Output = Option<Self>> + Send;

    /// A new, empty topic.
    fn topic(&self, partitions: i32) -> impl Future<Output = String> + Send;

    /// A name for a group that was not used before.
    fn group(&self) -> ConsumerGroup;

    /// A consumer of a topic, not started; each one is another member of the group. With a drain deadline of a few seconds, and at most 200
    /// messages ahead of the application, where these can be set. Cases wait for the one and exceed the other.
    fn consumer(&self, group: &ConsumerGroup, topic: &str) -> impl Future<Output = Self::Consumer> + Send;

    /// Appends a message to a partition, without any code under test.
    fn send(
        &self,
        topic: &str,
        partition: i32,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, &[u8])],
    ) -> impl Future<Output = ()> + Send;
}
