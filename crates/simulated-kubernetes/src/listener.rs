//! TLS listener with HTTP/1.1 and HTTP/2.

use std::sync::Arc;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use rustls::server::danger::ClientCertVerifier;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::SimulatedKubernetes;
use crate::pki::{Pki, identify};

/// The first byte of a TLS handshake.
const HANDSHAKE: u8 = 0x16;

const PLAINTEXT: &[u8] =
    b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

impl SimulatedKubernetes {
    /// Serves connections until the listener fails.
    pub async fn serve(&self, listener: TcpListener, pki: &Pki) -> anyhow::Result<()> {
        let address = listener.local_addr()?.ip().to_string();
        let (config, verifier) = pki.server(&address)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let (stream, _) = accepted?;
                    let (acceptor, verifier) = (acceptor.clone(), Arc::clone(&verifier));
                    connections.spawn(serve(self.clone(), stream, acceptor, verifier));
                }
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

async fn serve(
    kubernetes: SimulatedKubernetes,
    mut stream: TcpStream,
    acceptor: TlsAcceptor,
    verifier: Arc<dyn ClientCertVerifier>,
) {
    let mut first = [0];
    if !matches!(stream.peek(&mut first).await, Ok(1)) {
        return;
    }
    if first != [HANDSHAKE] {
        // Closing with unread data resets the connection, and the client may lose the response.
        let mut request = [0; 4096];
        if stream.read(&mut request).await.is_ok() {
            drop(stream.write_all(PLAINTEXT).await);
        }
        return;
    }
    // The handshake fails if the client does not trust the server.
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let certificate = identify(stream.get_ref().1.peer_certificates(), &*verifier);
    let service = TowerToHyperService::new(kubernetes.service_for(certificate));
    let builder = Builder::new(TokioExecutor::new());
    // An error is expected when a fault closes the connection.
    drop(builder.serve_connection(TokioIo::new(stream), service).await);
}
