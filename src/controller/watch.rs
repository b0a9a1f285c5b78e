use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;

use futures::StreamExt as _;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

/// Counts the watches that have not delivered their first list yet. Nothing is decided before all have.
#[derive(Clone)]
pub(super) struct Gate {
    waiting: Arc<watch::Sender<usize>>,
}

impl Gate {
    pub(super) fn new() -> Self {
        Self { waiting: Arc::new(watch::Sender::new(0)) }
    }

    /// One more to wait for.
    pub(super) fn add(&self) -> Latch {
        self.waiting.send_modify(|n| *n += 1);
        Latch { waiting: Some(self.waiting.clone()) }
    }

    pub(super) fn is_open(&self) -> bool {
        *self.waiting.borrow() == 0
    }

    pub(super) async fn opened(&self) {
        // The sender is ours, so that this only ends when the count is at zero.
        let _ = self.waiting.subscribe().wait_for(|n| *n == 0).await;
    }
}

/// One watch's place at the [`Gate`].
pub(super) struct Latch {
    waiting: Option<Arc<watch::Sender<usize>>>,
}

impl Latch {
    pub(super) fn done(&mut self) {
        if let Some(waiting) = self.waiting.take() {
            waiting.send_modify(|n| *n -= 1);
        }
    }
}

/// Follows a kind for as long as the task lives. Pages are small, since a page is held as a whole.
pub(super) async fn follow<K>(
    api: Api<K>,
    selector: Option<&str>,
    mut latch: Latch,
    mut on: impl FnMut(Event<K>),
) where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut config = watcher::Config::default().page_size(100);
    if let Some(selector) = selector {
        config = config.labels(selector);
    }
    let mut events = pin!(watcher::watcher(api, config).default_backoff());
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                let is_listed = matches!(event, Event::InitDone);
                on(event);
                if is_listed {
                    latch.done();
                }
            }
            Err(error) => {
                tracing::warn!(kind = %K::kind(&()), error = watch_error(&error), "a watch failed and is tried again");
            }
        }
    }
}

/// Without the text of the answer, which may quote an object.
fn watch_error(error: &watcher::Error) -> &'static str {
    match error {
        watcher::Error::InitialListFailed(_) => "the list failed",
        watcher::Error::WatchStartFailed(_) => "the watch did not start",
        watcher::Error::WatchError(_) => "the API server ended the watch",
        watcher::Error::WatchFailed(_) => "the connection broke",
        watcher::Error::NoResourceVersion => "an object has no resourceVersion",
    }
}
