//! A connection's bytes, looked at on their way to the parser, and not waited for too long.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::head::Heads;
use super::limits::Limits;

/// See the module.
#[derive(Debug)]
pub(super) struct Guarded<S> {
    inner: S,
    heads: Heads,
    head: Deadline,
    write: Deadline,
    /// Whether anything has come.
    used: Arc<AtomicBool>,
}

impl<S> Guarded<S> {
    pub(super) fn new(inner: S, limits: &Limits) -> Self {
        let (head, write) = (Deadline::new(limits.head), Deadline::new(limits.idle));
        Self { inner, heads: Heads::new(), head, write, used: Arc::default() }
    }

    /// Says whether anything has come, when asked later.
    pub(super) fn used(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.used)
    }

    /// The stream, when the client may still be sending what nobody is going to read.
    pub(super) fn into_unfinished(self) -> Option<S> {
        self.heads.unfinished().then_some(self.inner)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut this.inner).poll_read(cx, buffer) {
            read?;
            let came = &buffer.filled()[before..];
            if !came.is_empty() && !this.used.swap(true, Ordering::Relaxed) {
                // The timeout of the head starts with its first byte.
                this.head.stop();
            }
            if let Some(good) = this.heads.look(came) {
                buffer.set_filled(before + good);
                // No part of a head may hold this: the parser answers 400 and closes the connection.
                buffer.put_slice(b"\0");
            }
            if !this.heads.inside() {
                this.head.stop();
            }
            return Poll::Ready(Ok(()));
        }
        if this.heads.inside() || !this.used.load(Ordering::Relaxed) {
            return this.head.poll(cx);
        }
        Poll::Pending
    }
}

impl<S: AsyncWrite + Unpin> Guarded<S> {
    fn written<T>(
        &mut self,
        cx: &mut Context<'_>,
        done: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if done.is_pending() {
            return match self.write.poll(cx) {
                Poll::Ready(Err(late)) => Poll::Ready(Err(late)),
                _ => Poll::Pending,
            };
        }
        self.write.stop();
        done
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.written(cx, done)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.inner).poll_write_vectored(cx, parts);
        self.written(cx, done)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.inner).poll_flush(cx);
        self.written(cx, done)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.written(cx, done)
    }
}

/// Runs from when something is first waited for until that has come.
#[derive(Debug)]
struct Deadline {
    after: Duration,
    running: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    fn new(after: Duration) -> Self {
        Self { after, running: None }
    }

    fn stop(&mut self) {
        self.running = None;
    }

    /// Fails once it has passed.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let after = self.after;
        let sleep = self.running.get_or_insert_with(|| Box::pin(sleep(after)));
        sleep.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}
