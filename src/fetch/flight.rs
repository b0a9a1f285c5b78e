use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::{BoxFuture, Shared};
use futures::{FutureExt as _, TryFutureExt as _};
use tokio::time::Instant;

use crate::connect::{Class, ConnectError};

/// Fetches under way, each of which serves everybody who wants the same meanwhile. A fetch is a task of its
/// own: it comes to its end, and to the cache, also when whoever began it gave up.
pub(super) struct Flights<K, T> {
    map: Arc<Mutex<HashMap<K, Flight<T>>>>,
    /// How long a failure is believed without asking again.
    failed_for: Duration,
    /// How long it is believed that something is not there.
    absent_for: Duration,
}

impl<K, T> Clone for Flights<K, T> {
    fn clone(&self) -> Self {
        Self { map: self.map.clone(), failed_for: self.failed_for, absent_for: self.absent_for }
    }
}

enum Flight<T> {
    UnderWay(Shared<BoxFuture<'static, Landing<T>>>),
    Failed(ConnectError, Instant),
}

/// What a fetch brought; nothing when its task was ended.
pub(super) type Landing<T> = Option<Result<Arc<T>, ConnectError>>;

/// Whether somebody else had begun the fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Joined {
    Began,
    Shared,
}

/// Failures are dropped when there are more than this: each costs no more than asking once more.
const MOST_FAILURES: usize = 4096;

impl<K: Clone + Eq + Hash + Send + Sync + 'static, T: Send + Sync + 'static> Flights<K, T> {
    pub(super) fn new(failed_for: Duration, absent_for: Duration) -> Self {
        Self { map: Arc::default(), failed_for, absent_for }
    }

    /// Has something fetched, or waits for the fetch that is under way.
    pub(super) async fn join<F>(&self, key: K, fetch: impl FnOnce() -> F) -> (Landing<T>, Joined)
    where
        F: Future<Output = Result<T, ConnectError>> + Send + 'static,
    {
        let (landing, joined) = {
            let mut map = self.lock();
            match map.get(&key) {
                Some(Flight::UnderWay(landing)) => (landing.clone(), Joined::Shared),
                Some(Flight::Failed(error, until)) if Instant::now() < *until => {
                    return (Some(Err(error.clone())), Joined::Shared);
                }
                Some(Flight::Failed(..)) | None => {
                    let landing = self.depart(key.clone(), fetch());
                    map.insert(key, Flight::UnderWay(landing.clone()));
                    (landing, Joined::Began)
                }
            }
        };
        (landing.await, joined)
    }

    fn depart<F>(&self, key: K, fetch: F) -> Shared<BoxFuture<'static, Landing<T>>>
    where
        F: Future<Output = Result<T, ConnectError>> + Send + 'static,
    {
        let flights = self.clone();
        // Also when the fetch panics it must not stay under way for ever.
        let task = tokio::spawn(async move {
            let _end = End { flights: &flights, key: &key };
            let landed = fetch.await.map(Arc::new);
            if let Err(error) = &landed {
                flights.remember(&key, error);
            }
            landed
        });
        task.map_err(|_| ()).map(Result::ok).boxed().shared()
    }

    fn remember(&self, key: &K, error: &ConnectError) {
        let time = match error.class() {
            Class::Moved | Class::Throttled => return,
            _ if error.reason() == crate::api::Reason::ItemNotFound => self.absent_for,
            _ => self.failed_for,
        };
        let now = Instant::now();
        let mut map = self.lock();
        if map.len() > MOST_FAILURES {
            map.retain(|_, flight| match flight {
                Flight::UnderWay(_) => true,
                Flight::Failed(_, until) => now < *until,
            });
        }
        map.insert(key.clone(), Flight::Failed(error.clone(), now + time));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, Flight<T>>> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct End<'a, K: Eq + Hash, T> {
    flights: &'a Flights<K, T>,
    key: &'a K,
}

impl<K: Eq + Hash, T> Drop for End<'_, K, T> {
    fn drop(&mut self) {
        let mut map = self.flights.map.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(map.get(self.key), Some(Flight::UnderWay(_))) {
            map.remove(self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    fn flights() -> Flights<&'static str, u32> {
        Flights::new(Duration::from_secs(5), Duration::from_secs(5))
    }

    #[tokio::test(start_paused = true)]
    async fn a_fetch_outlives_whoever_began_it_and_serves_the_next_one() {
        let flights = flights();
        let (land, landed) = oneshot::channel();
        let fetch = || async { landed.await.map_err(|_| unreachable!()) };
        let began = tokio::time::timeout(Duration::from_secs(1), flights.join("a", fetch)).await;
        assert!(began.is_err(), "whoever began it gave up");
        land.send(7).unwrap();
        let never = || async { unreachable!("it is under way already") };
        let (landing, joined) = flights.join("a", never).await;
        assert_eq!((landing.unwrap().unwrap(), joined), (Arc::new(7), Joined::Shared));
    }

    #[tokio::test(start_paused = true)]
    async fn a_fetch_that_panics_is_broken_off_and_can_be_begun_again() {
        let flights = flights();
        let (landing, _) = flights.join("a", || async { panic!("a fault") }).await;
        assert!(landing.is_none());
        let (landing, joined) = flights.join("a", || async { Ok(1) }).await;
        assert_eq!((landing.unwrap().unwrap(), joined), (Arc::new(1), Joined::Began));
    }
}
