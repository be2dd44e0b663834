//! The way to a mock broker that puts errors of single topics into its answers; the mock itself fails whole requests only.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Result, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

/// It belongs to no runtime. Each topic has one partition, and a name that is in no answer by chance.
pub(crate) struct Denier {
    address: SocketAddr,
    rules: Arc<Rules>,
    pub(crate) cluster: MockCluster<'static, DefaultProducerContext>,
}

#[derive(Default)]
struct Rules {
    /// By the kind of request and the topic; how often each error was put into an answer.
    errors: Mutex<HashMap<(i16, String), (i16, usize)>>,
    /// How many there were, by their kind.
    requests: Mutex<HashMap<i16, usize>>,
    connections: Mutex<Option<Vec<TcpStream>>>,
}

const FETCH: i16 = RDKafkaApiKey::Fetch as i16;
const PRODUCE: i16 = RDKafkaApiKey::Produce as i16;
const OFFSET_FETCH: i16 = RDKafkaApiKey::OffsetFetch as i16;

impl Denier {
    /// Stands before a mock of one broker, whose own address none of its answers names any more.
    pub(crate) fn start(cluster: MockCluster<'static, DefaultProducerContext>) -> Self {
        // the newest whose answers have lengths of fixed size
        cluster.apiversion(RDKafkaApiKey::Fetch, Some(0), Some(11)).unwrap();
        cluster.apiversion(RDKafkaApiKey::Produce, Some(0), Some(7)).unwrap();
        cluster.apiversion(RDKafkaApiKey::OffsetFetch, Some(0), Some(5)).unwrap();
        let broker: SocketAddr = cluster.bootstrap_servers().parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, rules) = (listener.local_addr().unwrap(), Arc::<Rules>::default());
        *rules.connections.lock().unwrap() = Some(Vec::new());
        let its_rules = Arc::clone(&rules);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Some(connections) = &mut *its_rules.connections.lock().unwrap() else { return };
                // it may be away
                let Ok(broker) = TcpStream::connect(broker) else { continue };
                connections.extend([client.try_clone().unwrap(), broker.try_clone().unwrap()]);
                pass_on(client, broker, address, &its_rules);
            }
        });
        Self { address, rules, cluster }
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// From now on these requests are answered with an error for this topic.
    pub(crate) fn deny(&self, request: RDKafkaApiKey, topic: &str, error: RDKafkaRespErr) {
        let key = (request as i16, topic.to_owned());
        self.rules.errors.lock().unwrap().insert(key, (error as i16, 0));
    }

    /// Ends it and says how many answers had the error.
    pub(crate) fn allow(&self, request: RDKafkaApiKey, topic: &str) -> usize {
        let ended = self.rules.errors.lock().unwrap().remove(&(request as i16, topic.to_owned()));
        ended.map_or(0, |(_, times)| times)
    }

    pub(crate) fn denied(&self, request: RDKafkaApiKey, topic: &str) -> usize {
        self.rules.errors.lock().unwrap().get(&(request as i16, topic.to_owned())).map_or(0, |rule| rule.1)
    }

    /// How many requests of a kind there were.
    pub(crate) fn requests(&self, request: RDKafkaApiKey) -> usize {
        self.rules.requests.lock().unwrap().get(&(request as i16)).copied().unwrap_or_default()
    }
}

impl Drop for Denier {
    fn drop(&mut self) {
        for connection in self.rules.connections.lock().unwrap().take().into_iter().flatten() {
            let _ = connection.shutdown(Shutdown::Both);
        }
        // wakes the one who waits for connections
        let _ = TcpStream::connect(self.address);
    }
}

/// What was asked, by the number that the answer has too.
type Asked = Arc<Mutex<HashMap<[u8; 4], i16>>>;

fn pass_on(client: TcpStream, broker: TcpStream, address: SocketAddr, rules: &Arc<Rules>) {
    let asked = Asked::default();
    let (its_asked, its_rules, rules) = (Arc::clone(&asked), Arc::clone(rules), Arc::clone(rules));
    let brokers_address = named(broker.peer_addr().unwrap());
    let mut ways = (client.try_clone().unwrap(), broker.try_clone().unwrap());
    thread::spawn(move || {
        let _ = frames(&mut ways.0, &mut ways.1, |request| {
            let number = request[4..8].try_into().unwrap();
            let kind = i16::from_be_bytes([request[0], request[1]]);
            *its_rules.requests.lock().unwrap().entry(kind).or_default() += 1;
            its_asked.lock().unwrap().insert(number, kind);
        });
    });
    let mut ways = (broker, client);
    thread::spawn(move || {
        let _ = frames(&mut ways.0, &mut ways.1, |answer| {
            let request = asked.lock().unwrap().remove(&answer[..4]).unwrap();
            for at in places(answer, &brokers_address) {
                answer[at..at + brokers_address.len()].copy_from_slice(&named(address));
            }
            rules.apply(request, answer);
        });
    });
}

/// An address as answers name it.
fn named(address: SocketAddr) -> Vec<u8> {
    [address.ip().to_string().as_bytes(), &i32::from(address.port()).to_be_bytes()].concat()
}

fn frames(from: &mut TcpStream, to: &mut TcpStream, mut change: impl FnMut(&mut [u8])) -> Result<()> {
    loop {
        let mut length = [0; 4];
        let ended = from.read_exact(&mut length);
        if ended.is_err() {
            let _ = to.shutdown(Shutdown::Both);
            return ended;
        }
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        from.read_exact(&mut frame)?;
        if frame.len() < 4 {
            return Err(ErrorKind::InvalidData.into());
        }
        change(&mut frame);
        to.write_all(&[&length[..], &frame].concat())?;
    }
}

fn places(text: &[u8], part: &[u8]) -> Vec<usize> {
    (0..text.len()).filter(|at| text[*at..].starts_with(part)).collect()
}

impl Rules {
    fn apply(&self, request: i16, answer: &mut [u8]) {
        for ((its_request, topic), (error, times)) in &mut *self.errors.lock().unwrap() {
            if *its_request != request {
                continue;
            }
            let name = [&(topic.len() as i16).to_be_bytes(), topic.as_bytes()].concat();
            for at in places(answer, &name) {
                // behind the name: the count of partitions, and the partition
                let at = at + name.len() + 4 + 4;
                let at = match request {
                    FETCH | PRODUCE => at,
                    OFFSET_FETCH => {
                        // the offset, its epoch, and a text
                        let text = at + 8 + 4;
                        let length = i16::from_be_bytes([answer[text], answer[text + 1]]);
                        text + 2 + length.max(0) as usize
                    }
                    other => panic!("answers to {other} are not known"),
                };
                answer[at..at + 2].copy_from_slice(&error.to_be_bytes());
                *times += 1;
            }
        }
    }
}
