//! A TCP proxy between a program and its server, with the faults of a network.

mod connection;
mod state;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use connection::Connection;
use state::{NewConnections, State};

/// Stands between a program and a server (PostgreSQL, Kafka, anything over TCP), and listens on the loopback interface. It does what
/// networks do to connections: delays them, cuts them, or lets them fall silent while later ones work, as after a failover.
///
/// Each connection to the proxy is a connection to the server. A test gives the program the proxy's [`address`](Self::address) in place of
/// the server's. The proxy ends with its last owner, and its connections with it.
///
/// Calls take effect for what arrives at the proxy afterwards; bytes that it has read already may still be passed on.
///
/// # Examples
/// A database host that vanishes, and another that takes its address:
///
/// ```
/// use omni_box_testkit::TcpProxy;
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
/// use tokio::net::{TcpListener, TcpStream};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// # let server = TcpListener::bind("127.0.0.1:0").await?;
/// # let server_address = server.local_addr()?.to_string();
/// # tokio::spawn(async move {
/// #     while let Ok((mut socket, _)) = server.accept().await {
/// #         tokio::spawn(async move {
/// #             let (mut read, mut write) = socket.split();
/// #             tokio::io::copy(&mut read, &mut write).await
/// #         });
/// #     }
/// # });
/// // the server: here it echoes
/// let proxy = TcpProxy::start(server_address).await?;
/// let mut before = TcpStream::connect(proxy.address()).await?;
/// before.write_all(b"hello").await?;
/// let mut answer = [0; 5];
/// before.read_exact(&mut answer).await?;
///
/// // what was connected hears nothing any more, not even that it is closed
/// proxy.freeze();
/// before.write_all(b"hello").await?;
///
/// // who connects anew is served
/// let mut after = TcpStream::connect(proxy.address()).await?;
/// after.write_all(b"hello").await?;
/// after.read_exact(&mut answer).await?;
/// assert_eq!(&answer, b"hello");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct TcpProxy {
    address: SocketAddr,
    state: watch::Sender<State>,
    accepting: AbortHandle,
}

impl TcpProxy {
    /// Starts a proxy to a server, given as `host:port`, on a port of its own. The name is looked up for each connection.
    ///
    /// # Errors
    /// When no port can be opened. A server that cannot be reached shows as a connection that is closed at once.
    pub async fn start(server: impl Into<String>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let state = watch::Sender::new(State::default());
        let accepting = tokio::spawn(accept(listener, server.into(), state.clone())).abort_handle();
        Ok(Self { address, state, accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections that are open now, frozen ones among them.
    pub fn connections(&self) -> usize {
        self.state.borrow().open.len()
    }

    /// Passes everything on this much later than it arrives, in each direction, so that a question with its answer takes twice as long.
    /// [`Duration::ZERO`] ends it.
    pub fn delay(&self, delay: Duration) {
        self.state.send_modify(|state| state.delay = delay);
    }

    /// Closes the connections that are open now, on both sides; new ones are served.
    pub fn cut(&self) {
        self.state.send_modify(|state| state.cut = state.next);
    }

    /// Passes nothing on any more between those that are connected now, and closes nothing: neither side learns that the other is gone.
    /// New connections are served, as by the host that takes an address over.
    pub fn freeze(&self) {
        self.state.send_modify(|state| {
            let State { open, frozen, .. } = state;
            frozen.extend(&*open);
        });
    }

    /// Goes on with frozen connections where they stopped; nothing is lost.
    pub fn thaw(&self) {
        self.state.send_modify(|state| state.frozen.clear());
    }

    /// Closes each new connection as soon as it is made; open ones are served.
    pub fn refuse_new(&self) {
        self.new_connections(NewConnections::Refuse);
    }

    /// Accepts new connections, which are frozen from their beginning, as of a host that does not answer; open ones are served.
    pub fn freeze_new(&self) {
        self.new_connections(NewConnections::Freeze);
    }

    /// Serves new connections again. Those that [`freeze_new`](Self::freeze_new) froze stay so until [`thaw`](Self::thaw).
    pub fn pass_new(&self) {
        self.new_connections(NewConnections::Pass);
    }

    fn new_connections(&self, new: NewConnections) {
        self.state.send_modify(|state| state.new = new);
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Serves connections without end; they end with it.
async fn accept(listener: TcpListener, server: String, state: watch::Sender<State>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let Ok((client, _)) = accepted else {
            // out of file descriptors, say
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        if state.borrow().new != NewConnections::Refuse {
            let connection = Connection::begin(&state);
            connections.spawn(serve(connection, client, server.clone()));
        }
    }
}

async fn serve(connection: Connection, client: TcpStream, server: String) {
    // what fails on either side ends both
    let _ = connection.serve(client, &server).await;
}
