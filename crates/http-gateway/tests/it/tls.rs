//! TLS on real sockets: versions, clients' certificates, new certificates while it runs.

use std::net::SocketAddr;
use std::time::Duration;

use http_gateway::Config;
use http_gateway::server::limits::Limits;
use http_gateway::tls::ClientVerify;
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::support::{Gateway, PASSWORD, Pki, Setup, Signed, USER, basic, in_time};

const SHORT: Duration = Duration::from_millis(200);

/// A gateway with a certificate of an authority, and where it reads it.
struct Ground {
    pki: Pki,
    gateway: Gateway,
    folder: tempfile::TempDir,
}

impl Ground {
    async fn new(clients: Option<(&Pki, ClientVerify)>, limits: Limits) -> Self {
        let (pki, folder) = (Pki::new(), tempfile::tempdir().unwrap());
        let pem = folder.path().join("server.pem");
        pki.server().write(&pem);
        let mut config = Config { tls_pemfile: Some(pem), limits, ..Config::default() };
        if let Some((authority, verify)) = clients {
            let file = folder.path().join("clients.pem");
            std::fs::write(&file, authority.pem()).unwrap();
            config.tls_clientverifyfile = Some(file);
            config.tls_client_verify = verify;
        }
        let gateway = Setup { config, ..Setup::default() }.start().await;
        Self { pki, gateway, folder }
    }

    fn address(&self) -> SocketAddr {
        self.gateway.address
    }

    /// The status of a call with this certificate; none when there is no connection to be had.
    async fn status(&self, shown: Option<&Signed>) -> Option<u16> {
        let [old, new] = [&TLS12, &TLS13].map(|version| async move {
            let mut stream = self.pki.connect(self.address(), version, shown).await.ok()?;
            // In TLS 1.3 the refusal comes after the handshake.
            ask(&mut stream).await.ok()
        });
        let (old, new) = (in_time(old).await, in_time(new).await);
        assert_eq!(old, new, "both versions are alike");
        new
    }
}

/// The status of one call; the connection stays.
async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> std::io::Result<u16> {
    let authorization = basic(format!("{USER}:{PASSWORD}"));
    let request =
        format!("GET /api/v0/hosts HTTP/1.1\r\nHost: a\r\nAuthorization: {authorization}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let (mut answer, mut buffer) = (Vec::new(), [0; 1024]);
    while !answer.ends_with(b"[]") {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        answer.extend_from_slice(&buffer[..count]);
    }
    let line = String::from_utf8_lossy(&answer[..12]).into_owned();
    Ok(line.split(' ').nth(1).unwrap().parse().unwrap())
}

/// The serial number, so to speak, of what the server shows.
async fn shown_by(address: SocketAddr, pki: &Pki) -> Vec<u8> {
    let stream = pki.connect(address, &TLS13, None).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

#[tokio::test]
async fn both_versions_are_spoken() {
    let ground = Ground::new(None, Limits::default()).await;
    for version in [&TLS12, &TLS13] {
        let mut stream = ground.pki.connect(ground.address(), version, None).await.unwrap();
        assert_eq!(stream.get_ref().1.protocol_version(), Some(version.version));
        for _ in 0..3 {
            assert_eq!(in_time(ask(&mut stream)).await.unwrap(), 200);
        }
    }
    let error = Pki::new().connect(ground.address(), &TLS13, None).await.unwrap_err();
    assert!(error.to_string().contains("invalid peer certificate"), "{error}");
}

#[tokio::test]
async fn a_required_certificate_has_to_be_a_good_one() {
    let clients = Pki::new();
    let ground = Ground::new(Some((&clients, ClientVerify::Required)), Limits::default()).await;
    assert_eq!(ground.status(Some(&clients.client("anna"))).await, Some(200));
    assert_eq!(ground.status(None).await, None);
    assert_eq!(ground.status(Some(&Pki::new().client("anna"))).await, None);
    assert_eq!(ground.status(Some(&clients.expired("anna"))).await, None);
    assert_eq!(ground.status(Some(&clients.server())).await, Some(200), "it names no purpose");
}

#[tokio::test]
async fn an_optional_certificate_has_to_be_a_good_one_if_there_is_one() {
    let clients = Pki::new();
    let ground = Ground::new(Some((&clients, ClientVerify::Optional)), Limits::default()).await;
    assert_eq!(ground.status(Some(&clients.client("anna"))).await, Some(200));
    assert_eq!(ground.status(None).await, Some(200), "by password");
    assert_eq!(ground.status(Some(&Pki::new().client("anna"))).await, None);
    assert_eq!(ground.status(Some(&clients.expired("anna"))).await, None);
}

#[tokio::test]
async fn new_certificates_are_for_new_connections_and_nobody_is_cut_off() {
    let ground = Ground::new(None, Limits::default()).await;
    let mut kept = ground.pki.connect(ground.address(), &TLS13, None).await.unwrap();
    assert_eq!(ask(&mut kept).await.unwrap(), 200);
    let before = shown_by(ground.address(), &ground.pki).await;

    let pem = ground.folder.path().join("server.pem");
    let renewed = ground.pki.server();
    renewed.write(&pem);
    ground.gateway.life.reload();
    let changed = async {
        while shown_by(ground.address(), &ground.pki).await == before {
            tokio::task::yield_now().await;
        }
    };
    in_time(changed).await;
    assert_eq!(ask(&mut kept).await.unwrap(), 200, "the old connection goes on");

    // What cannot be used changes nothing. The file after it shows that it was read.
    let after = shown_by(ground.address(), &ground.pki).await;
    let other = ground.pki.server();
    for broken in ["", "no PEM", &renewed.pem[..renewed.pem.len() / 2]] {
        std::fs::write(&pem, broken).unwrap();
        ground.gateway.life.reload();
        for _ in 0..5 {
            assert_eq!(shown_by(ground.address(), &ground.pki).await, after);
        }
    }
    other.write(&pem);
    ground.gateway.life.reload();
    let changed = async {
        while shown_by(ground.address(), &ground.pki).await == after {
            tokio::task::yield_now().await;
        }
    };
    in_time(changed).await;
    assert_eq!(ask(&mut kept).await.unwrap(), 200);
}

#[tokio::test]
async fn plain_http_is_told_to_speak_tls() {
    let ground = Ground::new(None, Limits::default()).await;
    let answer = ground.gateway.bytes(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").await;
    answer.refused(400, "https://");
    assert_eq!(ground.status(None).await, Some(200));
}

#[tokio::test]
async fn a_handshake_that_is_not_finished_is_in_nobodys_way() {
    let limits = Limits { handshake: SHORT, connections: 2, ..Limits::default() };
    let ground = Ground::new(None, limits).await;
    let hello = [22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];
    // Some vanish in the middle, before the others there is nothing but silence.
    for sent in [&hello[..], &hello[..1], b""] {
        for _ in 0..4 {
            let mut gone = TcpStream::connect(ground.address()).await.unwrap();
            gone.write_all(sent).await.unwrap();
            drop(gone);
        }
        let mut silent = TcpStream::connect(ground.address()).await.unwrap();
        silent.write_all(sent).await.unwrap();
        let mut rest = Vec::new();
        in_time(silent.read_to_end(&mut rest)).await.ok();
    }
    assert_eq!(ground.status(None).await, Some(200));
}

#[tokio::test]
async fn the_state_of_health_has_a_listener_of_its_own_in_clear() {
    let (pki, folder) = (Pki::new(), tempfile::tempdir().unwrap());
    let pem = folder.path().join("server.pem");
    pki.server().write(&pem);
    let health_listen = Some("127.0.0.1:0".parse().unwrap());
    let config = Config { tls_pemfile: Some(pem), health_listen, ..Config::default() };
    let gateway = Setup { config, ..Setup::default() }.start().await;
    let url = format!("http://{}", gateway.health.unwrap());
    for (path, status) in [("/healthz", 200), ("/readyz", 200), ("/api/v0/hosts", 404)] {
        let answer = reqwest::get(format!("{url}{path}")).await.unwrap();
        assert_eq!(answer.status(), status, "{path}");
    }
}
