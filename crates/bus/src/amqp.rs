//! The bus over an AMQP 0-9-1 broker (RabbitMQ): what the separate daemons run on.
//!
//! # One connection, rebuilt as a whole
//!
//! A process has one connection. A task owns it (`supervisor`): it connects, hands a `Link` (the
//! connection with its channels) to everybody through a `watch`, reads the answers to requests, and when
//! anything on it fails it throws the whole link away and connects anew, with full-jitter pauses of at
//! most a second. Nothing is patched up: lapin's own recovery is off, since a channel that fails to
//! recover disturbs the others. Consumers notice that their stream has ended, wait for the next link and
//! declare their queue again. Subscriptions end, for notifications may have been lost: their readers
//! subscribe again and list. There is no moment at which a request waits for a connection: without one
//! it fails at once, and one in flight fails when its connection does.
//!
//! A broker that is silent rather than gone is noticed by heartbeats, within five seconds. Its socket is
//! then shut from our side (`connection`), for lapin would wait for an answer to its farewell.
//!
//! # Requests
//!
//! Published as mandatory on a channel with confirms, answered by direct reply-to on the same channel,
//! and told apart by their correlation id, the JSON-RPC id. Two things can come first: the answer, or
//! the message itself, returned because nobody serves its key. The confirmation is of no interest but
//! for carrying the returned message; it is not waited for when the answer is there. Whose message it
//! is, its correlation id tells: lapin attaches returned messages to confirmations by counting, and
//! RabbitMQ confirms several at a time.
//!
//! The header `deadline` says until when the asker waits, and the message expires at the broker then: queues of
//! requests have no dead letters, so that it is dropped.
//!
//! The parameters of a confidential request are in no queue: the replica that takes it asks the sender for them
//! (`confidential`).
//!
//! A queue of requests outlives a crash of its last consumer. Whoever waits for more than a moment therefore looks
//! whether anybody consumes (`abandoned`), and gives up a request that nobody will take.
//!
//! # Queues
//!
//! Names as in [`topology`], behind the name of the exchange unless that is the usual
//! one, so that several installations can share a broker.
//!
//! - Requests: quorum, since a classic queue is gone, or cannot be reached, with the one node of a cluster that has
//!   it. A consumer that ends in an orderly way as the last one unbinds the queue, and requests come back at once; it
//!   removes the queue when what it has begun is finished. After a crash the broker removes it when it has had no
//!   consumer for a minute. Taking a request acknowledges it; one that is delivered a second time, since the
//!   acknowledgement was lost with a connection, is not carried out.
//! - Jobs: quorum, with a delivery limit, declared by publishers as well as consumers where they are missing, so that
//!   a job finds its queue before the first consumer. Acknowledged when the handler has finished; one that cannot be
//!   read or fails goes through the exchange `EXCHANGE.dead` to `NAME.dead` (see
//!   [`dead_letters`](super::dead_letters)).
//! - Notifications: exclusive, one for each subscription, named by us.
//!
//! What exists is not declared again but for queues of requests, and an account with the permission to write to an
//! exchange and to read from a queue needs no other for it. Every message names the account of its sender (`user-id`),
//! and the broker refuses one in the name of another.
//!
//! Each consumer has a channel of its own with a bounded prefetch, and as many messages in hand at a
//! time. One that becomes unfit ([`Fitness`]) cancels its consumer, rejects what it has received and not begun
//! with an error, finishes the rest, and consumes again when it is fit. On a stop it takes no more, hands back jobs
//! that are not begun, and finishes the rest; the connection itself outlives the daemon's tasks, which may need it to
//! finish, and ends with the last [`Bus`](super::Bus) handle or [`Bus::close`](super::Bus::close).

mod abandoned;
mod address;
mod confidential;
mod connection;
mod consumer;
mod link;
pub(crate) mod message;
mod pending;
pub(crate) mod queues;
mod subscriber;
mod supervisor;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lapin::types::ShortString;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::topology::{self, Queue};
use super::{Context, Fitness, Handler, Notification};
use runtime::lifecycle::Lifecycle;
use runtime::{Outage, random};

use crate::error::{Error, Result, chain};
use crate::jsonrpc::Answer;
use address::Address;
use connection::Failure;
use consumer::Server;
use link::{Link, lost, not_connected, now_ms};
use message::short;

pub(super) use link::BROKER;
pub(super) use pending::Waiting;
pub(super) use subscriber::{ReplyTo, Subscribed};

/// The longest name of an exchange or a process: those of queues are built from them.
const LONGEST_NAME: usize = 127;

/// What the bus needs to know.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the broker is: `amqp://` or `amqps://`; several nodes of it are separated by `;`. Parameters: `heartbeat` (seconds), `frame_max`
    /// (bytes), `channel_max`, `auth_mechanism`, `cacertfile` (a PEM file of certificate authorities).
    pub uri: SecretString,
    /// Where the URI is configured, for messages: "`bus-uri` in /etc/commissaire/storage.conf".
    pub origin: String,
    /// The name of the topic exchange, [`topology::EXCHANGE`] as a rule.
    pub exchange: String,
    /// Who connects, for instance `storage`: shown by the broker.
    pub name: String,
}

impl Options {
    /// The node on another machine to which messages, and the password, would travel in plaintext, if there is one.
    ///
    /// # Errors
    /// [`ConnectError`]: the URI is wrong.
    pub fn plaintext_node(&self) -> Result<Option<String>, ConnectError> {
        let nodes = Address::parse_all(self.uri.expose_secret())?;
        Ok(nodes.iter().find(|node| node.is_plaintext()).map(Address::shown))
    }
}

/// Why there is no bus.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// It is the URI of something else.
    #[error(
        "the bus speaks AMQP 0-9-1, not {scheme}: give a URI of the form {}, or amqps:// for TLS",
        address::form()
    )]
    Scheme {
        /// The scheme that was given.
        scheme: String,
    },
    /// It is no URI. What it is is not told: it may hold a password.
    #[error("the URI of the bus is not of the form {}: {why}", address::form())]
    Invalid {
        /// What is wrong with it.
        why: String,
    },
    /// The file of certificate authorities cannot be read.
    #[error("cannot read the certificate authorities of the bus in {path}")]
    Authorities {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// No exchange or connection can have that name.
    #[error("{name:?} is no name for {what}: it needs 1 to {LONGEST_NAME} characters")]
    Name {
        /// The name that was given.
        name: String,
        /// For what.
        what: &'static str,
    },
    /// The broker cannot be reached, or does not let us in.
    #[error("cannot use {broker}")]
    Broker {
        /// Where it is, whom it knows us as, and the option that says so.
        broker: String,
        /// What it says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The daemon was told to stop while it waited for the broker.
    #[error("told to stop before the message broker could be reached")]
    Stopped,
}

/// Where to connect, checked.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// The nodes of the broker: at least one.
    nodes: Vec<Address>,
    /// The option that names them.
    origin: String,
    exchange: ShortString,
    name: String,
}

impl Target {
    pub(super) fn new(options: &Options) -> Result<Self, ConnectError> {
        let check = |name: &str, what| {
            let fits = (1..=LONGEST_NAME).contains(&name.len());
            let error = ConnectError::Name { name: name.chars().take(40).collect(), what };
            if fits { Ok(name.to_owned()) } else { Err(error) }
        };
        Ok(Self {
            nodes: Address::parse_all(options.uri.expose_secret())?,
            origin: options.origin.clone(),
            exchange: check(&options.exchange, "an exchange")?.into(),
            name: check(&options.name, "a connection")?,
        })
    }

    /// The node to connect to at that attempt, counted from 0: each in turn.
    fn node(&self, attempt: Option<usize>) -> &Address {
        &self.nodes[attempt.unwrap_or(0) % self.nodes.len()]
    }

    /// For people: the broker, all nodes of it, and the option that names them.
    fn shown(&self) -> String {
        let nodes = self.nodes.iter().map(Address::shown).collect::<Vec<_>>().join(" or ");
        format!("the message broker {nodes} ({})", self.origin)
    }

    /// Why a node cannot be used; which one where there are several.
    fn why(&self, node: &Address, failure: &Failure) -> String {
        let why = chain(failure);
        if self.nodes.len() > 1 { format!("{}: {why}", node.shown()) } else { why }
    }

    fn error(&self, failure: Failure) -> ConnectError {
        ConnectError::Broker { broker: self.shown(), source: Box::new(failure) }
    }

    /// A connection for somebody who needs nothing else of this bus, to the first node that takes it, and its account.
    pub(super) async fn connect(
        &self,
    ) -> Result<(lapin::Connection, Option<ShortString>), ConnectError> {
        let mut attempts = 0..self.nodes.len();
        loop {
            let node = self.node(attempts.next());
            let set_up = async |connection, _| Ok(connection);
            match connection::connect(node, &self.name, set_up).await {
                Ok(connection) => return Ok((connection, node.account.clone())),
                Err(failure) if attempts.is_empty() => return Err(self.error(failure)),
                Err(failure) => {
                    let (broker, error) = (node.shown(), chain(&failure));
                    tracing::warn!(broker, error, "cannot use this node of the message broker");
                }
            }
        }
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Amqp(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    links: watch::Receiver<Option<Arc<Link>>>,
    target: Target,
    /// Told when the connection is not needed any more: at the latest when this is dropped.
    close: CancellationToken,
    _closed_by_drop: DropGuard,
}

impl Amqp {
    pub(super) async fn connect(
        options: &Options,
        lifecycle: &Lifecycle,
    ) -> Result<Self, ConnectError> {
        let target = Target::new(options)?;
        let outage = Outage::new(target.shown());
        let first = tokio::select! {
            connected = supervisor::first_link(&target, &outage) => connected?,
            () = lifecycle.stopping() => return Err(ConnectError::Stopped),
        };
        let close = CancellationToken::new();
        let links = supervisor::start(target.clone(), outage, first, close.clone());
        let closed_by_drop = close.clone().drop_guard();
        Ok(Self(Arc::new(Shared { links, target, close, _closed_by_drop: closed_by_drop })))
    }

    pub(super) fn is_connected(&self) -> bool {
        self.0.links.borrow().is_some()
    }

    /// How long there has been a connection.
    pub(super) fn connected_for(&self) -> Duration {
        self.0.links.borrow().as_ref().map_or(Duration::ZERO, |link| link.opened.elapsed())
    }

    pub(super) async fn close(&self) {
        self.0.close.cancel();
        // Its end is the end of the task that owns the connection.
        let mut links = self.0.links.clone();
        while links.changed().await.is_ok() {}
    }

    fn exchange(&self) -> &str {
        self.0.target.exchange.as_str()
    }

    fn link(&self) -> Result<Arc<Link>> {
        self.0.links.borrow().clone().ok_or_else(not_connected)
    }

    async fn wait_for_link(&self) -> Result<Arc<Link>> {
        let mut links = self.0.links.clone();
        let link = links.wait_for(Option::is_some).await;
        link.ok().and_then(|link| link.clone()).ok_or_else(not_connected)
    }

    pub(super) async fn request(
        &self,
        key: &str,
        params: &(impl Serialize + Sync),
        context: &Context,
        (timeout, confidential): (Duration, bool),
    ) -> Result<Answer> {
        let link = self.link()?;
        let id = random::uuid();
        let waits = i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX);
        let properties = message::properties(context, Some(now_ms().saturating_add(waits)));
        let properties = message::signed(properties, link.account.as_ref())
            .with_expiration(waits.to_string().into());
        let (body, properties, kept) = if confidential {
            let body = message::body(Some(&id.to_string()), key, &Map::new())?;
            (body, message::confidential(properties), Some(message::params(params)?))
        } else {
            (message::body(Some(&id.to_string()), key, params)?, properties, None)
        };
        let key = short("the routing key", key)?;
        message::answer(&link.request(key, id, &body, properties, kept).await?)
    }

    pub(super) async fn notify(
        &self,
        key: &str,
        params: &(impl Serialize + Sync),
        context: &Context,
    ) -> Result<()> {
        let link = self.link()?;
        let properties = message::signed(message::properties(context, None), link.account.as_ref());
        let job_queue = topology::job_queue(key);
        let body = message::unanswered(key, job_queue, params)?;
        let key = short("the routing key", key)?;
        match job_queue {
            Some(queue) => link.job(&queue, key, &body, properties).await,
            None => link.notification(key, &body, properties).await,
        }
    }

    pub(super) async fn gather(
        &self,
        key: &str,
        context: &Context,
        answers: mpsc::Sender<Value>,
    ) -> Result<Waiting> {
        let body = message::body(None, key, &Map::new())?;
        let link = self.link()?;
        let properties = message::signed(message::properties(context, None), link.account.as_ref());
        let key = short("the routing key", key)?;
        link.gather(key, &body, properties, answers).await
    }

    pub(super) async fn subscribe(
        &self,
        pattern: &str,
        sender: mpsc::Sender<Notification>,
    ) -> Result<Subscribed> {
        let name = ShortString::from(format!("{}-{}", self.0.target.name, random::uuid()));
        let pattern = short("the pattern", pattern)?;
        let refused = format!("the message broker refuses the subscription to {pattern}");
        let subscribed = subscriber::subscribe(self.link()?, name, pattern, sender).await;
        subscribed.map_err(|error| {
            if connection::is_refusal(&error) {
                return Error::unavailable(refused).with_source(error);
            }
            lost(error)
        })
    }

    pub(super) async fn serve(
        &self,
        queue: Queue,
        prefetch: usize,
        fitness: Fitness,
        lifecycle: &Lifecycle,
        handler: Handler,
    ) -> Result<()> {
        let prefetch = u16::try_from(prefetch).unwrap_or(u16::MAX).max(1);
        let (amqp, lifecycle) = (self.clone(), lifecycle.clone());
        let name = queues::name(self.exchange(), &queue);
        let outage = Arc::new(Outage::new(format!("the queue {name} at the message broker")));
        Server { amqp, queue, prefetch, fitness, lifecycle, handler, outage }.start().await
    }
}
