//! Takes a transport stream apart and puts it together again: `cargo run --example remux -- in.ts out.ts`.
//!
//! `ffmpeg -v warning -i out.ts -f null -` should have nothing to say about the result.

use std::{env, fs, io};

use media::{Demux, Event, Mux, Ticks, demux, mux};

fn main() -> io::Result<()> {
    let mut paths = env::args_os().skip(1);
    let (Some(from), Some(to)) = (paths.next(), paths.next()) else {
        return Err(io::Error::other("usage: remux IN.ts OUT.ts"));
    };
    let input = fs::read(from)?;
    let (mut demux, mut mux, mut out) = (
        Demux::new(demux::Config::default()),
        None::<Mux>,
        Vec::new(),
    );
    let mut last_tables = None;
    for read in input.chunks(4096).map(Some).chain([None]) {
        match read {
            Some(bytes) => demux.push(bytes),
            None => demux.flush(),
        }
        while let Some(event) = demux.poll() {
            match (event, &mut mux) {
                (Event::Program(program), Some(mux)) => {
                    mux.set_tracks(&program.tracks).map_err(io::Error::other)?;
                    mux.tables(&mut out);
                }
                (Event::Program(program), None) => {
                    mux = Some(
                        Mux::new(mux::Config::default(), &program.tracks)
                            .map_err(io::Error::other)?,
                    );
                }
                (Event::Unit(unit), Some(mux)) => {
                    // A segment every two seconds, at a key picture.
                    let is_key = unit.codec.is_video() && unit.random_access;
                    let is_due = last_tables
                        .is_none_or(|at| unit.decode_time() >= Some(at + Ticks::from_ms(2000)));
                    if last_tables.is_none() || is_key && is_due {
                        last_tables = unit.decode_time();
                        mux.tables(&mut out);
                    }
                    let Some(track) = mux.tracks().iter().position(|track| track.pid == unit.pid)
                    else {
                        continue;
                    };
                    // The rest of a unit belongs to the unit before it.
                    let pts = unit.pts.filter(|_| !unit.continuation);
                    let data: [&[u8]; 1] = [&unit.data];
                    let written = mux::Unit {
                        pts,
                        dts: unit.dts,
                        random_access: unit.random_access,
                        data: &data,
                    };
                    mux.unit(track, written, &mut out)
                        .map_err(io::Error::other)?;
                    demux.recycle(unit.data);
                }
                (Event::Unit(_), None) => {}
            }
        }
    }
    println!("{:#?}", demux.stats());
    fs::write(to, out)
}
