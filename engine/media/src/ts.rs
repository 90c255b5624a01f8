//! The transport stream (ISO/IEC 13818-1), in both directions.
//!
//! | file         | its one idea                                            |
//! |--------------|---------------------------------------------------------|
//! | `sync`       | bytes become packets, whatever lies between them        |
//! | `packet`     | what one packet says                                    |
//! | `continuity` | next, duplicate or jump                                 |
//! | `section`    | packets become checked sections                         |
//! | `table`      | a section only when it is new                           |
//! | `psi`        | sections become programs, and back                      |
//! | `pes`        | the PES header, both ways                               |
//! | `tail`       | which packet is the last of a unit, learned             |
//! | `assemble`   | packets of one track become units                       |
//! | `outbox`     | events, buffers and their bounds                        |
//! | `write`      | packets on their way out                                |
//! | [`demux`]    | all of the above, one program                           |
//! | [`mux`]      | units become packets                                    |

mod assemble;
mod continuity;
mod crc;
pub mod demux;
pub mod mux;
mod outbox;
mod packet;
mod pes;
mod psi;
mod section;
mod sync;
mod table;
mod tail;
mod write;
