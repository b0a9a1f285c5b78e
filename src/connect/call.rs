//! How a call becomes requests: to one host after the other, in rounds.

use std::future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use reqwest::header::ACCEPT;
use reqwest::{RequestBuilder, Response, StatusCode};
use tokio::time::{Instant, sleep};

use super::breaker::{Pulse, Suspicion};
use super::error::{Cause, Class, ConnectError, Failure, Subject};
use super::host::{Entry, Host, Reach};
use super::observe::{Call, Operation, code};
use super::retry::Spending;
use super::{Client, body};

/// What is asked for.
pub(super) struct Request {
    pub(super) operation: Operation,
    pub(super) path: String,
    /// What a failure counts against, for the breaker.
    pub(super) subject: Arc<str>,
}

/// What a call gave, and the host that gave it.
pub(super) struct Answer<T> {
    pub(super) host: Arc<str>,
    pub(super) value: T,
}

/// A call that gave nothing, and the host that it ended with.
pub(super) struct Failed {
    host: Arc<str>,
    failure: Failure,
}

/// How far a call has come.
struct Progress<'c> {
    attempts: u32,
    /// Hosts of the round that a heartbeat has to be sent to.
    suspects: Vec<&'c Host>,
    /// When the last round may begin: what took a whole request's time to come to nothing is not repeated.
    last_round: Instant,
    /// When the last request must have ended.
    deadline: Instant,
}

impl Client {
    /// Asks for something, until a host answers or there is no more to be hoped for.
    ///
    /// `read` turns the answer into what is returned. Its failures count as the host's, and are as good a
    /// reason to ask the next one.
    pub(super) async fn call<T, F>(
        &self,
        request: &Request,
        read: impl Fn(Response) -> F,
    ) -> Result<Answer<T>, Failed>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        // The semaphores are never closed. The permit is held until the last answer is read, so that a
        // server in trouble has no more calls in flight than one that is well.
        let is_for_values = matches!(request.operation, Operation::Item | Operation::File);
        let _gate = if is_for_values { Some(self.gate.acquire().await) } else { None };
        let _permit = self.permits.acquire().await;
        self.budget.deposit();
        // Heartbeats may come after the last request.
        let patience = self.call_timeout.saturating_mul(2).saturating_sub(self.heartbeat_timeout);
        let started = Instant::now();
        let mut progress = Progress {
            attempts: 0,
            suspects: Vec::new(),
            last_round: started + self.call_timeout,
            deadline: started + patience,
        };
        let mut pauses = self.retries.pauses();
        loop {
            let round = self.round(request, &mut progress, &read).await;
            // After the other hosts were asked: it must not take their time.
            join_all(progress.suspects.drain(..).map(|host| self.test(host))).await;
            let failed = match round {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            match pauses.next() {
                Some(pause)
                    if self.is_worth_a_round(
                        &request.subject,
                        &failed,
                        Instant::now() + pause,
                        &progress,
                    ) =>
                {
                    sleep(pause).await;
                }
                Some(_) | None => return Err(failed),
            }
        }
    }

    /// Asks what the active host says of itself: once, and as it comes, since that is no load.
    pub(super) async fn ask_once<T, F>(
        &self,
        request: &Request,
        read: impl Fn(Response) -> F,
    ) -> Result<T, Failed>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let host = self.hosts.active();
        if let Some(until) = host.state().paused_until {
            return Err(Failed::new(host, Failure::Paused { until }));
        }
        self.send(host, request, 1, self.call_timeout, read)
            .await
            .map_err(|failure| Failed::new(host, failure))
    }

    /// Whether asking all hosts again at a time may help, and may be done.
    fn is_worth_a_round(
        &self,
        subject: &str,
        failed: &Failed,
        at: Instant,
        progress: &Progress<'_>,
    ) -> bool {
        failed.failure.may_pass()
            && at < progress.last_round
            && self.hosts.iter().any(|host| host.would_admit(subject, at.into_std()))
            && self.budget.spend() == Spending::Paid
    }

    /// Asks one host after the other. The next one is asked where one is unavailable: a refusal is an
    /// answer, and another host's would be no better.
    async fn round<'c, T, F>(
        &'c self,
        request: &Request,
        progress: &mut Progress<'c>,
        read: &impl Fn(Response) -> F,
    ) -> Result<Answer<T>, Failed>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let answer = |host: &Host, value| Answer { host: Arc::clone(&host.origin), value };
        let mut failed = match self.at(&self.hosts.first, request, progress, read).await {
            Ok(value) => return Ok(answer(&self.hosts.first, value)),
            Err(failure) => Failed::new(&self.hosts.first, failure),
        };
        for host in &self.hosts.others {
            if failed.failure.class() != Class::Unavailable || Instant::now() >= progress.deadline {
                break;
            }
            match self.at(host, request, progress, read).await {
                Ok(value) => return Ok(answer(host, value)),
                Err(failure) if failure.is_skip() => {}
                Err(failure) => failed = Failed::new(host, failure),
            }
        }
        Err(failed)
    }

    /// Asks a host, if it may be asked.
    async fn at<'c, T, F>(
        &self,
        host: &'c Host,
        request: &Request,
        progress: &mut Progress<'c>,
        read: &impl Fn(Response) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        match host.admit(&request.subject, Instant::now().into_std()) {
            Entry::Open => {}
            Entry::Closed(failure) => return Err(failure),
            Entry::Probe(failure) => match self.test(host).await {
                Pulse::Felt => {}
                Pulse::Missed => return Err(failure),
            },
        }
        self.rate.turn(progress.deadline).await?;
        let left = progress.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            // Of the call, and not of the host.
            return Err(Failure::NoAnswer(Cause::TimedOut));
        }
        progress.attempts += 1;
        let timeout = self.call_timeout.min(left);
        let answer = self.send(host, request, progress.attempts, timeout, read).await;
        let failure = answer.as_ref().err().copied();
        match host.note(&request.subject, request.reach(), failure, Instant::now().into_std()) {
            Suspicion::None => {}
            Suspicion::Test => progress.suspects.push(host),
        }
        if request.operation == Operation::Vaults && answer.is_ok() {
            self.hosts.answered(host);
        }
        answer
    }

    /// Sends a heartbeat to a host, and has it on record.
    async fn test(&self, host: &Host) -> Pulse {
        let request = Request::new(Operation::Heartbeat, "/heartbeat".to_owned());
        // Whoever answers is there, be it to say that there is no such page: an address that leads to /v1
        // alone must not keep a breaker open for ever.
        let read = |response: Response| {
            future::ready(match response.status() {
                status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                    Err(Failure::Status { code: status.as_u16(), retry_after: None })
                }
                _ => Ok(()),
            })
        };
        let pulse = match self.send(host, &request, 1, self.heartbeat_timeout, read).await {
            Ok(()) => Pulse::Felt,
            Err(_) => Pulse::Missed,
        };
        host.tested(pulse, Instant::now().into_std());
        pulse
    }

    /// Sends one request, and tells of it.
    async fn send<T, F>(
        &self,
        host: &Host,
        request: &Request,
        attempt: u32,
        timeout: Duration,
        read: impl Fn(Response) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let started = Instant::now();
        let sent = request.to(host, &self.http).timeout(timeout).send().await;
        let answer = match sent {
            Ok(response) => read(response).await,
            Err(error) => Err(body::no_answer(error)),
        };
        self.observer.called(&Call {
            operation: request.operation,
            code: code(answer.as_ref().err().copied()),
            took: started.elapsed(),
            host: &host.origin,
            attempt,
        });
        answer
    }
}

impl Request {
    /// A request whose path is the subject, too.
    pub(super) fn new(operation: Operation, path: String) -> Self {
        Self { operation, subject: path.as_str().into(), path }
    }

    /// The list of vaults is what a server is asked for first and always: what it says to that, it says of
    /// itself.
    fn reach(&self) -> Reach {
        match self.operation {
            Operation::Vaults | Operation::Health | Operation::Heartbeat => Reach::Host,
            Operation::Vault | Operation::Items | Operation::Item | Operation::File => {
                Reach::Subject
            }
        }
    }

    fn to(&self, host: &Host, http: &reqwest::Client) -> RequestBuilder {
        let request = http.get(format!("{}{}", host.origin, self.path));
        match self.operation {
            Operation::File | Operation::Heartbeat => request.header(ACCEPT, "*/*"),
            Operation::Vaults
            | Operation::Vault
            | Operation::Items
            | Operation::Item
            | Operation::Health => request,
        }
    }
}

impl Failed {
    pub(super) fn new(host: &Host, failure: Failure) -> Self {
        Self { host: Arc::clone(&host.origin), failure }
    }

    /// The error, with what was asked for.
    pub(super) fn about(self, subject: Subject) -> ConnectError {
        ConnectError::new(&self.host, subject, self.failure)
    }
}
