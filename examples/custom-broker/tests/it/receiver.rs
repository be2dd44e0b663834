//! A webhook's receiver, as its owner would write it: verifies first, and can be told to fail.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use custom_broker::{Signer, WebhookConfig, WebhookPublisher};
use omni_box_core::{EnvelopeEventConverter, EventConverter, EventId};
use tokio::sync::watch;

pub(crate) const SECRET: &[u8] = b"what both sides know";

/// How long the publishers of these tests wait for an answer, and how old a request may be that the receiver takes.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(3);

/// How many requests the publishers of these tests have under way.
pub(crate) const CONCURRENCY: u32 = 24;

/// The largest body that it takes.
const MOST_BYTES: usize = 2_000_000;

#[derive(Default)]
struct Kept {
    /// Ids and bodies by path.
    taken: BTreeMap<String, Vec<(String, Bytes)>>,
    /// What it answers to events, instead of taking them.
    refusal: Option<StatusCode>,
    /// What it answers to single events, and how often yet.
    refusals: BTreeMap<String, (StatusCode, usize)>,
    /// Which events it was asked to take, and what it answered.
    answers: Vec<(String, StatusCode)>,
    /// What it answers to a HEAD.
    answer_to_check: Option<StatusCode>,
    under_way: usize,
    most_under_way: usize,
}

#[derive(Clone)]
pub(crate) struct Receiver {
    kept: Arc<Mutex<Kept>>,
    /// Whether it answers; requests of these methods wait until it does.
    silent: watch::Sender<Vec<Method>>,
    signer: Signer,
    address: std::net::SocketAddr,
}

impl Receiver {
    /// Listens until the test's runtime ends.
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver = Self {
            kept: Arc::default(),
            silent: watch::Sender::new(Vec::new()),
            signer: Signer::new(SECRET).unwrap(),
            address: listener.local_addr().unwrap(),
        };
        let router = Router::new().fallback(take).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        receiver
    }

    pub(crate) fn publisher(&self) -> WebhookPublisher {
        self.publisher_with(SECRET, EnvelopeEventConverter)
    }

    pub(crate) fn publisher_with(&self, secret: &[u8], converter: impl EventConverter) -> WebhookPublisher {
        let config = WebhookConfig {
            endpoint: format!("http://{}/hooks/", self.address).parse().unwrap(),
            signer: Signer::new(secret).unwrap(),
            timeout: TIMEOUT,
            concurrency: CONCURRENCY,
        };
        WebhookPublisher::new(config, converter).unwrap()
    }

    /// Ids and bodies that came in on a topic.
    pub(crate) fn taken(&self, topic: &str) -> Vec<(String, Bytes)> {
        self.kept().taken.get(&format!("/hooks/{topic}")).cloned().unwrap_or_default()
    }

    pub(crate) fn most_under_way(&self) -> usize {
        self.kept().most_under_way
    }

    /// Answers so to events.
    pub(crate) fn refuse(&self, status: Option<StatusCode>) {
        self.kept().refusal = status;
    }

    /// Answers so to an event, so often.
    pub(crate) fn refuse_event(&self, id: EventId, status: StatusCode, times: usize) {
        self.kept().refusals.insert(id.to_string(), (status, times));
    }

    /// Events that came in, on whatever topic, each with its answer.
    pub(crate) fn answers(&self) -> Vec<(String, StatusCode)> {
        self.kept().answers.clone()
    }

    /// Answers so to checks.
    pub(crate) fn answer_checks(&self, status: StatusCode) {
        self.kept().answer_to_check = Some(status);
    }

    /// Gives no answer to requests of these methods until it is called again.
    pub(crate) fn silence(&self, methods: &[Method]) {
        self.silent.send_replace(methods.to_vec());
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn decide(&self, method: &Method, path: String, headers: &HeaderMap, body: Bytes) -> StatusCode {
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let id = header("webhook-id");
        let timestamp = header("webhook-timestamp").parse().unwrap_or_default();
        if !self.signer.verify(id, timestamp, &body, header("webhook-signature")) {
            return StatusCode::UNAUTHORIZED;
        }
        // given up by its sender already, or sent again by an attacker who saw it
        if (chrono::Utc::now().timestamp_millis() - timestamp * 1_000).unsigned_abs()
            >= TIMEOUT.as_millis() as u64
        {
            return StatusCode::BAD_REQUEST;
        }
        if method == Method::HEAD {
            return self.kept().answer_to_check.unwrap_or(StatusCode::METHOD_NOT_ALLOWED);
        }
        if body.len() > MOST_BYTES {
            return StatusCode::PAYLOAD_TOO_LARGE;
        }
        if path.ends_with("-missing") {
            return StatusCode::NOT_FOUND;
        }
        let mut kept = self.kept();
        let refusal = kept.refusal.or_else(|| match kept.refusals.get_mut(id) {
            Some((status, times)) if *times > 0 => {
                *times -= 1;
                Some(*status)
            }
            _ => None,
        });
        let answer = refusal.unwrap_or(StatusCode::NO_CONTENT);
        kept.answers.push((id.to_owned(), answer));
        if refusal.is_none() {
            kept.taken.entry(path).or_default().push((id.to_owned(), body));
        }
        answer
    }
}

/// Counts the requests under way.
struct UnderWay(Receiver);

impl UnderWay {
    fn enter(receiver: Receiver) -> Self {
        {
            let mut kept = receiver.kept();
            kept.under_way += 1;
            kept.most_under_way = kept.most_under_way.max(kept.under_way);
        }
        Self(receiver)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.kept().under_way -= 1;
    }
}

async fn take(State(receiver): State<Receiver>, request: Request) -> StatusCode {
    let under_way = UnderWay::enter(receiver);
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, usize::MAX).await else { return StatusCode::BAD_REQUEST };
    let mut silent = under_way.0.silent.subscribe();
    let _ = silent.wait_for(|methods| !methods.contains(&parts.method)).await;
    under_way.0.decide(&parts.method, parts.uri.path().to_owned(), &parts.headers, body)
}
