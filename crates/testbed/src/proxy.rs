//! A TCP proxy for tests, whose connections break on request.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// Forwards connections to a server until it is told to break them; ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    state: Arc<watch::Sender<State>>,
    task: AbortHandle,
}

/// What becomes of new connections, and which faults there were: a connection compares the counts with
/// those of its own beginning, so that it misses no fault, however short.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    mode: Mode,
    cuts: u64,
    hangs: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Mode {
    #[default]
    Open,
    Cut,
    Hung,
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1 and forwards to `target`.
    ///
    /// # Panics
    /// When it cannot listen, or is called outside a runtime.
    #[expect(clippy::disallowed_methods, reason = "ends with the test, not with a daemon")]
    pub fn start(target: SocketAddr) -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        listener.set_nonblocking(true).expect("a socket that does not block");
        let listener = TcpListener::from_std(listener).expect("a runtime");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(watch::Sender::default());
        let task = tokio::spawn(serve(listener, target, Arc::clone(&state))).abort_handle();
        Self { address, state, task }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes all connections, and new ones as soon as they are made.
    pub fn cut(&self) {
        self.state.send_modify(|state| {
            state.mode = Mode::Cut;
            state.cuts += 1;
        });
    }

    /// From now on no byte moves on any connection, for ever; none is closed, new ones are accepted.
    pub fn hang(&self) {
        self.state.send_modify(|state| {
            state.mode = Mode::Hung;
            state.hangs += 1;
        });
    }

    /// New connections work again; those that hang go on hanging.
    pub fn restore(&self) {
        self.state.send_modify(|state| state.mode = Mode::Open);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, target: SocketAddr, state: Arc<watch::Sender<State>>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let state = state.subscribe();
        connections.spawn(forward(client, target, state));
    }
}

async fn forward(client: TcpStream, target: SocketAddr, mut state: watch::Receiver<State>) {
    let begun = *state.borrow_and_update();
    tokio::select! {
        () = copy(client, target, begun, state.clone()) => {}
        _ = state.wait_for(|now| now.mode == Mode::Cut || now.cuts != begun.cuts) => {}
    }
}

/// Copies until one end closes the connection; once it hangs it stays open, and this never returns.
async fn copy(
    mut client: TcpStream,
    target: SocketAddr,
    begun: State,
    mut state: watch::Receiver<State>,
) {
    if begun.mode == Mode::Hung {
        std::future::pending::<()>().await;
    }
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    // A proxy must not add the delay that its ends avoid.
    drop((client.set_nodelay(true), server.set_nodelay(true)));
    let hung = tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => false,
        _ = state.wait_for(|now| now.hangs != begun.hangs) => true,
    };
    if hung {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const SOON: Duration = Duration::from_millis(200);

    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        #[expect(clippy::disallowed_methods, reason = "ends with the test")]
        tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                connections.spawn(async move {
                    let (mut reader, mut writer) = stream.split();
                    tokio::io::copy(&mut reader, &mut writer).await.ok();
                });
            }
        });
        address
    }

    /// `Some(true)` when it echoes, `Some(false)` when it is closed, `None` when nothing comes.
    async fn echoes(stream: &mut TcpStream) -> Option<bool> {
        stream.write_all(b"x").await.ok();
        let mut byte = [0];
        let read = tokio::time::timeout(SOON, stream.read(&mut byte)).await.ok()?;
        Some(read.is_ok_and(|count| count == 1))
    }

    #[tokio::test]
    async fn connections_break_as_they_are_told() {
        let proxy = Proxy::start(echo().await);
        let connect = || async { TcpStream::connect(proxy.address()).await.expect("accepted") };
        let mut first = connect().await;
        assert_eq!(echoes(&mut first).await, Some(true));
        proxy.hang();
        let mut second = connect().await;
        assert_eq!(echoes(&mut first).await, None);
        assert_eq!(echoes(&mut second).await, None);
        proxy.restore();
        let mut third = connect().await;
        assert_eq!(echoes(&mut third).await, Some(true));
        assert_eq!((echoes(&mut first).await, echoes(&mut second).await), (None, None));
        proxy.cut();
        for mut stream in [first, second, third, connect().await] {
            assert_eq!(echoes(&mut stream).await, Some(false));
        }
        proxy.restore();
        assert_eq!(echoes(&mut connect().await).await, Some(true));
    }
}
