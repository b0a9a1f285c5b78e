use k8s_openapi::api::coordination::v1::Lease;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::campaign::{CallError, Candidate, Held};
use super::lease::{given_up, renewed};
use super::{Fence, Leadership};

/// A replica that holds the Lease, and keeps it until [`Leader::release`].
pub struct Leader {
    until: watch::Receiver<Instant>,
    term: u32,
    stop: CancellationToken,
    lost: CancellationToken,
    renewing: JoinHandle<Option<Renewal>>,
}

impl Leader {
    pub(super) fn begin(candidate: Candidate, held: Held) -> Self {
        let term = Candidate::term_of(&held.lease);
        let (until, of_fence) = watch::channel(candidate.until(held.sent));
        candidate.metrics.leader.elected(term);
        tracing::info!(lease = candidate.lease, replica = candidate.replica, term, "leads");
        let stop = CancellationToken::new();
        let lost = CancellationToken::new();
        let renewal = Renewal { candidate, lease: held.lease, term, sent: held.sent, until };
        let (stopped, loses) = (stop.clone(), lost.clone());
        let renewing = tokio::spawn(async move {
            // A panic is a loss too.
            let _loses = loses.drop_guard();
            renewal.keep(stopped).await
        });
        Self { until: of_fence, term, stop, lost, renewing }
    }

    /// What the operator works by.
    #[must_use]
    pub fn leadership(&self) -> Leadership {
        Leadership { fence: Fence(Some(self.until.clone())), term: Some(self.term) }
    }

    /// Waits until the Lease is lost. Whoever waits must end then: another replica works, or is about to.
    pub async fn lost(&self) {
        self.lost.cancelled().await;
    }

    /// Gives the Lease up, so that the next one need not wait. To be called when the last write has been made.
    pub async fn release(self) {
        self.stop.cancel();
        let Ok(Some(renewal)) = self.renewing.await else {
            return;
        };
        renewal.release().await;
    }
}

/// A Lease that is kept.
struct Renewal {
    candidate: Candidate,
    /// As it was written last.
    lease: Lease,
    term: u32,
    /// When the call was sent that wrote it.
    sent: Instant,
    until: watch::Sender<Instant>,
}

/// What came of a renewal.
enum Renewed {
    Kept,
    Failed,
    Lost,
}

impl Renewal {
    /// Renews the Lease until it is told to stop, and returns itself then; nothing when the Lease was lost.
    async fn keep(mut self, stop: CancellationToken) -> Option<Self> {
        let mut due = self.sent + self.candidate.timing.retry;
        loop {
            tokio::select! {
                () = stop.cancelled() => return Some(self),
                () = sleep_until(due) => {}
            }
            let deadline = self.sent + self.candidate.timing.renew_deadline;
            let renewed = if Instant::now() < deadline {
                timeout_at(deadline, self.renew()).await.unwrap_or(Renewed::Lost)
            } else {
                Renewed::Lost
            };
            match renewed {
                Renewed::Kept => {
                    self.until.send_replace(self.candidate.until(self.sent));
                    due = self.sent + self.candidate.timing.retry;
                }
                Renewed::Failed => {
                    self.candidate.metrics.leader.failed();
                    due = (Instant::now() + self.candidate.timing.retry).min(deadline);
                }
                Renewed::Lost => {
                    self.until.send_replace(Instant::now());
                    self.candidate.metrics.leader.ended();
                    tracing::error!(lease = self.candidate.lease, "the Lease is lost");
                    return None;
                }
            }
        }
    }

    async fn renew(&mut self) -> Renewed {
        let spec = renewed(&self.lease.spec.clone().unwrap_or_default());
        let sent = Instant::now();
        match self.candidate.replace(&self.lease, spec).await {
            Ok(lease) => self.wrote(lease, sent),
            // What was deleted is in conflict too.
            Err(CallError::Conflict | CallError::Gone) => self.read_again().await,
            Err(CallError::Failed(why)) => {
                tracing::warn!(lease = self.candidate.lease, why, "the Lease was not renewed");
                Renewed::Failed
            }
        }
    }

    fn wrote(&mut self, lease: Lease, sent: Instant) -> Renewed {
        (self.lease, self.sent) = (lease, sent);
        Renewed::Kept
    }

    /// Somebody wrote the Lease: it is lost if it is another one's, or that of a process under the same name.
    async fn read_again(&mut self) -> Renewed {
        match self.candidate.read().await {
            Ok(Some(lease)) => {
                let spec = lease.spec.as_ref();
                let holder = spec.and_then(|spec| spec.holder_identity.as_deref());
                let is_mine = holder == Some(&self.candidate.replica)
                    && Candidate::term_of(&lease) == self.term;
                if !is_mine {
                    return Renewed::Lost;
                }
                // An annotation, or a renewal whose answer was lost. The next renewal is one of this version.
                self.lease = lease;
                Renewed::Failed
            }
            // Deleted. Whoever stands by leaves it to its holder for a while, and the same term goes on.
            Ok(None) => {
                let spec = renewed(&self.lease.spec.clone().unwrap_or_default());
                let sent = Instant::now();
                match self.candidate.create(spec).await {
                    Ok(lease) => self.wrote(lease, sent),
                    Err(_) => Renewed::Failed,
                }
            }
            Err(_) => Renewed::Failed,
        }
    }

    async fn release(self) {
        self.until.send_replace(Instant::now());
        self.candidate.metrics.leader.ended();
        let spec = given_up(&self.lease.spec.clone().unwrap_or_default());
        match self.candidate.replace(&self.lease, spec).await {
            Ok(_) => tracing::info!(lease = self.candidate.lease, "the Lease is given up"),
            Err(error) => {
                tracing::warn!(
                    lease = self.candidate.lease,
                    ?error,
                    "the Lease was not given up; it runs out by itself"
                );
            }
        }
    }
}
