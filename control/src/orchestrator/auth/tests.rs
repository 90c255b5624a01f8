//! Against a webhook on this machine that says what a test tells it to.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Response};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::*;

const ALICE: Address = Address([0xab; 20]);
const BOB: Address = Address([2; 20]);

/// A clock that stands until it is moved.
#[derive(Default)]
struct Clock(AtomicU64);

impl World for Clock {
    fn unix_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn fill(&self, _: &mut [u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// A webhook, what asks it, and what it was sent.
struct Scene {
    webhook: Webhook,
    clock: Arc<Clock>,
    asked: mpsc::UnboundedReceiver<(HeaderMap, Bytes)>,
}

impl Scene {
    /// Every request is answered alike, after a while.
    async fn new(status: u16, body: impl Into<Bytes>, after: Duration) -> Self {
        let (tell, asked) = mpsc::unbounded_channel();
        let body = body.into();
        let answer = move |headers: HeaderMap, sent: Bytes| {
            let (tell, body) = (tell.clone(), body.clone());
            async move {
                tell.send((headers, sent)).unwrap();
                sleep(after).await;
                Response::builder()
                    .status(status)
                    .header("location", "http://127.0.0.1:9/elsewhere")
                    .body(Body::from(body))
                    .unwrap()
            }
        };
        let router = Router::new().route("/hook", axum::routing::post(answer));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let (webhook, clock) = webhook(&format!("http://127.0.0.1:{port}/hook?key=secret"));
        Self {
            webhook,
            clock,
            asked,
        }
    }

    async fn saying(status: u16, body: impl Into<Bytes>) -> Self {
        Self::new(status, body, Duration::ZERO).await
    }

    fn times_asked(&mut self) -> usize {
        std::iter::from_fn(|| self.asked.try_recv().ok()).count()
    }

    fn is_idle(&self) -> bool {
        self.webhook.lock().asking.is_empty()
    }
}

fn webhook(url: &str) -> (Webhook, Arc<Clock>) {
    // Another test may have been first.
    drop(rustls::crypto::ring::default_provider().install_default());
    let clock = Arc::new(Clock::default());
    let webhook = Webhook::new(url, Arc::clone(&clock) as Arc<dyn World>).unwrap();
    (webhook, clock)
}

#[tokio::test]
async fn whoever_is_let_in_is_told_its_price() {
    let price = |wei, pixels| Some(Price::new(wei, pixels).unwrap());
    for (body, expected) in [
        ("", None),
        (" \n", None),
        ("{}", None),
        ("null", None),
        (r#"{"priceInfo":null,"more":[1]}"#, None),
        (
            r#"{"priceInfo":{"pricePerUnit":1200,"pixelsPerUnit":7}}"#,
            price(1_200, 7),
        ),
        (
            r#"{"priceInfo":{"pricePerUnit":0,"pixelsPerUnit":1}}"#,
            Some(Price::FREE),
        ),
        (r#"{"priceInfo":{"pixelsPerUnit":1}}"#, Some(Price::FREE)),
    ] {
        let mut scene = Scene::saying(200, body).await;
        assert_eq!(scene.webhook.allow(ALICE).await, Ok(expected), "{body}");
        let (headers, sent) = scene.asked.try_recv().unwrap();
        assert_eq!(headers["content-type"], "application/json");
        assert_eq!(
            sent,
            format!("{{\"id\":\"{}\"}}", ALICE.checksummed()).as_bytes()
        );
        assert!(scene.is_idle());
    }
}

#[tokio::test]
async fn whoever_is_kept_out_is_told_why() {
    for (status, body, expected) in [
        (403, "not you", "authentication failed: not you"),
        (
            401,
            "",
            "authentication failed: the webhook answered 401 Unauthorized",
        ),
        // As in go-livepeer, no other status lets anybody in, and nobody is sent elsewhere.
        (201, "{}", "authentication failed: {}"),
        (302, "moved", "authentication failed: moved"),
        (
            204,
            "",
            "authentication failed: the webhook answered 204 No Content",
        ),
    ] {
        let scene = Scene::saying(status, body).await;
        let denied = scene.webhook.allow(ALICE).await.unwrap_err();
        assert_eq!(denied.to_string(), expected, "{status}");
        assert!(scene.is_idle());
    }
    let long = Scene::saying(500, "é".repeat(1 << 20)).await;
    let denied = long.webhook.allow(ALICE).await.unwrap_err();
    assert_eq!(denied, Denied::Refused("é".repeat(256)));
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_lets_nobody_in() {
    for (body, part) in [
        ("yes", "not a JSON object"),
        ("[]", "not a JSON object"),
        ("{\"priceInfo\":", "not a JSON object"),
        ("true", "not a JSON object"),
        (r#"{"priceInfo":[1,1]}"#, "priceInfo is not an object"),
        (r#"{"priceInfo":{}}"#, "pixels per unit is 0"),
        (
            r#"{"priceInfo":{"pricePerUnit":1}}"#,
            "pixels per unit is 0",
        ),
        (
            r#"{"priceInfo":{"pricePerUnit":-1,"pixelsPerUnit":1}}"#,
            "a price is not negative",
        ),
        (
            r#"{"priceInfo":{"pricePerUnit":1.5,"pixelsPerUnit":1}}"#,
            "integers of 64 bits",
        ),
        (
            r#"{"priceInfo":{"pricePerUnit":9223372036854775808,"pixelsPerUnit":1}}"#,
            "integers of 64 bits",
        ),
        (
            r#"{"priceInfo":{"pricePerUnit":"1","pixelsPerUnit":1}}"#,
            "integers of 64 bits",
        ),
    ] {
        let mut scene = Scene::saying(200, body).await;
        for _ in 0..2 {
            let denied = scene.webhook.allow(ALICE).await.unwrap_err().to_string();
            assert!(denied.starts_with("authentication failed: "), "{denied}");
            assert!(denied.contains(part), "{body}: {denied}");
        }
        assert_eq!(scene.times_asked(), 2, "what failed is not remembered");
    }
}

#[tokio::test]
async fn a_long_answer_is_not_read() {
    let padded = |bytes: usize| format!("{{}}{}", " ".repeat(bytes - 2));
    let fits = Scene::saying(200, padded(64 << 10)).await;
    assert_eq!(fits.webhook.allow(ALICE).await, Ok(None));
    let too_long = Scene::saying(200, padded((64 << 10) + 1)).await;
    assert_eq!(too_long.webhook.allow(ALICE).await, Err(Denied::TooLong));
    assert_eq!(
        Denied::TooLong.to_string(),
        "authentication failed: the webhook's answer is longer than 65536 bytes"
    );
}

#[tokio::test]
async fn a_slow_webhook_is_not_waited_for() {
    let mut scene = Scene::new(200, "{}", Duration::from_secs(600)).await;
    scene.webhook.deadline = Duration::from_millis(50);
    let begin = Instant::now();
    assert_eq!(scene.webhook.allow(ALICE).await, Err(Denied::Late));
    assert!(begin.elapsed() < Duration::from_secs(10));
    assert!(scene.is_idle());
}

#[tokio::test]
async fn a_webhook_that_is_not_there_lets_nobody_in_and_is_not_named() {
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().port()
    };
    let (webhook, _) = webhook(&format!("http://127.0.0.1:{closed}/hook?key=secret"));
    let denied = webhook.allow(ALICE).await.unwrap_err();
    assert_eq!(
        denied.to_string(),
        "authentication failed: the webhook could not be asked; ask again"
    );
    let shown = format!("{webhook:?}");
    assert!(!shown.contains("secret"), "{shown}");
}

#[tokio::test]
async fn whoever_was_let_in_is_asked_about_again_after_half_an_hour() {
    let body = r#"{"priceInfo":{"pricePerUnit":5,"pixelsPerUnit":1}}"#;
    let mut scene = Scene::saying(200, body).await;
    let price = Ok(Some(Price::new(5, 1).unwrap()));
    for (minutes, asked) in [(0, 1), (0, 0), (29, 0), (30, 1), (59, 0)] {
        scene.clock.0.store(minutes * 60_000, Ordering::Relaxed);
        assert_eq!(scene.webhook.allow(ALICE).await, price);
        assert_eq!(scene.times_asked(), asked, "after {minutes} minutes");
    }
    assert_eq!(scene.webhook.allow(BOB).await, price);
    assert_eq!(scene.times_asked(), 1);
}

#[tokio::test]
async fn requests_of_one_sender_share_a_question() {
    for (status, expected) in [
        (200, Ok(None)),
        (403, Err(Denied::Refused("{}".to_owned()))),
    ] {
        let mut scene = Scene::new(status, "{}", Duration::from_millis(100)).await;
        let webhook = Arc::new(scene.webhook);
        let mut requests = JoinSet::new();
        for n in 0..40 {
            let webhook = Arc::clone(&webhook);
            let sender = if n % 2 == 0 { ALICE } else { BOB };
            requests.spawn(async move { webhook.allow(sender).await });
        }
        for answer in requests.join_all().await {
            assert_eq!(answer, expected);
        }
        let asked = std::iter::from_fn(|| scene.asked.try_recv().ok()).count();
        assert_eq!(asked, 2, "status {status}");
        assert!(webhook.lock().asking.is_empty());
    }
}

#[tokio::test]
async fn a_question_outlives_the_request_that_asked_it() {
    let mut scene = Scene::new(200, "{}", Duration::from_millis(100)).await;
    let webhook = Arc::new(scene.webhook);
    let allow = || {
        let webhook = Arc::clone(&webhook);
        tokio::spawn(async move { webhook.allow(ALICE).await })
    };
    let first = allow();
    scene.asked.recv().await.unwrap();
    let second = allow();
    // The second has to be waiting when the first goes.
    while webhook.lock().asking[&ALICE].waiting < 2 {
        tokio::task::yield_now().await;
    }
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    assert_eq!(second.await.unwrap(), Ok(None));
    assert!(webhook.lock().asking.is_empty());
}

#[tokio::test]
async fn an_answer_is_not_given_to_who_came_after_it() {
    let mut scene = Scene::saying(403, "no").await;
    // A request that waits, and is slow to look.
    let slow = scene.webhook.join(ALICE).unwrap();
    for _ in 0..2 {
        let denied = scene.webhook.allow(ALICE).await.unwrap_err();
        assert_eq!(denied, Denied::Refused("no".to_owned()));
    }
    let later = scene.webhook.join(ALICE).unwrap();
    drop(slow);
    assert_eq!(scene.webhook.lock().asking[&ALICE].waiting, 1);
    drop(later);
    assert!(scene.is_idle());
    assert_eq!(scene.times_asked(), 2);
}

#[tokio::test]
async fn there_is_an_end_to_questions_at_once_and_nothing_is_left_of_them() {
    let mut scene = Scene::new(200, "{}", Duration::from_secs(600)).await;
    scene.webhook.asking_max = 2;
    let webhook = Arc::new(scene.webhook);
    let mut requests = JoinSet::new();
    for sender in [ALICE, BOB, ALICE] {
        let webhook = Arc::clone(&webhook);
        requests.spawn(async move { webhook.allow(sender).await });
    }
    for _ in 0..2 {
        scene.asked.recv().await.unwrap();
    }
    assert_eq!(webhook.allow(Address::ZERO).await, Err(Denied::Busy));
    requests.shutdown().await;
    assert!(webhook.lock().asking.is_empty());
}

#[test]
fn a_url_that_is_none_is_refused() {
    let clock = || Arc::new(Clock::default()) as Arc<dyn World>;
    for url in [
        "",
        "hook",
        "ftp://example.com/",
        "file:///etc/passwd",
        "http://",
    ] {
        let refused = Webhook::new(url, clock()).unwrap_err().to_string();
        assert!(
            refused.starts_with("the webhook's URL must be one of http or https: "),
            "{url}: {refused}"
        );
    }
}
