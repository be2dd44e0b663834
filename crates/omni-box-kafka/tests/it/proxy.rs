//! The way to a broker, which can be cut.

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// Passes connections on. It belongs to no runtime, as tests share it.
pub(crate) struct Proxy {
    address: SocketAddr,
    way: Arc<Mutex<Way>>,
}

#[derive(Default)]
struct Way {
    target: Option<String>,
    is_cut: bool,
    is_over: bool,
    connections: Vec<TcpStream>,
}

impl Proxy {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, way) = (listener.local_addr().unwrap(), Arc::<Mutex<Way>>::default());
        let its_way = Arc::clone(&way);
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let mut way = its_way.lock().unwrap();
                if way.is_over {
                    return;
                }
                way.pass_on(connection);
            }
        });
        Self { address, way }
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn lead_to(&self, target: &str) {
        self.way.lock().unwrap().target = Some(target.to_owned());
    }

    /// Ends every connection, and new ones at once.
    pub(crate) fn cut(&self) {
        let mut way = self.way.lock().unwrap();
        way.is_cut = true;
        for connection in way.connections.drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    pub(crate) fn mend(&self) {
        self.way.lock().unwrap().is_cut = false;
    }
}

impl Way {
    fn pass_on(&mut self, client: TcpStream) {
        if self.is_cut {
            return;
        }
        let Some(Ok(broker)) = self.target.as_ref().map(TcpStream::connect) else { return };
        for (from, to) in [(&client, &broker), (&broker, &client)] {
            let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            thread::spawn(move || {
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Both);
            });
        }
        self.connections.extend([client, broker]);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
        self.way.lock().unwrap().is_over = true;
        // wakes the one who waits for connections
        let _ = TcpStream::connect(self.address);
    }
}
