//! Requests to a gateway.

use std::net::SocketAddr;

use axum::extract::ConnectInfo;
use axum::http::header::HOST;
use axum::http::{HeaderValue, Request};
use http_gateway::peer::Peer;
use http_gateway::{Config, Ports, Service, StartError};
use reqwest::{Method, RequestBuilder};
use serde_json::Value;

use super::{Gateway, PASSWORD, USER, V0, basic};
use crate::support::{Answer, raw};

impl Gateway {
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", &format!("{V0}{path}"), "").await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.send("PUT", &format!("{V0}{path}"), body.to_string()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", &format!("{V0}{path}"), "").await
    }

    pub(crate) async fn post(&self, path: &str) -> Answer {
        self.send("POST", &format!("{V0}{path}"), "").await
    }

    /// A request of the user, with any method, path and body.
    pub(crate) async fn send(
        &self,
        method: &str,
        target: &str,
        body: impl Into<reqwest::Body>,
    ) -> Answer {
        let request = self.request(method, target).basic_auth(USER, Some(PASSWORD));
        self.answer(request.body(body)).await
    }

    /// A request without credentials but for this `Authorization` header.
    pub(crate) async fn send_as(&self, authorization: &str, method: &str, target: &str) -> Answer {
        let request = self.request(method, target);
        let request = match authorization {
            "" => request,
            value => request.header("authorization", value),
        };
        self.answer(request).await
    }

    /// A request of the user with one more header.
    pub(crate) async fn send_with(
        &self,
        (name, value): (&str, &str),
        method: &str,
        target: &str,
        body: &str,
    ) -> Answer {
        let request = self.request(method, target).basic_auth(USER, Some(PASSWORD));
        self.answer(request.header(name, value).body(body.to_owned())).await
    }

    /// A request with any headers and body, and no credentials but among them.
    pub(crate) async fn send_plain(
        &self,
        headers: &[(&str, &str)],
        (method, target): (&str, &str),
        body: impl Into<reqwest::Body>,
    ) -> Answer {
        let mut request = self.request(method, target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.answer(request.body(body)).await
    }

    /// A request of the user that is not sent yet.
    pub(crate) fn request_of_user(&self, method: &str, path: &str) -> RequestBuilder {
        self.request(method, &format!("{V0}{path}")).basic_auth(USER, Some(PASSWORD))
    }

    fn request(&self, method: &str, target: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        self.client.request(method, format!("http://{}{target}", self.address))
    }

    /// A request of `user` to one of the gateways, with an `Idempotency-Key`.
    pub(crate) async fn keyed(
        &self,
        (address, user, key): (SocketAddr, &str, &str),
        method: &str,
        path: &str,
        body: Value,
    ) -> Answer {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let request = self.client.request(method, format!("http://{address}{V0}{path}"));
        let request = request.basic_auth(user, Some(PASSWORD)).header("idempotency-key", key);
        over_a_socket(request.body(body.to_string())).await
    }

    /// The answer to a request, of the service itself where it runs here.
    async fn answer(&self, request: RequestBuilder) -> Answer {
        let Some(service) = &self.service else { return over_a_socket(request).await };
        let what = format!("{request:?}");
        let response = service.answer(received(request)).await;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec();
        Answer { what, status, headers, body }
    }

    /// Another gateway over the same bus, as this configuration has it, without a socket.
    pub(crate) async fn service_with(&self, config: &Config) -> Result<Service, StartError> {
        let ports = Ports::system(self.bus.clone(), config)?;
        http_gateway::service(ports, config, &self.life).await
    }

    /// A request of the user whose target, method and body nobody has touched.
    pub(crate) async fn raw(&self, method: &str, target: &[u8], body: &[u8]) -> Answer {
        self.raw_as(basic(format!("{USER}:{PASSWORD}")).as_bytes(), method, target, body).await
    }

    /// The same with any `Authorization` header.
    pub(crate) async fn raw_as(
        &self,
        authorization: &[u8],
        method: &str,
        target: &[u8],
        body: &[u8],
    ) -> Answer {
        let length = body.len();
        let rest = format!(
            "\r\nHost: test\r\nContent-Length: {length}\r\nConnection: close\r\nAuthorization: "
        );
        let line = [method.as_bytes(), b" ", target, b" HTTP/1.1"].concat();
        let request = [&line, rest.as_bytes(), authorization, b"\r\n\r\n", body].concat();
        raw::exchange(self.address, &request).await
    }

    /// Bytes, whatever they are.
    pub(crate) async fn bytes(&self, request: &[u8]) -> Answer {
        raw::exchange(self.address, request).await
    }
}

/// As a server gives it to the service: the path alone, and who is at the other end.
fn received(request: RequestBuilder) -> Request<reqwest::Body> {
    let mut request = Request::try_from(request.build().unwrap()).unwrap();
    request.headers_mut().insert(HOST, HeaderValue::from_static("test"));
    let target = request.uri().path_and_query().unwrap().as_str();
    *request.uri_mut() = target.parse().unwrap();
    let peer: SocketAddr = "127.0.0.1:4711".parse().unwrap();
    request.extensions_mut().insert(ConnectInfo(Peer::from(peer)));
    request
}

async fn over_a_socket(request: RequestBuilder) -> Answer {
    let what = format!("{request:?}");
    let response = request.send().await.unwrap_or_else(|error| panic!("{what}: {error:?}"));
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Answer { what, status, headers, body: response.bytes().await.unwrap().to_vec() }
}
