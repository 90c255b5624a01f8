//! The watcher: follows the output segment by segment, keeps it, and notes when each frame began to arrive.

use std::io;
use std::sync::Arc;
use std::thread::{JoinHandle, spawn};
use std::time::Instant;

use engine::offline::FrameStarts;

use super::http::Target;
use super::meter::Meter;

/// The status of a segment that is not there.
const SEGMENT_MISSING: u16 = 470;

/// Watches until the channel ends; returns all that came.
pub(super) fn start(
    target: &Target,
    path: &str,
    meter: Arc<Meter>,
) -> JoinHandle<Result<Vec<u8>, String>> {
    let (target, path) = (target.clone(), path.to_owned());
    spawn(move || watch(&target, &path, &meter).map_err(|error| error.to_string()))
}

fn watch(target: &Target, path: &str, meter: &Meter) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    let mut seq = 0u64;
    loop {
        let answer = target.ask("GET", &format!("{path}/{seq}"), "")?;
        match answer.status {
            200 if answer.field("lp-trickle-closed").is_some() => return Ok(all),
            200 => {
                let mut starts = FrameStarts::default();
                answer.each_piece(|piece| {
                    let now = Instant::now();
                    starts.push(piece, |pts| meter.received(pts, now));
                    all.extend_from_slice(piece);
                })?;
                seq += 1;
            }
            404 => return Ok(all),
            SEGMENT_MISSING => {
                seq = answer
                    .field("lp-trickle-latest")
                    .and_then(|latest| latest.parse().ok())
                    .unwrap_or(seq + 1)
            }
            status => {
                return Err(io::Error::other(format!(
                    "segment {seq} was answered {status}"
                )));
            }
        }
    }
}
