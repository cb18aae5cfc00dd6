//! One connection to the broker, from the first packet on, and its end, whatever state it is in.

use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use lapin::tcp::OwnedTLSConfig;
use lapin::uri::AMQPScheme;
use lapin::{AsyncTcpStream, Connection, ConnectionProperties, ErrorKind};

use super::address::Address;

/// How long a connection may take until it can be used. Whatever swallows packets when it begins may
/// have gone by when it ends: another attempt must then still succeed within seconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// The kind of reason that a broker has which is not there, or does not answer.
pub(super) const UNREACHABLE: &str = "unreachable";

/// Why there is no connection; "it" is the broker.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Failure {
    #[error(
        "it did not answer within {} s (is there another service at that port, or one that expects TLS?)",
        CONNECT_TIMEOUT.as_secs()
    )]
    Silent,
    #[error("it cannot be reached")]
    Unreachable(#[source] Cause),
    #[error("it speaks no TLS at that port, or its certificate is not trusted")]
    Tls(#[source] Cause),
    #[error("it rejects the user name or the password")]
    LogIn(#[source] Cause),
    #[error("it has no such virtual host, or the user may not use it")]
    VirtualHost(#[source] Cause),
    #[error("it refuses the exchange or a channel")]
    SetUp(#[source] Cause),
}

/// An error of lapin in the words of the broker, or of the operating system.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub(super) struct Cause(String);

impl From<lapin::Error> for Cause {
    fn from(error: lapin::Error) -> Self {
        Self(match error.kind() {
            ErrorKind::ProtocolError(said) => said.get_message().to_string(),
            ErrorKind::IOError(cause) => cause.to_string(),
            _ => error.to_string(),
        })
    }
}

impl Failure {
    /// The failure of the connection itself, or of what is set up on it.
    fn of(error: lapin::Error, is_open: bool) -> Self {
        let of = match error.kind() {
            _ if is_refusal(&error) && is_open => Self::SetUp,
            ErrorKind::ProtocolError(refusal) if is_refusal(&error) => match refusal.kind() {
                AMQPErrorKind::Hard(_) => Self::VirtualHost,
                AMQPErrorKind::Soft(_) => Self::LogIn,
            },
            // rustls reports all of its errors so.
            ErrorKind::IOError(cause) if cause.kind() == std::io::ErrorKind::InvalidData => {
                Self::Tls
            }
            _ => Self::Unreachable,
        };
        of(error.into())
    }

    /// Whether the broker answered, and would say the same again.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::LogIn(_) | Self::VirtualHost(_) | Self::SetUp(_))
    }

    /// The kind of reason, for [`Outage`](runtime::Outage).
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Silent | Self::Unreachable(_) => UNREACHABLE,
            Self::Tls(_) => "tls",
            Self::LogIn(_) => "log-in",
            Self::VirtualHost(_) => "virtual host",
            Self::SetUp(_) => "set-up",
        }
    }
}

/// Whether the broker said no, and would say so again.
pub(super) fn is_refusal(error: &lapin::Error) -> bool {
    let ErrorKind::ProtocolError(error) = error.kind() else { return false };
    matches!(
        error.kind(),
        AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED | AMQPSoftError::PRECONDITIONFAILED)
            | AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED)
    )
}

/// Connects, and makes of the connection what `set_up` does: all of it in time, or none.
pub(super) async fn connect<T>(
    address: &Address,
    name: &str,
    set_up: impl AsyncFnOnce(Connection, Socket) -> lapin::Result<T>,
) -> Result<T, Failure> {
    let socket = Socket::default();
    let ready = async {
        let connection = open(address, name, &socket).await.map_err(|e| Failure::of(e, false))?;
        set_up(connection, socket.clone()).await.map_err(|e| Failure::of(e, true))
    };
    let outcome = tokio::time::timeout(CONNECT_TIMEOUT, ready).await;
    let outcome = outcome.unwrap_or(Err(Failure::Silent));
    outcome.inspect_err(|_| socket.shut())
}

async fn open(address: &Address, name: &str, socket: &Socket) -> lapin::Result<Connection> {
    let tls = OwnedTLSConfig { cert_chain: address.authorities.clone(), identity: None };
    let socket = socket.clone();
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let runtime = lapin::runtime::default_runtime()?;
    Connection::connector(
        address.uri.clone(),
        runtime,
        async move |uri, runtime| {
            let connected = async {
                let at = (uri.authority.host.as_str(), uri.authority.port);
                let addresses = tokio::net::lookup_host(at).await?.collect::<Vec<_>>();
                let stream = AsyncTcpStream::connect(&runtime, addresses).await?;
                if let AsyncTcpStream::Plain(stream) = &stream {
                    socket.keep(stream.get_ref())?;
                }
                match uri.scheme {
                    AMQPScheme::AMQP => Ok(stream),
                    AMQPScheme::AMQPS => stream.into_tls(&uri.authority.host, tls.as_ref()).await,
                }
            };
            // This is awaited on lapin's own thread, which nothing else would ever end.
            let late = || std::io::Error::from(std::io::ErrorKind::TimedOut);
            let connected = tokio::time::timeout(CONNECT_TIMEOUT, connected).await;
            Ok(connected.unwrap_or_else(|_| Err(late()))?)
        },
        properties,
    )
    .await
}

/// A second handle on the socket of a connection. lapin ends a connection by talking to the broker;
/// when that is silent, only the end of the socket ends its thread.
#[derive(Debug, Clone, Default)]
pub(super) struct Socket(Arc<Mutex<Option<TcpStream>>>);

impl Socket {
    fn keep(&self, stream: &tokio::net::TcpStream) -> std::io::Result<()> {
        use std::os::fd::AsFd as _;
        let stream = TcpStream::from(stream.as_fd().try_clone_to_owned()?);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(stream);
        Ok(())
    }

    pub(super) fn shut(&self) {
        if let Some(stream) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // Closed already, or closed now.
            drop(stream.shutdown(Shutdown::Both));
        }
    }
}
