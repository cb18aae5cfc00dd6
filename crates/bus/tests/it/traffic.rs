//! Requests, jobs and notifications that go on all the time, and an account of what became of them.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bus::amqp::Options;
use bus::topology::{INVESTIGATE, INVESTIGATOR, Queue};
use bus::{Bus, Call, Context, Error, Kind, Subscription};
use runtime::{Clock, Lifecycle};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::support::connected;

const ECHO: Queue = Queue { name: "echo", binding: "echo.*", jobs: false, bare: false };

/// How long a request of this traffic waits.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Hang guard: ten times what it takes to give up a silent broker.
pub(crate) const HANG: Duration = Duration::from_mins(1);

/// Awaits a condition.
pub(crate) async fn until(condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < HANG, "it did not come to that within {HANG:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A client that asks a service, each with a connection of its own.
pub(crate) struct Traffic {
    pub(crate) client: Bus,
    pub(crate) service: Bus,
    account: Arc<Account>,
    clients: JoinSet<()>,
    subscription: Subscription,
    life: Lifecycle,
}

#[derive(Default)]
struct Account {
    requests: Mutex<Vec<Request>>,
    /// When requests were carried out, in ms since the epoch, by their deadlines and numbers.
    carried_out: Mutex<HashMap<Asked, Vec<i64>>>,
    /// Jobs that the broker has confirmed.
    published: Mutex<HashSet<u64>>,
    /// Jobs that the service has got.
    worked_on: Mutex<HashSet<u64>>,
}

/// What a request says: its deadline in ms since the epoch, and its number.
type Asked = (i64, u64);

struct Request {
    asked: Asked,
    begun: Instant,
    took: Duration,
    outcome: Result<(), Error>,
}

/// Between the deadline that a request says and the one of its message, and between the check of that and the note, in ms.
const MOMENT: i64 = 1000;

impl Account {
    /// Serves `echo.*`, and notes what was carried out when.
    async fn serve(self: &Arc<Self>, service: &Bus, life: &Lifecycle) {
        let account = Arc::clone(self);
        let handler = move |call: Call| {
            let params = call.params.value();
            let asked: Asked = serde_json::from_value(params.clone()).unwrap();
            account.carried_out.lock().unwrap().entry(asked).or_default().push(now());
            async { Ok(params) }
        };
        service.serve(ECHO, 64, life, handler).await.unwrap();
    }

    /// Every request had its end; none was carried out twice, or after its deadline, and none answered without that.
    fn check_requests(&self) {
        let carried_out = self.carried_out.lock().unwrap();
        for Request { asked, took, outcome, .. } in self.requests.lock().unwrap().iter() {
            assert!(*took < 10 * TIMEOUT, "{took:?}");
            let kind = outcome.as_ref().map_err(Error::kind);
            assert!(matches!(kind, Ok(()) | Err(Kind::Unavailable | Kind::Timeout)), "{outcome:?}");
            assert!(outcome.is_err() || carried_out.contains_key(asked), "{asked:?}");
        }
        for (asked, times) in carried_out.iter() {
            let [time] = times.as_slice() else { panic!("{asked:?} was carried out at {times:?}") };
            assert!(*time <= asked.0 + MOMENT, "{asked:?} was carried out at {time}");
        }
    }

    fn succeeded_since(&self, begun: Instant) -> bool {
        let requests = self.requests.lock().unwrap();
        requests.iter().any(|one| one.begun >= begun && one.outcome.is_ok())
    }
}

fn context() -> Context {
    Context::service("test")
}

impl Traffic {
    pub(crate) async fn start(client: &Options, service: &Options) -> Self {
        let (client, service) = (connected(client).await, connected(service).await);
        let (life, account) = (Lifecycle::new(), Arc::new(Account::default()));
        account.serve(&service, &life).await;
        let got = Arc::clone(&account);
        let worker = move |call: Call| {
            got.worked_on.lock().unwrap().insert(call.params.value()["address"].as_u64().unwrap());
            async { Ok(Value::Null) }
        };
        service.serve(INVESTIGATOR, 4, &life, worker).await.unwrap();
        let subscription = service.subscribe("notify.#").await.unwrap();
        let mut clients = JoinSet::new();
        for first in 0..4 {
            let numbers = (first..).step_by(4);
            clients.spawn(ask(client.with_timeout(TIMEOUT), numbers, Arc::clone(&account)));
        }
        clients.spawn(publish(client.with_timeout(TIMEOUT), Arc::clone(&account)));
        let mut traffic = Self { client, service, account, clients, subscription, life };
        traffic.goes_on().await;
        traffic
    }

    /// Adds a replica of the service with a connection of its own.
    pub(crate) async fn add_replica(&self, options: &Options) -> Bus {
        let replica = connected(options).await;
        self.account.serve(&replica, &self.life).await;
        replica
    }

    /// Waits until requests, jobs and notifications get through again, and no request fails any more.
    pub(crate) async fn goes_on(&mut self) {
        let ended = Instant::now();
        until(|| self.account.succeeded_since(ended)).await;
        // Jobs and notifications, too.
        let before = self.account.worked_on.lock().unwrap().len();
        until(|| self.account.worked_on.lock().unwrap().len() > before).await;
        until(|| self.service.is_connected()).await;
        self.notifications_come().await;
        // On a busy machine a connection may miss its heartbeats and be lost once more.
        let begun = Instant::now();
        while self.has_failures_within(Duration::from_millis(200)).await {
            assert!(begun.elapsed() < HANG, "requests still fail after {HANG:?}");
        }
    }

    /// Whether a request fails that begins within this time from now.
    async fn has_failures_within(&self, period: Duration) -> bool {
        let from = Instant::now();
        until(|| self.account.succeeded_since(from + period)).await;
        let requests = self.account.requests.lock().unwrap();
        requests.iter().any(|one| one.begun >= from && one.outcome.is_err())
    }

    /// A subscriber is told that it may have missed some, and subscribes again.
    async fn notifications_come(&mut self) {
        loop {
            self.client.notify("notify.test", &json!({}), &context()).await.unwrap();
            if tokio::time::timeout(HANG, self.subscription.next()).await.unwrap().is_some() {
                return;
            }
            self.subscription = self.service.subscribe("notify.#").await.unwrap();
        }
    }

    /// Requests to a service whose replicas are all cut off do not wait for their timeout.
    pub(crate) async fn fails_at_once(&self) {
        let from = Instant::now();
        // Those in flight were lost with the consumer that had them.
        until(|| {
            let requests = self.account.requests.lock().unwrap();
            let mut late = requests.iter().filter(|one| one.begun >= from);
            late.any(|one| {
                let error = one.outcome.as_ref().err();
                error.is_some_and(|error| error.to_string().contains("takes echo.params"))
            })
        })
        .await;
    }

    /// Every request had its end, and no confirmed job was lost.
    pub(crate) async fn end(mut self) {
        self.clients.shutdown().await;
        let all = || {
            let published = self.account.published.lock().unwrap();
            published.is_subset(&self.account.worked_on.lock().unwrap())
        };
        until(all).await;
        assert!(!self.account.published.lock().unwrap().is_empty());
        self.account.check_requests();
        self.life.shutdown(Duration::from_secs(10)).await;
        self.client.close().await;
        self.service.close().await;
    }
}

/// The wall clock, in ms since the epoch.
fn now() -> i64 {
    Clock::System.wall().as_millisecond()
}

async fn ask(client: Bus, numbers: impl Iterator<Item = u64>, account: Arc<Account>) {
    for number in numbers {
        let begun = Instant::now();
        // The one that the message carries is no later than a moment after this.
        let asked = (now() + i64::try_from(TIMEOUT.as_millis()).unwrap(), number);
        let outcome = client.request("echo.params", &json!(asked), &context()).await.map(drop);
        let request = Request { asked, begun, took: begun.elapsed(), outcome };
        account.requests.lock().unwrap().push(request);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn publish(client: Bus, account: Arc<Account>) {
    for number in 0.. {
        let job = json!({"address": number});
        if client.notify(INVESTIGATE, &job, &context()).await.is_ok() {
            account.published.lock().unwrap().insert(number);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
