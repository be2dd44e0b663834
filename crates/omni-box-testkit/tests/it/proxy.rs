//! The proxy: what each fault does to open and to new connections.

use std::time::Duration;

use omni_box_testkit::TcpProxy;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

const DEADLINE: Duration = Duration::from_secs(20);

/// Sends back what it hears, and closes its side when the client has closed the other.
async fn proxy() -> TcpProxy {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = socket.split();
                tokio::io::copy(&mut read, &mut write).await.unwrap();
                write.shutdown().await
            });
        }
    });
    TcpProxy::start(address.to_string()).await.unwrap()
}

async fn connect(proxy: &TcpProxy) -> TcpStream {
    TcpStream::connect(proxy.address()).await.unwrap()
}

/// Whether what is sent comes back.
async fn echoes(socket: &mut TcpStream) {
    socket.write_all(b"ping").await.unwrap();
    answers(socket).await;
}

async fn answers(socket: &mut TcpStream) {
    let mut answer = [0; 4];
    timeout(DEADLINE, socket.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"ping");
}

/// Whether the other side has closed it.
async fn is_closed(socket: &mut TcpStream) {
    let read = timeout(DEADLINE, socket.read(&mut [0; 4])).await.unwrap();
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
}

/// Whether nothing comes back in a time in which a new connection is served several times.
async fn is_silent(proxy: &TcpProxy, socket: &TcpStream) {
    for _ in 0..5 {
        echoes(&mut connect(proxy).await).await;
    }
    let read = socket.try_read(&mut [0; 4]);
    assert!(matches!(&read, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock), "{read:?}");
}

#[tokio::test]
async fn bytes_go_both_ways_and_either_side_may_close_first() {
    let proxy = proxy().await;
    let mut socket = connect(&proxy).await;
    let sent: Vec<u8> = (0..300_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let (mut read, mut write) = socket.split();
    let mut heard = Vec::new();
    let (written, _) = tokio::join!(
        async {
            write.write_all(&sent).await.unwrap();
            write.shutdown().await
        },
        timeout(DEADLINE, read.read_to_end(&mut heard)),
    );
    written.unwrap();
    assert!(heard == sent);
    timeout(DEADLINE, async {
        while proxy.connections() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_delay_counts_in_each_direction() {
    let proxy = proxy().await;
    let mut socket = connect(&proxy).await;
    let delay = Duration::from_millis(60);
    proxy.delay(delay);
    let asked = Instant::now();
    echoes(&mut socket).await;
    assert!(asked.elapsed() >= delay * 2, "{:?}", asked.elapsed());
    proxy.delay(Duration::ZERO);
    echoes(&mut socket).await;
}

#[tokio::test]
async fn a_cut_closes_what_is_open_and_nothing_else() {
    let proxy = proxy().await;
    let mut before = connect(&proxy).await;
    echoes(&mut before).await;
    proxy.cut();
    is_closed(&mut before).await;
    let mut after = connect(&proxy).await;
    echoes(&mut after).await;
    echoes(&mut after).await;
}

#[tokio::test]
async fn frozen_connections_are_silent_while_new_ones_are_served() {
    let proxy = proxy().await;
    let mut frozen = Vec::new();
    // frozen twice: those of the first time stay so
    for _ in 0..2 {
        let mut socket = connect(&proxy).await;
        echoes(&mut socket).await;
        frozen.push(socket);
        proxy.freeze();
    }
    for socket in &mut frozen {
        socket.write_all(b"ping").await.unwrap();
        is_silent(&proxy, socket).await;
    }
    proxy.thaw();
    for socket in &mut frozen {
        answers(socket).await;
        echoes(socket).await;
    }
}

#[tokio::test]
async fn a_frozen_connection_can_be_cut() {
    let proxy = proxy().await;
    let mut socket = connect(&proxy).await;
    echoes(&mut socket).await;
    proxy.freeze();
    proxy.cut();
    is_closed(&mut socket).await;
}

#[tokio::test]
async fn new_connections_are_refused_while_open_ones_are_served() {
    let proxy = proxy().await;
    let mut open = connect(&proxy).await;
    echoes(&mut open).await;
    proxy.refuse_new();
    is_closed(&mut connect(&proxy).await).await;
    echoes(&mut open).await;
    proxy.pass_new();
    echoes(&mut connect(&proxy).await).await;
}

#[tokio::test]
async fn new_connections_are_frozen_while_open_ones_are_served() {
    let proxy = proxy().await;
    let mut open = connect(&proxy).await;
    echoes(&mut open).await;
    proxy.freeze_new();
    let mut new = connect(&proxy).await;
    new.write_all(b"ping").await.unwrap();
    echoes(&mut open).await;
    proxy.pass_new();
    is_silent(&proxy, &new).await;
    proxy.thaw();
    answers(&mut new).await;
}

#[tokio::test]
async fn a_server_that_is_gone_shows_as_a_connection_that_closes() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let proxy = TcpProxy::start(address.to_string()).await.unwrap();
    is_closed(&mut connect(&proxy).await).await;
}

#[tokio::test]
async fn its_connections_end_with_it() {
    let proxy = proxy().await;
    let mut socket = connect(&proxy).await;
    echoes(&mut socket).await;
    drop(proxy);
    is_closed(&mut socket).await;
}
