//! The HTTP API, byte for byte, against a scripted data plane.

mod support;

use std::time::Duration;

use control::orchestrator::Config;
use link::{Answer, Command, EndCause, Refusal};
use support::{Act, node};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};

const START: &str = "/live-video-to-video";

fn text_error(status: &str, text: &str) -> String {
    let len = text.len() + 1;
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\n\
         Content-Length: {len}\r\nConnection: close\r\n\r\n{text}\n"
    )
}

/// Header order is nobody's promise.
fn sorted(answer: &str) -> (String, Vec<String>, String) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let mut lines = head.split("\r\n").map(str::to_owned);
    let status = lines.next().unwrap();
    let mut headers: Vec<_> = lines.collect();
    headers.sort();
    (status, headers, body.to_owned())
}

fn assert_error(answer: &str, status: &str, text: &str) {
    assert_eq!(sorted(answer), sorted(&text_error(status, text)));
}

#[tokio::test]
async fn a_start_answers_with_four_urls_and_an_id() {
    let node = node(Config::default());
    let answer = node
        .post(
            START,
            r#"{"model_id":"builtin/edges","params":{},"subscribe_url":"","publish_url":""}"#,
        )
        .await;
    let id = "a0".repeat(16);
    let base = format!("https://node.example:8935/ai/trickle/{id}");
    let body = format!(
        r#"{{"control_url":"{base}-control","events_url":"{base}-events","manifest_id":"{id}","publish_url":"{base}","subscribe_url":"{base}-out"}}"#
    );
    let expected = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    assert_eq!(sorted(&answer), sorted(&expected));
    let log = node.engine.log.lock().unwrap();
    let Command::OpenSession(open) = &log[0].1 else {
        panic!("{:?}", log[0])
    };
    assert_eq!((&*open.manifest_id, &open.owner_token), (&*id, &None));
    assert_eq!(
        format!("{:?}", open.process),
        "Filter(Edges { gain_percent: 100 })"
    );
}

#[tokio::test]
async fn an_owners_token_is_part_of_every_url_and_of_no_id() {
    let node = node(Config {
        owner_tokens: true,
        ..Config::default()
    });
    let answer = node.post(START, "{}").await;
    let (id, token) = ("a0".repeat(16), "a1".repeat(16));
    for suffix in ["", "-out", "-control", "-events"] {
        assert!(
            answer.contains(&format!("/ai/trickle/{id}{suffix}~{token}\"")),
            "{answer}"
        );
    }
    assert!(
        answer.contains(&format!("\"manifest_id\":\"{id}\"")),
        "{answer}"
    );
    let log = node.engine.log.lock().unwrap();
    let Command::OpenSession(open) = &log[0].1 else {
        panic!("{:?}", log[0])
    };
    assert_eq!(open.owner_token.as_deref(), Some(&*token));
}

#[tokio::test]
async fn paths_are_tidied() {
    let node = node(Config::default());
    for path in [
        "//live-video-to-video",
        "/live-video-to-video/",
        "//live-video-to-video//?x=1",
    ] {
        assert!(
            node.post(path, "{}").await.starts_with("HTTP/1.1 200"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn what_is_wrong_is_said() {
    let node = node(Config::default());
    assert_error(
        &node.get("/nowhere").await,
        "404 Not Found",
        "404 page not found",
    );
    assert_error(
        &node.post(START, "{").await,
        "400 Bad Request",
        "request is not JSON: EOF while parsing an object at line 1 column 1",
    );
    assert_error(
        &node.post(START, r#"{"model_id":"comfyui"}"#).await,
        "400 Bad Request",
        "unknown model \"comfyui\"; this node offers builtin/passthrough, builtin/grayscale, builtin/edges, \
         builtin/blur, builtin/pixelate, builtin/invert",
    );
    let wrong_method = node.get(START).await;
    assert!(
        wrong_method.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"),
        "{wrong_method}"
    );
    assert!(
        wrong_method.contains("\r\nAllow: POST\r\n"),
        "{wrong_method}"
    );
    assert_error(
        &node.get("/live-video-to-video/0000/status").await,
        "404 Not Found",
        "Session not found",
    );
    assert_eq!(
        node.engine.words(),
        [""; 0],
        "nothing was asked of the data plane"
    );
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let node = node(Config::default());
    let head = "POST /live-video-to-video HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n";
    let mut stream = node.connect_with(head.as_bytes());
    let chunk = vec![b' '; 1 << 16];
    let mut answer = vec![0; 1 << 10];
    // The answer comes while the body is still being sent.
    let (mut rx, mut tx) = stream.split();
    let send = async {
        for _ in 0..46 {
            if tx.write_all(&chunk).await.is_err() {
                break;
            }
        }
    };
    let (_, len) = tokio::join!(send, rx.read(&mut answer));
    let answer = String::from_utf8_lossy(&answer[..len.unwrap()]).into_owned();
    assert!(
        answer.starts_with("HTTP/1.1 413 Payload Too Large\r\n"),
        "{answer}"
    );
    assert!(
        answer.ends_with("\r\n\r\nrequest body too large\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn health_is_json_and_turns_when_the_node_drains() {
    let node = node(Config::default());
    let answer = node.get("/healthz").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(
        answer.ends_with(r#"{"sessions":0,"sessions_max":16,"status":"OK"}"#),
        "{answer}"
    );
    let id = node.start("{}").await;
    node.handle.drain();
    let answer = node.get("/healthz").await;
    assert!(
        answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"),
        "{answer}"
    );
    assert!(
        answer.ends_with(r#"{"sessions":1,"sessions_max":16,"status":"DRAINING"}"#),
        "{answer}"
    );
    assert_error(
        &node.post(START, "{}").await,
        "503 Service Unavailable",
        "insufficient capacity",
    );
    node.end(&id, EndCause::Draining);
    timeout(Duration::from_secs(5), node.handle.idle())
        .await
        .unwrap();
    assert_eq!(node.handle.sessions(), 0);
}

#[tokio::test]
async fn a_full_node_says_so_wherever_the_limit_is() {
    let node = node(Config {
        sessions: 1,
        ..Config::default()
    });
    let _first = node.start("{}").await;
    assert_error(
        &node.post(START, "{}").await,
        "503 Service Unavailable",
        "insufficient capacity",
    );

    let node = support::node(Config::default());
    for refusal in [Refusal::Full("sessions"), Refusal::Draining] {
        node.engine
            .script(move |_| Act::Answer(Err(refusal.clone())));
        assert_error(
            &node.post(START, "{}").await,
            "503 Service Unavailable",
            "insufficient capacity",
        );
        assert_eq!(node.handle.sessions(), 0);
    }
    node.engine.script(|_| Act::Answer(Err(Refusal::Stopped)));
    assert_error(
        &node.post(START, "{}").await,
        "500 Internal Server Error",
        "the engine has stopped",
    );
}

#[tokio::test(start_paused = true)]
async fn a_busy_mailbox_is_tried_again_within_the_deadline() {
    let node = node(Config::default());
    let tries = std::sync::atomic::AtomicUsize::new(0);
    node.engine.script(
        move |_| match tries.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0..10 => Act::Answer(Err(Refusal::Busy)),
            _ => Act::Answer(Ok(Answer::Done)),
        },
    );
    node.start("{}").await;
    assert_eq!(node.engine.count("open"), 11);

    node.engine.script(|_| Act::Answer(Err(Refusal::Busy)));
    let begin = Instant::now();
    assert_error(
        &node.post(START, "{}").await,
        "503 Service Unavailable",
        "insufficient capacity",
    );
    assert!(
        begin.elapsed() < Duration::from_secs(5),
        "{:?}",
        begin.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_start_that_takes_too_long_is_answered_in_time_and_undone() {
    let node = node(Config {
        sessions: 1,
        ..Config::default()
    });
    node.engine.script(|command| match command {
        Command::OpenSession(_) => Act::Hold,
        _ => Act::Answer(Ok(Answer::Done)),
    });
    let begin = Instant::now();
    let answer = node.post(START, "{}").await;
    assert_error(&answer, "500 Internal Server Error", "live start timed out");
    assert!(
        begin.elapsed() < Duration::from_secs(5),
        "{:?}",
        begin.elapsed()
    );
    assert_eq!(node.handle.sessions(), 1, "it may still come to life");

    node.engine.answer_held(Ok(Answer::Done));
    node.until("closed", |engine| engine.count("close") == 1)
        .await;
    assert_eq!(node.handle.sessions(), 1, "its channels still exist");
    node.end(&"a0".repeat(16), EndCause::Closed);
    timeout(Duration::from_secs(5), node.handle.idle())
        .await
        .unwrap();
    assert_eq!(node.engine.count("delete"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_start_that_is_never_answered_does_not_keep_its_place() {
    let node = node(Config::default());
    node.engine.script(|_| Act::Hold);
    let answer = node.post(START, "{}").await;
    assert_error(&answer, "500 Internal Server Error", "live start timed out");
    timeout(Duration::from_secs(40), node.handle.idle())
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_body_that_trickles_in_is_given_up() {
    let node = node(Config::default());
    let begin = Instant::now();
    let answer = node
        .raw("POST /live-video-to-video HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 10\r\n\r\n{")
        .await;
    assert!(
        answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"),
        "{answer}"
    );
    assert!(begin.elapsed() < Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_hangs_up_leaves_no_session() {
    let node = node(Config::default());
    node.engine.script(|command| match command {
        Command::OpenSession(_) => Act::Hold,
        _ => Act::Answer(Ok(Answer::Done)),
    });
    let stream = node.connect_with(
        b"POST /live-video-to-video HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
    );
    node.until("asked", |engine| engine.count("open") == 1)
        .await;
    drop(stream);
    sleep(Duration::from_millis(100)).await;
    node.engine.answer_held(Ok(Answer::Done));
    node.until("closed", |engine| engine.count("close") == 1)
        .await;
    node.end(&"a0".repeat(16), EndCause::Closed);
    timeout(Duration::from_secs(5), node.handle.idle())
        .await
        .unwrap();
}

#[tokio::test]
async fn garbage_ends_its_own_connection_only() {
    let node = node(Config::default());
    let mut kept = node.connect_with(b"");
    let garbage: Vec<u8> = (0..100_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    for prefix in [
        &garbage[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\ngarbage-garbage-garbage",
        b"\0\0\0\0",
    ] {
        let mut stream = node.connect_with(prefix);
        let mut answer = Vec::new();
        drop(stream.shutdown().await);
        drop(
            timeout(Duration::from_secs(5), stream.read_to_end(&mut answer))
                .await
                .unwrap(),
        );
    }
    kept.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    kept.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn idle_connections_are_tolerated_for_minutes_and_not_for_ever() {
    let node = node(Config::default());
    let mut early = node.connect_with(b"");
    sleep(Duration::from_secs(240)).await;
    early
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut answer = vec![0; 4096];
    let len = early.read(&mut answer).await.unwrap();
    assert!(answer[..len].starts_with(b"HTTP/1.1 200 OK"));
    let len = timeout(Duration::from_secs(700), early.read(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(len, 0, "closed after the keep-alive time");
}

#[tokio::test(start_paused = true)]
async fn a_stop_lets_connections_finish_and_ends() {
    let node = node(Config::default());
    let mut idle = node.connect_with(b"");
    let id = node.start("{}").await;
    node.handle.stop(Duration::from_secs(2));
    timeout(Duration::from_secs(5), node.task)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(idle.read(&mut [0; 16]).await.unwrap(), 0);
    assert!(!id.is_empty());
}

#[tokio::test(start_paused = true)]
async fn visitors_that_want_nothing_keep_nobody_out() {
    let node = node(Config {
        visitors: 3,
        ..Config::default()
    });
    // One says nothing, one has begun to, and one waits for an answer that takes its time.
    let silent = node.connect_with(b"");
    let begun = node.connect_with(b"GET /healthz HTTP/1.1\r\nHo");
    node.engine.script(|_| Act::Hold);
    let body = "{}";
    let busy = node.connect_with(
        format!("POST {START} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len()).as_bytes(),
    );
    node.until("it is asked", |engine| engine.count("open") == 1)
        .await;
    // Whoever comes now waits until somebody has idled for a while, and is then served; so is the next.
    for _ in 0..2 {
        let before = Instant::now();
        let answer = node.get("/healthz").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(before.elapsed() < Duration::from_secs(3));
    }
    // Who was being served is answered.
    node.engine.answer_held(Ok(Answer::Done));
    let mut busy = busy;
    let mut answer = String::new();
    timeout(Duration::from_secs(60), busy.read_to_string(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    drop((silent, begun));
}

#[tokio::test(start_paused = true)]
async fn where_all_have_something_to_do_others_wait() {
    let node = node(Config {
        visitors: 1,
        ..Config::default()
    });
    node.engine.script(|_| Act::Hold);
    let ask = "POST /live-video-to-video HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}";
    let _busy = node.connect_with(ask.as_bytes());
    node.until("it is asked", |engine| engine.count("open") == 1)
        .await;
    let later = timeout(Duration::from_secs(2), node.get("/healthz")).await;
    assert!(later.is_err(), "there is no place for it yet");
    // The start is given up at its deadline, and then there is.
    let answer = timeout(Duration::from_secs(60), node.get("/healthz")).await;
    assert!(answer.unwrap().starts_with("HTTP/1.1 200"));
}
