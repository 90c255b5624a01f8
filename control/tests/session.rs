//! A live session from its start to its last event, against a scripted data plane.

mod support;

use std::time::Duration;

use control::orchestrator::Config;
use link::{Answer, Command, Control, EndCause, Refusal, Report, SessionStats};
use support::{Act, EPOCH_MS, Node, node};
use tokio::time::{Instant, sleep, timeout};

/// The types of the events so far, statuses with their state.
fn types(node: &Node) -> Vec<String> {
    let text = |event: &str, key: &str| {
        let at = event.find(&format!("\"{key}\":\""))? + key.len() + 4;
        Some(event[at..at + event[at..].find('"')?].to_owned())
    };
    let events = node.engine.events();
    let word = |event: &String| match (text(event, "type"), text(event, "state")) {
        (Some(kind), Some(state)) => format!("{kind} {state}"),
        (kind, _) => kind.unwrap_or_default(),
    };
    events.iter().map(word).collect()
}

fn flowing(second: u64) -> SessionStats {
    SessionStats {
        frames_in: second * 30,
        frames_out: second * 30,
        last_input_ms: EPOCH_MS + second * 1_000,
        last_output_ms: EPOCH_MS + second * 1_000,
        ..SessionStats::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_tells_its_story_in_order() {
    let node = node(Config::default());
    let id = node
        .start(r#"{"model_id":"builtin/blur","stream_id":"s-1"}"#)
        .await;
    sleep(Duration::from_millis(10)).await;
    assert_eq!(
        types(&node),
        ["runner_receive_stream_request", "status LOADING"]
    );

    node.inbox.report(Report::FirstInput {
        manifest_id: id.clone(),
        description: "h264 640x360".into(),
    });
    node.inbox.report(Report::FirstOutput {
        manifest_id: id.clone(),
    });
    for second in 1..=3 {
        node.progress(&id, flowing(second));
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(
        types(&node)[2..],
        [
            "runner_receive_first_ingest_segment",
            "runner_send_first_processed_segment",
            "status ONLINE"
        ]
    );

    // The input stops: two seconds are forgiven, then it is said.
    sleep(Duration::from_secs(3)).await;
    assert_eq!(types(&node)[5..], ["status DEGRADED_INPUT"]);

    let answer = node.get(&format!("/live-video-to-video/{id}/status")).await;
    assert!(answer.contains(r#""state":"DEGRADED_INPUT""#), "{answer}");
    assert!(answer.contains(r#""stream_id":"s-1""#), "{answer}");
    assert!(answer.contains(r#""frames_in":90"#), "{answer}");
    assert!(answer.contains(r#""decode":{"count":0,"#), "{answer}");
    assert!(
        answer.contains(r#""params":{"filter":"blur","radius_px":4}"#),
        "{answer}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_status_comes_every_ten_seconds_without_fail() {
    let node = node(Config::default());
    let id = node.start("{}").await;
    for second in 1..=60 {
        node.progress(&id, flowing(second));
        sleep(Duration::from_secs(1)).await;
    }
    let statuses = types(&node)
        .iter()
        .filter(|kind| kind.starts_with("status"))
        .count();
    // The first, the change to online, and one every ten seconds.
    assert!((7..=8).contains(&statuses), "{statuses}");
}

#[tokio::test(start_paused = true)]
async fn control_messages_change_parameters_and_never_kill() {
    let node = node(Config::default());
    let id = node.start(r#"{"model_id":"builtin/blur"}"#).await;
    sleep(Duration::from_millis(10)).await;
    let before = node.engine.words().len();

    node.control(&id, r#"{"keep":"alive"}"#);
    sleep(Duration::from_millis(10)).await;
    assert_eq!(node.engine.words().len(), before, "a keepalive is nothing");

    node.control(&id, r#"{"radius_px":9,"prompt":[1,{"a":null}]}"#);
    sleep(Duration::from_millis(10)).await;
    assert_eq!(
        node.engine.words()[before],
        "set Filter(Blur { radius_px: 9 })"
    );
    let event = node.engine.events().pop().unwrap();
    assert!(event.contains(r#""type":"params_update""#), "{event}");
    assert!(event.contains(r#""ignored":["prompt"]"#), "{event}");
    assert!(
        event.contains(r#""params":{"filter":"blur","radius_px":9}"#),
        "{event}"
    );

    for strange in [
        "",
        "null",
        "[[[",
        "7",
        "\"x\"",
        r#"{"radius_px":"nine"}"#,
        r#"{"filter":{}}"#,
        "\u{0}",
    ] {
        node.control(&id, strange);
        sleep(Duration::from_millis(1_100)).await;
        let event = node
            .engine
            .events()
            .into_iter()
            .rev()
            .find(|event| !event.contains("\"status\""))
            .unwrap();
        assert!(event.contains(r#""type":"error""#), "{strange}: {event}");
        assert!(event.contains(r#""pipeline":"builtin/blur""#), "{event}");
    }
    assert_eq!(node.engine.count("set"), 1, "the old parameters stay");
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_troubles_is_told_slowly() {
    let node = node(Config::default());
    let id = node.start("{}").await;
    for _ in 0..500 {
        node.inbox.report(Report::Trouble {
            manifest_id: id.clone(),
            message: "a decoder frowned".into(),
        });
        sleep(Duration::from_millis(10)).await;
    }
    let told = types(&node).iter().filter(|kind| *kind == "error").count();
    assert!((4..=6).contains(&told), "{told}");
    assert!(
        node.engine
            .events()
            .iter()
            .any(|event| event.contains("more before it"))
    );
}

#[tokio::test(start_paused = true)]
async fn what_comes_too_fast_is_lost_and_said() {
    let node = node(Config::default());
    let id = node.start("{}").await;
    sleep(Duration::from_millis(10)).await;
    // The data plane is slow to answer, and the gateway is in a hurry.
    node.engine.script(|command| match command {
        Command::SetProcess { .. } => Act::Hold,
        _ => Act::Answer(Ok(Answer::Done)),
    });
    for n in 0..24 {
        node.control(
            &id,
            &format!(r#"{{"filter":"edges","gain_percent":{}}}"#, n + 1),
        );
    }
    sleep(Duration::from_secs(60)).await;
    assert!(
        node.engine
            .events()
            .iter()
            .any(|event| event.contains("messages came too fast and were lost"))
    );
    assert_eq!(
        node.handle.sessions(),
        0,
        "silent for 30 s by now, so it was closed"
    );
}

#[tokio::test(start_paused = true)]
async fn the_end_says_goodbye_then_deletes_then_frees_the_place() {
    let node = node(Config {
        sessions: 1,
        ..Config::default()
    });
    let id = node.start("{}").await;
    sleep(Duration::from_millis(10)).await;
    let begin = Instant::now();
    node.end(&id, EndCause::BadInput("this is not MPEG-TS".into()));
    node.until("a last status", |_| {
        types(&node)
            .last()
            .is_some_and(|kind| kind == "status ERROR")
    })
    .await;
    let kinds = types(&node);
    assert_eq!(kinds[kinds.len() - 2..], ["error", "status ERROR"]);
    assert!(
        node.engine
            .events()
            .iter()
            .any(|event| event.contains("this is not MPEG-TS"))
    );
    assert_eq!(
        (node.handle.sessions(), node.engine.count("delete")),
        (1, 0),
        "readers get a second"
    );

    timeout(Duration::from_secs(3), node.handle.idle())
        .await
        .unwrap();
    assert!(begin.elapsed() >= Duration::from_secs(1));
    assert_eq!(
        node.engine.words().last().unwrap(),
        &format!("delete {id}-events")
    );
    assert!(
        node.get(&format!("/live-video-to-video/{id}/status"))
            .await
            .starts_with("HTTP/1.1 404")
    );
    node.start("{}").await;

    // A peer's own end is no error.
    let id = "a1".repeat(16);
    node.end(&id, EndCause::InputEnded);
    timeout(Duration::from_secs(3), node.handle.idle())
        .await
        .unwrap();
    assert_eq!(types(&node).last().unwrap(), "status OFFLINE");
}

#[tokio::test(start_paused = true)]
async fn a_data_plane_that_falls_silent_costs_the_session_and_not_its_place() {
    let node = node(Config::default());
    let id = node.start("{}").await;
    let begin = Instant::now();
    node.until("closed", |engine| engine.count("close") == 1)
        .await;
    assert!((30..=32).contains(&begin.elapsed().as_secs()));
    timeout(Duration::from_secs(15), node.handle.idle())
        .await
        .unwrap();
    assert_eq!(
        node.engine.words().last().unwrap(),
        &format!("delete {id}-events")
    );
}

#[tokio::test(start_paused = true)]
async fn events_deleted_by_a_peer_are_not_missed() {
    let node = node(Config::default());
    node.engine.script(|command| match command {
        Command::Publish { .. } | Command::DeleteChannel { .. } => {
            Act::Answer(Err(Refusal::Unknown))
        }
        _ => Act::Answer(Ok(Answer::Done)),
    });
    let id = node.start("{}").await;
    for second in 1..=30 {
        node.progress(&id, flowing(second));
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(node.engine.count("publish"), 1, "tried once");
    assert_eq!(node.handle.sessions(), 1);
    node.end(&id, EndCause::InputEnded);
    timeout(Duration::from_secs(3), node.handle.idle())
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stalled_data_plane_never_stalls_the_table() {
    let node = node(Config {
        sessions: 2,
        ..Config::default()
    });
    let stuck = node.start("{}").await;
    node.engine.script(move |command| match command {
        Command::Publish { name, .. } if name.starts_with(&*stuck) => Act::Hold,
        _ => Act::Answer(Ok(Answer::Done)),
    });
    let id = node.start("{}").await;
    let begin = Instant::now();
    for second in 1..=20 {
        node.progress(&id, flowing(second));
        sleep(Duration::from_secs(1)).await;
    }
    assert!(
        begin.elapsed() < Duration::from_secs(21),
        "the other session went on"
    );
    assert!(
        types(&node)
            .iter()
            .filter(|kind| *kind == "status ONLINE")
            .count()
            >= 2
    );
}
