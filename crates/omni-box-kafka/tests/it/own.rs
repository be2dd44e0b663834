//! A broker of the test's own.

use omni_box_harness::services::local::{KafkaServer, Listener};
use tempfile::TempDir;

/// A broker with a second listener.
pub(crate) struct OwnBroker {
    pub(crate) server: KafkaServer,
    /// Address of the second listener.
    pub(crate) listener: String,
    pub(crate) dir: TempDir,
}

impl OwnBroker {
    pub(crate) async fn start(dir: TempDir, listener: &Listener<'_>) -> Self {
        let server = KafkaServer::start_with(dir.path(), listener).await.unwrap();
        Self { server, listener: listener.address().to_string(), dir }
    }
}
