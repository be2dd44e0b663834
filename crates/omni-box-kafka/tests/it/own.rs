//! A broker of the test's own.

use std::path::Path;

use omni_box_harness::services::local::KafkaServer;
use tempfile::TempDir;

/// A listener beside the one that every broker has.
pub(crate) struct Listener<'a> {
    pub(crate) protocol: &'a str,
    /// Where clients are sent; none: to the listener itself.
    pub(crate) advertised: Option<&'a str>,
    /// Lines of the broker's settings.
    pub(crate) settings: &'a str,
}

/// A broker with a second listener.
pub(crate) struct OwnBroker {
    pub(crate) server: KafkaServer,
    /// Address of the second listener.
    pub(crate) listener: String,
    pub(crate) dir: TempDir,
}

impl OwnBroker {
    pub(crate) async fn start(dir: TempDir, listener: Listener<'_>) -> Self {
        let mut server = KafkaServer::start(dir.path()).await.unwrap();
        server.stop().await.unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        add(&dir.path().join("data/server.properties"), &listener, &address);
        server.start_again().await.unwrap();
        Self { server, listener: address, dir }
    }
}

fn add(properties: &Path, listener: &Listener<'_>, address: &str) {
    let mut text = String::new();
    for line in std::fs::read_to_string(properties).unwrap().lines() {
        text.push_str(line);
        match line.split_once('=').unwrap().0 {
            "listeners" => text.push_str(&format!(",SECOND://{address}")),
            "advertised.listeners" => {
                text.push_str(&format!(",SECOND://{}", listener.advertised.unwrap_or(address)));
            }
            "listener.security.protocol.map" => text.push_str(&format!(",SECOND:{}", listener.protocol)),
            _ => {}
        }
        text.push('\n');
    }
    std::fs::write(properties, text + listener.settings).unwrap();
}
