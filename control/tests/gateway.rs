//! The gateway's client against orchestrators of every kind.

mod peer;

use std::time::Duration;

use control::capability::{Capability, Job};
use control::gateway::client::{Connection, Deadlines, Failed, MESSAGE_BYTES_MAX, request};
use control::gateway::probe::{AT_ONCE_MAX, Question, Row, probe};
use control::gateway::{Target, trusting};
use peer::{H2, Over, Peer, Reply, answers, info};
use proto::net;
use ticket::Address;
use ticket::sender::LocalKey;
use ticket::signature::signer_of_text;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};

const EDGES: &str = "builtin/edges";
/// Long enough for a machine that is busy; nothing waits for it but what fails.
const PATIENCE: Deadlines = Deadlines {
    connect: Duration::from_secs(20),
    call: Duration::from_secs(20),
};
const HASTE: Deadlines = Deadlines {
    connect: Duration::from_millis(300),
    call: Duration::from_millis(300),
};

async fn connect(target: &str, deadlines: Deadlines) -> Result<Connection, Failed> {
    Connection::open(&target.parse().unwrap(), &trusting().unwrap(), deadlines).await
}

async fn ask(target: &str, deadlines: Deadlines) -> Result<net::OrchestratorInfo, Failed> {
    let mut connection = connect(target, deadlines).await?;
    connection.orchestrator(request(None, None, false)).await
}

fn job() -> net::Capabilities {
    Job {
        model: Some(EDGES),
        min_version: "0.9.0",
        ..Job::live()
    }
    .capabilities()
}

async fn row(target: &str, deadlines: Deadlines) -> Row {
    let question = Question::new(None, job(), deadlines);
    let targets = vec![target.parse::<Target>().unwrap()];
    let mut rows = probe(targets, &question, &trusting().unwrap()).await;
    assert_eq!(rows.len(), 1);
    rows.remove(0)
}

#[tokio::test]
async fn an_orchestrator_is_asked_in_the_clear_and_over_tls() {
    for over in [Over::Plain, H2] {
        let expected = info(EDGES, "0.9.1");
        let peer = Peer::start(over, answers(expected.clone())).await;
        let mut connection = connect(&peer.url(), PATIENCE).await.unwrap();
        for _ in 0..3 {
            let answer = connection
                .orchestrator(request(None, Some(job()), true))
                .await;
            assert_eq!(answer.unwrap(), expected);
        }
        assert_eq!(connection.ping(vec![1, 2, 3]).await.unwrap(), [3, 2, 1]);
        let token = expected.auth_token.unwrap();
        connection.end_session(token).await.unwrap();
        let refused = connection.end_session(net::AuthToken::default()).await;
        assert_eq!(
            refused.unwrap_err().to_string(),
            "refused: Invalid auth token"
        );
        let [first, ..] = &peer.heard()[..] else {
            panic!("nothing was asked");
        };
        assert_eq!(first.capabilities, Some(job()));
        assert!(first.ignore_capacity_check);
    }
}

#[tokio::test]
async fn a_request_is_signed_as_go_livepeer_signs_it() {
    let peer = Peer::start(H2, answers(info(EDGES, "0.9.1"))).await;
    let key = LocalKey::new([7; 32]).unwrap();
    let mut connection = connect(&peer.url(), PATIENCE).await.unwrap();
    for key in [Some(&key), None] {
        let asked = request(key, None, false);
        connection.orchestrator(asked).await.unwrap();
    }
    let heard = peer.heard();
    assert_eq!(heard[0].address, key.address().0);
    let text = key.address().checksummed();
    assert_eq!(
        signer_of_text(text.as_bytes(), &heard[0].sig),
        Ok(key.address())
    );
    // Off-chain: nobody, and no signature.
    assert_eq!(
        (&heard[1].address[..], heard[1].sig.len()),
        (&[0; 20][..], 0)
    );
}

#[tokio::test]
async fn a_refusal_has_the_orchestrators_own_words() {
    let words = "Invalid orchestrator request: OrchestratorCapped";
    let peer = Peer::start(Over::Plain, Reply::Refuse(words)).await;
    let error = ask(&peer.url(), PATIENCE).await.unwrap_err();
    assert!(
        matches!(&error, Failed::Refused(text) if text == words),
        "{error:?}"
    );
    let peer = Peer::start(Over::Plain, Reply::Refuse("\x1b[2J\nall is well")).await;
    let error = ask(&peer.url(), PATIENCE).await.unwrap_err();
    assert_eq!(error.to_string(), "refused: \u{fffd}[2J\u{fffd}all is well");
}

#[tokio::test]
async fn who_says_nothing_is_not_waited_for() {
    for over in [Over::Plain, H2] {
        let peer = Peer::start(over, Reply::Silence).await;
        let deadlines = Deadlines {
            connect: PATIENCE.connect,
            ..HASTE
        };
        let error = ask(&peer.url(), deadlines).await.unwrap_err();
        assert_eq!(error.to_string(), "no answer within 0.3 s");
    }
    // A socket at which nobody answers TLS, or anything at all.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let error = ask(&format!("https://{at}"), HASTE).await.unwrap_err();
    assert_eq!(error.to_string(), "no connection within 0.3 s");
    let error = ask(&format!("http://{at}"), HASTE).await.unwrap_err();
    assert_eq!(error.to_string(), "no answer within 0.3 s");
}

#[tokio::test]
async fn who_is_not_there_is_said_not_to_be() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    drop(listener);
    let error = ask(&at.to_string(), PATIENCE).await.unwrap_err();
    assert!(matches!(error, Failed::Connect(_)), "{error:?}");
    assert!(error.to_string().starts_with("no connection: "), "{error}");
}

/// A server that sends this to whoever comes, and listens for the rest of the test.
async fn babbler(bytes: &'static [u8]) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                stream.write_all(bytes).await.unwrap();
                let mut sink = [0; 4_096];
                while stream.read(&mut sink).await.is_ok_and(|read| read > 0) {}
            });
        }
    });
    at
}

#[tokio::test]
async fn who_speaks_something_else_is_found_out() {
    let at = babbler(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
    let error = ask(&format!("https://{at}"), PATIENCE).await.unwrap_err();
    assert!(matches!(error, Failed::Tls(_)), "{error:?}");
    assert!(error.to_string().starts_with("no TLS: "), "{error}");
    let error = ask(&format!("http://{at}"), PATIENCE).await.unwrap_err();
    assert!(matches!(error, Failed::Connection(_)), "{error:?}");
    // TLS, but without HTTP/2: no ALPN at all, and one that has nothing for us.
    let peer = Peer::start(Over::Tls(&[]), Reply::Silence).await;
    let error = ask(&peer.url(), PATIENCE).await.unwrap_err();
    assert!(matches!(error, Failed::NoHttp2), "{error:?}");
    let peer = Peer::start(Over::Tls(&[b"http/1.1"]), Reply::Silence).await;
    let error = ask(&peer.url(), PATIENCE).await.unwrap_err();
    assert!(matches!(error, Failed::Tls(_)), "{error:?}");
}

#[tokio::test]
async fn a_huge_message_is_not_read() {
    let mut huge = info(EDGES, "0.9.1");
    huge.nodes = vec!["x".repeat(1 << 10); MESSAGE_BYTES_MAX >> 10];
    let peer = Peer::start(Over::Plain, answers(huge)).await;
    let error = ask(&peer.url(), PATIENCE).await.unwrap_err();
    assert!(matches!(error, Failed::Status { .. }), "{error:?}");
    assert!(error.to_string().contains("too large"), "{error}");
}

#[tokio::test]
async fn whoever_goes_away_leaves_nothing_running() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = format!("http://{}", listener.local_addr().unwrap());
    let call = tokio::spawn(async move { ask(&target, PATIENCE).await });
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut sink = [0; 4_096];
    assert!(stream.read(&mut sink).await.unwrap() > 0, "the preface");
    call.abort();
    let left = async { while stream.read(&mut sink).await.is_ok_and(|read| read > 0) {} };
    timeout(Duration::from_secs(10), left)
        .await
        .expect("the connection goes with the future");
}

#[tokio::test]
async fn each_is_a_row_whatever_the_others_do() {
    let fit = Peer::start(H2, answers(info(EDGES, "0.9.1"))).await;
    let other = Peer::start(Over::Plain, answers(info("onnx/denoise", "0.9.1"))).await;
    let old = Peer::start(Over::Plain, answers(info(EDGES, "0.8.1-late"))).await;
    let full = Peer::start(Over::Plain, Reply::Refuse("OrchestratorCapped")).await;
    let silent = Peer::start(Over::Plain, Reply::Silence).await;
    let targets: Vec<Target> = [&fit, &other, &old, &full, &silent]
        .map(|peer| peer.url().parse().unwrap())
        .into();
    let deadlines = Deadlines {
        connect: PATIENCE.connect,
        call: Duration::from_secs(2),
    };
    let key = LocalKey::new([7; 32]).unwrap();
    let question = Question::new(Some(&key), job(), deadlines);
    let rows = probe(targets.clone(), &question, &trusting().unwrap()).await;
    let asked: Vec<_> = rows.iter().map(|row| row.target.clone()).collect();
    assert_eq!(asked, targets, "in their order");
    let said: Vec<_> = rows
        .iter()
        .map(|row| match &row.outcome {
            Ok(answer) => match &answer.verdict {
                Ok(()) => "fit".to_owned(),
                Err(unfit) => unfit.to_string(),
            },
            Err(error) => error.clone(),
        })
        .collect();
    assert_eq!(
        said,
        [
            "fit",
            "does not offer builtin/edges for Live video to video",
            "version 0.8.1 is older than 0.9.0",
            "refused: OrchestratorCapped",
            "no answer within 2 s"
        ]
    );
    assert!(
        rows.iter()
            .all(|row| row.connect.is_some() && row.call.is_some())
    );
    assert_eq!(
        rows.iter().map(Row::is_fit).collect::<Vec<_>>(),
        [true, false, false, false, false]
    );
    let answer = rows[0].outcome.as_ref().unwrap();
    assert_eq!(answer.address, Address([0x11; 20]));
    assert_eq!(answer.price.unwrap().to_string(), "1200/7");
    assert_eq!(
        answer.tickets.unwrap().value.floor_wei().to_string(),
        "501960784313725"
    );
    assert!(
        answer
            .capabilities
            .contains(&Capability::LIVE_VIDEO_TO_VIDEO)
    );
    assert_eq!((answer.models[0].idle, answer.models[0].in_use), (3, 1));
    assert!(fit.heard()[0].ignore_capacity_check);
    assert_eq!(fit.heard()[0].address, key.address().0);
}

#[tokio::test]
async fn many_are_asked_at_once_and_none_waits_for_those_before() {
    let silent = Peer::start(Over::Plain, Reply::Silence).await;
    let fit = Peer::start(Over::Plain, answers(info(EDGES, "0.9.1"))).await;
    let mut targets: Vec<Target> = vec![silent.url().parse().unwrap(); AT_ONCE_MAX * 2];
    targets.push(fit.url().parse().unwrap());
    let question = Question::new(
        None,
        job(),
        Deadlines {
            call: Duration::from_secs(1),
            ..PATIENCE
        },
    );
    let began = Instant::now();
    let rows = probe(targets, &question, &trusting().unwrap()).await;
    assert_eq!(rows.len(), AT_ONCE_MAX * 2 + 1);
    assert_eq!(rows.iter().filter(|row| row.is_fit()).count(), 1);
    // One by one it would be over a minute.
    let took = began.elapsed();
    assert!(took < Duration::from_secs(30), "{took:?}");
    assert_eq!(silent.heard().len(), AT_ONCE_MAX * 2);
}

#[tokio::test]
async fn a_row_without_a_connection_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = format!("https://{}", listener.local_addr().unwrap());
    let row = row(&target, HASTE).await;
    assert_eq!((row.connect, row.call), (None, None));
    assert_eq!(row.outcome, Err("no connection within 0.3 s".to_owned()));
    let none = probe(
        Vec::new(),
        &Question::new(None, job(), HASTE),
        &trusting().unwrap(),
    )
    .await;
    assert!(none.is_empty());
}
