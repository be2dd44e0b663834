//! One connection through a proxy.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;

use super::state::State;

/// Bytes that are read at once.
const CHUNK: usize = 64 * 1024;

/// A connection, counted as open until it is dropped.
pub(super) struct Connection {
    number: u64,
    state: watch::Sender<State>,
}

impl Connection {
    pub(super) fn begin(state: &watch::Sender<State>) -> Self {
        let mut number = 0;
        state.send_modify(|state| number = state.begin());
        Self { number, state: state.clone() }
    }

    /// Passes bytes on in both directions until both sides have closed theirs, one fails, or the connection is cut.
    pub(super) async fn serve(&self, mut client: TcpStream, server: &str) -> io::Result<()> {
        let mut told = self.state.subscribe();
        let served = async {
            // a frozen host accepts, by its kernel, and is silent
            self.thawed().await;
            let mut server = TcpStream::connect(server).await?;
            client.set_nodelay(true)?;
            server.set_nodelay(true)?;
            let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
            tokio::try_join!(self.pass_on(from_client, to_server), self.pass_on(from_server, to_client))?;
            Ok(())
        };
        tokio::select! {
            served = served => served,
            _ = told.wait_for(|state| state.is_cut(self.number)) => Ok(()),
        }
    }

    async fn pass_on(&self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> io::Result<()> {
        let mut bytes = vec![0; CHUNK];
        loop {
            let read = from.read(&mut bytes).await?;
            let delay = self.state.borrow().delay;
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            self.thawed().await;
            if read == 0 {
                return to.shutdown().await;
            }
            to.write_all(&bytes[..read]).await?;
        }
    }

    /// Waits until it may pass bytes on.
    async fn thawed(&self) {
        // its sender is here, so it cannot be closed
        let _ = self.state.subscribe().wait_for(|state| !state.is_frozen(self.number)).await;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.state.send_modify(|state| state.end(self.number));
    }
}
