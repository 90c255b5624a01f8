//! Every bound of the orchestrator's control plane, with the sum shown.
//!
//! Full is a normal day. What each bound answers when it is reached:
//!
//! | bound | answer |
//! |---|---|
//! | `Config::sessions` | 503 `insufficient capacity` |
//! | `Config::visitors`, [`VISITORS_WAITING`] | whoever has idled for longest is cut; where nobody idles, the visitor goes back to the shard, which answers 503 |
//! | [`JSON_BODY_BYTES`] | 413 `request body too large` |
//! | [`START`] | 500 `live start timed out`, and the session is closed |
//! | [`MESSAGES_WAITING`], [`NOTES_WAITING`], [`PROGRESS_WAITING`] | the report is lost and counted; never the end of a session |
//! | [`SESSION_MESSAGES`], [`SESSION_NOTES`] | the same, and the session says so on its events channel |
//! | [`WEBHOOK_ASKING`], [`WEBHOOK`], [`WEBHOOK_BODY_BYTES`] | `authentication failed: …` |
//! | [`WEBHOOK_KNOWN`] | whoever was asked about longest ago is asked about again |
//!
//! Memory held for the auth webhook, at most: 256 answers of 64 KiB, so 16 MiB.
//! Memory held for control messages, at most: 32 in the common queue and 8 a session, 1 MiB each; 160 MiB with the
//! default of 16 sessions, all of them under attack.

use std::time::Duration;

/// A live start is answered within this: the gateway hangs up at 5 s, and would not read an answer given then.
pub(super) const START: Duration = Duration::from_millis(4_500);
/// How long a start that was given up may still turn out to have succeeded.
pub(super) const START_LATE: Duration = Duration::from_secs(30);
/// The longest JSON body of a request.
pub(super) const JSON_BODY_BYTES: usize = 2 << 20;

/// Visitors waiting for a free place.
pub(super) const VISITORS_WAITING: usize = 256;
/// Control messages waiting for the dispatcher, over all sessions; up to 1 MiB each.
pub(super) const MESSAGES_WAITING: usize = 32;
/// Small reports waiting for the dispatcher, over all sessions.
pub(super) const NOTES_WAITING: usize = 1_024;
/// Progress reports waiting for the dispatcher, over all sessions; one second makes the last one worthless.
pub(super) const PROGRESS_WAITING: usize = 256;
/// Control messages waiting for one session.
pub(super) const SESSION_MESSAGES: usize = 8;
/// Small reports waiting for one session.
pub(super) const SESSION_NOTES: usize = 32;

/// How long a payment may take. It takes milliseconds, or the disk is in trouble.
pub(super) const PAYMENT: Duration = Duration::from_secs(30);
/// How long the data plane may take to carry out a command that starts nothing.
pub(super) const COMMAND: Duration = Duration::from_secs(2);
/// The pause before a command that found the mailbox full is tried again.
pub(super) const BUSY_PAUSE: Duration = Duration::from_millis(20);
/// A session whose data plane says nothing for this long is closed; progress is due every second.
pub(super) const SILENCE: Duration = Duration::from_secs(30);
/// How long a session that was told to close may take to end.
pub(super) const CLOSE: Duration = Duration::from_secs(10);
/// How long the last events stay readable before the events channel is deleted.
pub(super) const GOODBYE: Duration = Duration::from_secs(1);

/// How long the auth webhook may take: a gateway waits for its handshake while it does.
pub(super) const WEBHOOK: Duration = Duration::from_secs(3);
/// The longest answer of the auth webhook.
pub(super) const WEBHOOK_BODY_BYTES: usize = 64 << 10;
/// Senders that the auth webhook is asked about at once.
pub(super) const WEBHOOK_ASKING: usize = 256;
/// Senders that the auth webhook let in, and that are remembered.
pub(super) const WEBHOOK_KNOWN: usize = 4_096;
/// How long they are, as in go-livepeer.
pub(super) const WEBHOOK_KNOWN_MS: u64 = 30 * 60 * 1_000;

/// The gateway's rhythm: it gives up after 30 s without an event.
pub(super) const STATUS_EVERY: Duration = Duration::from_secs(10);
/// At most one error event in this time; what comes between is counted and told with the next.
pub(super) const ERROR_EVERY_MS: u64 = 1_000;
/// The longest text of an error that is passed on.
pub(super) const ERROR_TEXT_BYTES: usize = 512;

/// How long a request head may take, and how long a fresh connection may be silent. Some HTTP clients open a
/// connection tens of seconds before they use it.
pub(super) const HEAD: Duration = Duration::from_secs(300);
/// How long a client may leave our bytes unread before it is cut.
pub(super) const STALLED: Duration = Duration::from_secs(60);
/// How long a connection may take to finish once it was asked to.
pub(super) const FINISH: Duration = Duration::from_secs(10);
/// A connection that has had nothing to do for this long makes room for another when all places are taken.
pub(super) const IDLE_MIN: Duration = Duration::from_secs(1);
/// How long a visitor waits for a place before it is looked again who idles.
pub(super) const PLACE_PATIENCE: Duration = Duration::from_millis(20);
/// How often a connection is looked at for idleness and stalls, and the lanes for room.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Requests at once on one HTTP/2 connection.
pub(super) const STREAMS: u32 = 256;
/// The longest HTTP/2 header list: 600 tickets are 62 KB in base64.
pub(super) const HEADER_LIST_BYTES: u32 = 128 << 10;

const _: () = {
    assert!(
        START.as_millis() < 5_000,
        "the answer must reach a gateway that waits 5 s"
    );
    assert!(
        STATUS_EVERY.as_secs() * 2 < 30,
        "one lost status does not cost a session"
    );
    assert!(SILENCE.as_secs() > STATUS_EVERY.as_secs());
    assert!(HEAD.as_secs() >= 300, "idle sockets are normal");
};
