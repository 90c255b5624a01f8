//! The road of HTTP/2 into trickle, against a scripted trickle server behind `connect`.

mod support;

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::pin::Pin;
use std::sync::mpsc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use control::orchestrator::Config;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Frame};
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use support::{Node, node};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

/// Serves every private stream with `serve` on a thread of its own; what it returns arrives at the receiver.
fn trickle<T: Send + 'static>(node: &Node, serve: fn(StdUnixStream) -> T) -> mpsc::Receiver<T> {
    let (tx, rx) = mpsc::channel();
    let tx = std::sync::Mutex::new(tx);
    node.engine.on_connect(move || {
        let (near, far) = StdUnixStream::pair()?;
        let tx = tx.lock().unwrap().clone();
        std::thread::spawn(move || {
            far.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            drop(tx.send(serve(far)));
        });
        Ok(near.into())
    });
    rx
}

fn head(stream: &mut StdUnixStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8(head).unwrap())
}

/// What a trickle server says of a segment that does not exist.
fn missing(mut stream: StdUnixStream) -> String {
    let request = head(&mut stream).unwrap();
    stream
        .write_all(
            b"HTTP/1.1 470 Segment Not Found\r\nLp-Trickle-Latest: 7\r\nLp-Trickle-Seq: -2\r\n\
              Content-Length: 15\r\n\r\nEntry not found",
        )
        .unwrap();
    request
}

/// Echoes a chunked body as it comes, after an early head and one unasked `100 Continue`.
fn echo(mut stream: StdUnixStream) -> String {
    let request = head(&mut stream).unwrap();
    stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
    stream
        .write_all(b"HTTP/1.1 200 OK\r\nLp-Trickle-Seq: 3\r\nTransfer-Encoding: chunked\r\n\r\n")
        .unwrap();
    let mut buf = [0; 1024];
    let mut seen = Vec::new();
    // Chunk framing is the same both ways.
    while !seen.ends_with(b"0\r\n\r\n") {
        let len = stream.read(&mut buf).unwrap();
        seen.extend_from_slice(&buf[..len]);
        stream.write_all(&buf[..len]).unwrap();
    }
    request
}

/// Answers nothing, and tells when its client has gone.
fn parked(mut stream: StdUnixStream) -> bool {
    head(&mut stream).unwrap();
    matches!(stream.read(&mut [0; 16]), Ok(0))
}

/// Starts a body that never ends, and tells when its client has gone.
fn endless(mut stream: StdUnixStream) -> bool {
    head(&mut stream).unwrap();
    stream
        .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        .unwrap();
    for _ in 0..2_000 {
        if stream.write_all(b"5\r\nhello\r\n").is_err() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    false
}

type H2<B> = hyper::client::conn::http2::SendRequest<B>;

async fn h2<B>(node: &Node) -> H2<B>
where
    B: hyper::body::Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: std::error::Error + Send + Sync,
{
    // The preface comes read already, as the data plane had to read it to know.
    let stream = TokioIo::new(node.connect_with(b""));
    let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream)
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

fn get(path: &str) -> Request<Empty<Bytes>> {
    Request::get(format!("https://node.example:8935{path}"))
        .body(Empty::new())
        .unwrap()
}

#[tokio::test]
async fn a_470_survives_http2_with_its_headers_and_its_body() {
    let node = node(Config::default());
    let requests = trickle(&node, missing);
    let answer = h2(&node)
        .await
        .send_request(get("/ai//trickle/x/-2"))
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::from_u16(470).unwrap());
    assert_eq!(answer.headers()["lp-trickle-latest"], "7");
    assert_eq!(answer.headers()["lp-trickle-seq"], "-2");
    assert_eq!(
        answer.into_body().collect().await.unwrap().to_bytes(),
        "Entry not found"
    );
    let request = requests.recv_timeout(Duration::from_secs(5)).unwrap();
    assert!(
        request.starts_with("GET /ai/trickle/x/-2 HTTP/1.1\r\n"),
        "{request}"
    );
    assert!(request.contains("host: node.example:8935\r\n"), "{request}");
    assert!(
        !request.to_lowercase().contains("transfer-encoding"),
        "{request}"
    );
}

#[tokio::test]
async fn a_470_survives_http1_with_its_reason() {
    let node = node(Config::default());
    let _requests = trickle(&node, missing);
    let answer = node.get("/ai/trickle/x/-2").await;
    assert!(
        answer.starts_with("HTTP/1.1 470 Segment Not Found\r\n"),
        "{answer}"
    );
    assert!(answer.contains("\r\nLp-Trickle-Latest: 7\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nEntry not found"), "{answer}");
}

/// A body whose chunks come from elsewhere, when they come.
struct Fed(tokio::sync::mpsc::Receiver<Bytes>);

impl Body for Fed {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0
            .poll_recv(cx)
            .map(|chunk| chunk.map(|bytes| Ok(Frame::data(bytes))))
    }
}

#[tokio::test]
async fn bodies_stream_both_ways_over_http2() {
    let node = node(Config::default());
    let requests = trickle(&node, echo);
    let (tx, rx) = tokio::sync::mpsc::channel(4);
    let request = Request::post("https://node.example:8935/ai/trickle/x/3")
        .body(Fed(rx))
        .unwrap();
    let answer = h2(&node).await.send_request(request).await.unwrap();
    assert_eq!(
        (answer.status(), &answer.headers()["lp-trickle-seq"]),
        (StatusCode::OK, &"3".parse().unwrap())
    );
    let mut body = answer.into_body();
    for chunk in ["one", "two", "three"] {
        // Each chunk arrives before the next is sent: nobody waits for more.
        tx.send(Bytes::from_static(chunk.as_bytes())).await.unwrap();
        let frame = timeout(Duration::from_secs(5), body.frame())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        assert_eq!(frame.into_data().unwrap(), chunk);
    }
    drop(tx);
    let rest = timeout(Duration::from_secs(5), body.collect())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(rest.to_bytes(), "");
    let request = requests.recv_timeout(Duration::from_secs(5)).unwrap();
    assert!(
        request
            .to_lowercase()
            .contains("transfer-encoding: chunked\r\n"),
        "{request}"
    );
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_private_stream_along() {
    let node = node(Config::default());
    let gone = trickle(&node, parked);

    // Over HTTP/2, by giving up one request of many.
    let mut client = h2(&node).await;
    let given_up = timeout(
        Duration::from_millis(200),
        client.send_request(get("/ai/trickle/x/9")),
    )
    .await;
    assert!(given_up.is_err());
    assert!(wait(&gone).await, "the parked reader is gone");

    // Over HTTP/1.1, by closing the connection.
    let stream = node.connect_with(b"GET /ai/trickle/x/9 HTTP/1.1\r\nHost: x\r\n\r\n");
    tokio::time::sleep(Duration::from_millis(200)).await;
    drop(stream);
    assert!(wait(&gone).await, "the parked reader is gone");
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_a_body_ends_it() {
    let node = node(Config::default());
    let gone = trickle(&node, endless);
    let answer = h2(&node)
        .await
        .send_request(get("/ai/trickle/x/0"))
        .await
        .unwrap();
    let mut body = answer.into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    assert!(wait(&gone).await);

    let mut stream = node.connect_with(b"GET /ai/trickle/x/0 HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut start = [0; 256];
    assert!(stream.read(&mut start).await.unwrap() > 0);
    drop(stream);
    assert!(wait(&gone).await);
}

/// Writes as much as there is room for, and tells when its client has gone.
fn pouring(mut stream: StdUnixStream) -> bool {
    head(&mut stream).unwrap();
    stream
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
        .unwrap();
    (0..1 << 14).any(|_| stream.write_all(&[0; 1 << 16]).is_err())
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_is_cut_after_a_minute() {
    let node = node(Config::default());
    let gone = trickle(&node, pouring);
    let begin = tokio::time::Instant::now();
    let stream = node.connect_with(b"GET /ai/trickle/x/0 HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut cut = false;
    for _ in 0..200 {
        // The server is a thread and lives in real time.
        std::thread::sleep(Duration::from_millis(5));
        tokio::time::sleep(Duration::from_secs(1)).await;
        cut = cut || gone.try_recv() == Ok(true);
        if cut {
            break;
        }
    }
    assert!(cut, "the reader is still there");
    assert!(
        begin.elapsed() >= Duration::from_secs(60),
        "{:?}",
        begin.elapsed()
    );
    drop(stream);
}

#[tokio::test]
async fn a_data_plane_that_is_gone_is_a_502() {
    let node = node(Config::default());
    let answer = node.get("/ai/trickle/x/0").await;
    assert!(
        answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"),
        "{answer}"
    );
    assert!(
        answer.ends_with("\r\n\r\nthe data plane did not answer\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn an_early_answer_to_a_publish_arrives_though_the_body_is_open() {
    let node = node(Config::default());
    let _requests = trickle(&node, |mut stream: StdUnixStream| {
        head(&mut stream).unwrap();
        stream
            .write_all(
                b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 17\r\n\r\nStream not found\n",
            )
            .unwrap();
    });
    let request = "POST /ai/trickle/x/0 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    let mut stream = node.connect_with(request.as_bytes());
    stream.flush().await.unwrap();
    let mut answer = String::new();
    timeout(Duration::from_secs(5), stream.read_to_string(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 404 Not Found\r\n"), "{answer}");
    assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
    assert!(answer.ends_with("Stream not found\n"), "{answer}");
}

async fn wait(gone: &mpsc::Receiver<bool>) -> bool {
    for _ in 0..500 {
        if let Ok(gone) = gone.try_recv() {
            return gone;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}
