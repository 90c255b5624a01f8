//! All that we ask of glommio. Nothing else in the engine names it, so another runtime could take its place.
//!
//! What to know about it:
//! - Its TCP streams are readiness-based: the ring polls, `recv` and `sendmsg` move the bytes. A read goes straight into the
//!   slice it is given, so a slice of a page is the only copy there is.
//! - While a poll for readability is under way, [`Stream::poll_read`] makes no system call; asking again costs nothing.
//! - A task that was woken can, rarely, be overlooked until the next event of its executor. [`HEARTBEAT`] bounds that.
//! - Sockets that are accepted at once lack close-on-exec.
//! - When io_uring is not to be had it panics; whoever starts shards must have looked before.

use std::future::Future;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_lite::{AsyncRead, AsyncWrite};
use glommio::net::{TcpListener, TcpStream};
use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};
use handoff::socket;

/// The longest that an executor with something to do may go without an event.
pub(crate) const HEARTBEAT: Duration = Duration::from_millis(5);

/// Memory registered with each executor's rings; we read no files with it. It counts against RLIMIT_MEMLOCK.
const RING_MEMORY_BYTES: usize = 64 << 10;

/// Entries of each submission queue. The kernel sizes its table of armed polls by it, one bucket for every 16, up to 256; each
/// timer that the executor gives up walks a bucket, and with the usual 128 entries a few thousand connections make that walk a
/// tenth of a busy shard's time.
const RING_DEPTH: usize = 4096;

/// A shard's thread.
pub(crate) struct Thread(ExecutorJoinHandle<()>);

/// Runs `main` on a thread of its own, pinned to `core`.
pub(crate) fn spawn_thread<F>(
    core: usize,
    name: &str,
    main: impl FnOnce() -> F + Send + 'static,
) -> Result<Thread, String>
where
    F: Future<Output = ()> + 'static,
{
    LocalExecutorBuilder::new(Placement::Fixed(core))
        .name(name)
        .io_memory(RING_MEMORY_BYTES)
        .ring_depth(RING_DEPTH)
        .spawn(move || async move { main().await })
        .map(Thread)
        .map_err(|error| error.to_string())
}

impl Thread {
    /// Waits for the thread to end.
    pub(crate) fn join(self) -> Result<(), String> {
        self.0.join().map_err(|error| error.to_string())
    }
}

/// Starts a task on this shard.
pub(crate) fn spawn_task(task: impl Future<Output = ()> + 'static) {
    glommio::spawn_local(task).detach();
}

/// Waits.
pub(crate) async fn sleep(time: Duration) {
    glommio::timer::sleep(time).await;
}

/// Lets others run if this task has had its share.
pub(crate) async fn yield_if_needed() {
    glommio::yield_if_needed().await;
}

/// A listening socket; every shard has one on the same port.
pub(crate) struct Listener(TcpListener);

impl Listener {
    pub(crate) fn bind(addr: SocketAddr) -> io::Result<Self> {
        TcpListener::bind(addr).map(Self).map_err(to_io)
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr().map_err(to_io)
    }

    pub(crate) async fn accept(&self) -> io::Result<Stream> {
        let stream = self.0.accept().await.map_err(to_io)?;
        let _ = socket::close_on_exec(&stream);
        let _ = socket::give_up_port(&stream);
        Ok(Stream(stream))
    }
}

/// A connected socket, TCP or one end of a Unix pair.
pub(crate) struct Stream(TcpStream);

impl Stream {
    /// Takes over a socket from another owner.
    pub(crate) fn adopt(fd: OwnedFd) -> Self {
        Self(socket::adopt(fd))
    }

    /// Gives the socket away. What this shard had asked the ring about it is cancelled.
    pub(crate) fn release(self) -> io::Result<OwnedFd> {
        socket::duplicate(&self.0)
    }

    /// Sets what every public connection gets.
    pub(crate) fn tune(&self) {
        let _ = socket::send_at_once(&self.0);
        let _ = socket::watch_for_dead_peer(&self.0);
    }

    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        socket::peer(&self.0)
    }

    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_read(cx, into)
    }

    /// One gathered write; when the socket is full, the task is woken once it is not.
    pub(crate) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[&[u8]],
    ) -> Poll<io::Result<usize>> {
        let mut vectors = [IoSlice::new(&[]); trickle::conn::SLICES_MAX];
        let n = slices.len().min(vectors.len());
        for (vector, slice) in vectors.iter_mut().zip(slices) {
            *vector = IoSlice::new(slice);
        }
        self.poll_send_vectored(cx, &vectors[..n])
    }

    pub(crate) fn poll_send_vectored(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match socket::send_vectored(&self.0, slices) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let first = slices
                    .iter()
                    .find(|slice| !slice.is_empty())
                    .map_or(&[][..], |slice| slice);
                Poll::Ready(ready!(Pin::new(&mut self.0).poll_write(cx, first)))
            }
            outcome => Poll::Ready(outcome),
        }
    }

    /// Says that nothing more will be sent.
    pub(crate) fn finish_writing(&self) {
        let _ = socket::finish_writing(&self.0);
    }
}

fn to_io(error: glommio::GlommioError<()>) -> io::Error {
    match error {
        glommio::GlommioError::IoError(error) => error,
        other => io::Error::other(other.to_string()),
    }
}
