//! A socket that changes owners, and the system calls that a runtime's stream type does not offer.
//!
//! Runtimes wrap a descriptor in a type of their own that only shows its number ([`AsRawFd`]). Here that number becomes a
//! borrowed descriptor for the length of one call, or an owned one that closes itself if it gets lost between two owners.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};

use rustix::net::{RecvFlags, SendFlags};

fn borrow<S: AsRawFd>(socket: &S) -> BorrowedFd<'_> {
    // SAFETY: needed because runtimes expose numbers, not borrows. `socket` owns the descriptor (every caller passes a
    // runtime's stream) and is borrowed for as long as the result lives, so it stays open that long.
    unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) }
}

/// A second descriptor for the same socket, closed on exec. The first may be dropped; the connection stays.
///
/// # Errors
/// When the process has no descriptor to spare.
pub fn duplicate<S: AsRawFd>(socket: &S) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(borrow(socket), 0)?)
}

/// Gives a descriptor to a runtime's stream type, which owns it from now on.
pub fn adopt<S: FromRawFd>(socket: OwnedFd) -> S {
    // SAFETY: needed because runtimes take numbers. The descriptor is open, and `into_raw_fd` gives up ownership, so the new
    // stream is its only owner.
    unsafe { S::from_raw_fd(socket.into_raw_fd()) }
}

/// Keeps a descriptor from children; accepted sockets do not always come with it set.
///
/// # Errors
/// Never in practice; whatever fcntl says.
pub fn close_on_exec<S: AsRawFd>(socket: &S) -> io::Result<()> {
    Ok(rustix::io::fcntl_setfd(
        borrow(socket),
        rustix::io::FdFlags::CLOEXEC,
    )?)
}

/// Lets a process that starts again listen on the port of this accepted connection, which its peer may keep half closed for a minute
/// after the process before it was killed. A port that somebody listens on stays taken.
///
/// # Errors
/// Never in practice; whatever setsockopt says.
pub fn give_up_port<S: AsRawFd>(socket: &S) -> io::Result<()> {
    Ok(rustix::net::sockopt::set_socket_reuseaddr(
        borrow(socket),
        true,
    )?)
}

/// One gathered write, without waiting and without a signal.
///
/// # Errors
/// [`io::ErrorKind::WouldBlock`] when the socket's buffer is full; whatever sendmsg says.
pub fn send_vectored<S: AsRawFd>(socket: &S, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    Ok(rustix::net::sendmsg(
        borrow(socket),
        slices,
        &mut rustix::net::SendAncillaryBuffer::default(),
        flags,
    )?)
}

/// One read, without waiting. 0 means the peer has finished.
///
/// # Errors
/// [`io::ErrorKind::WouldBlock`] when nothing has arrived; whatever recv says.
pub fn receive<S: AsRawFd>(socket: &S, into: &mut [u8]) -> io::Result<usize> {
    Ok(rustix::net::recv(borrow(socket), into, RecvFlags::DONTWAIT)?.0)
}

/// Says that nothing more will be written; the peer reads the end after the last byte.
///
/// # Errors
/// When the connection is gone already.
pub fn finish_writing<S: AsRawFd>(socket: &S) -> io::Result<()> {
    Ok(rustix::net::shutdown(
        borrow(socket),
        rustix::net::Shutdown::Write,
    )?)
}

/// Asks the kernel to find out about peers that vanished without a word: after a minute of silence, four probes 15 s apart.
///
/// # Errors
/// When it is no TCP socket.
pub fn watch_for_dead_peer<S: AsRawFd>(socket: &S) -> io::Result<()> {
    use rustix::net::sockopt;
    use std::time::Duration;
    let socket = borrow(socket);
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, Duration::from_secs(60))?;
    sockopt::set_tcp_keepintvl(socket, Duration::from_secs(15))?;
    Ok(sockopt::set_tcp_keepcnt(socket, 4)?)
}

/// Sends small writes at once: latency before packets.
///
/// # Errors
/// When it is no TCP socket.
pub fn send_at_once<S: AsRawFd>(socket: &S) -> io::Result<()> {
    Ok(rustix::net::sockopt::set_tcp_nodelay(borrow(socket), true)?)
}

/// The address at the other end, if it is an internet socket.
pub fn peer<S: AsRawFd>(socket: &S) -> Option<std::net::SocketAddr> {
    rustix::net::getpeername(borrow(socket))
        .ok()
        .flatten()
        .and_then(|addr| addr.try_into().ok())
}

/// Two connected stream sockets, closed on exec and non-blocking: a private road between two runtimes.
///
/// # Errors
/// When the process has no descriptors to spare.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (a, b) = std::os::unix::net::UnixStream::pair()?;
    a.set_nonblocking(true)?;
    b.set_nonblocking(true)?;
    Ok((a.into(), b.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    #[test]
    #[cfg_attr(miri, ignore = "Miri knows few calls on sockets")]
    fn a_socket_survives_the_change_of_owner() {
        let (ours, mut peer) = UnixStream::pair().unwrap();
        peer.write_all(b"before").unwrap();
        let moved = duplicate(&ours).unwrap();
        drop(ours);
        let mut adopted: UnixStream = adopt(moved);
        let mut got = [0; 6];
        adopted.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"before");
        let slices = [IoSlice::new(b"af"), IoSlice::new(b"ter")];
        assert_eq!(send_vectored(&adopted, &slices).unwrap(), 5);
        finish_writing(&adopted).unwrap();
        let mut rest = Vec::new();
        peer.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"after");
        assert_eq!(
            receive(&adopted, &mut got).unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri knows few calls on sockets")]
    fn a_lost_socket_closes_itself() {
        let (ours, mut peer) = pair()
            .map(|(a, b)| (adopt::<UnixStream>(a), adopt::<UnixStream>(b)))
            .unwrap();
        let moved = duplicate(&ours).unwrap();
        drop(ours);
        drop(moved);
        assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0, "the peer reads the end");
    }
}
