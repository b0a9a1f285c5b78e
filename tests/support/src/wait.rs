//! Waits on conditions: they look often, end at a deadline, and say what they saw last.

use std::time::{Duration, Instant};

/// How long the waits of a [`crate::Bed`] last at most.
pub const WAIT: Duration = Duration::from_secs(30);
/// No wait is longer than this, whatever it is asked for.
pub const LONGEST: Duration = Duration::from_secs(60);
/// The time between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Looks until `look` returns `Ok`; its error says what was seen instead.
///
/// # Panics
/// At the deadline, with `what` and the last error.
pub async fn until<T, F, Fut>(what: &str, timeout: Duration, mut look: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, String>>,
{
    let timeout = timeout.min(LONGEST);
    let start = Instant::now();
    let mut seen = "nothing: the look itself did not end".to_owned();
    loop {
        // A look that hangs must not hang the test.
        let left = timeout.saturating_sub(start.elapsed());
        match tokio::time::timeout(left, look()).await {
            Ok(Ok(value)) => return value,
            Ok(Err(other)) => seen = other,
            Err(_) => {}
        }
        assert!(start.elapsed() < timeout, "waited {timeout:?} for {what}; last seen: {seen}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Looks all the time that `look` keeps returning `Ok`, for proof that something does not happen.
///
/// # Panics
/// With `what` and the error, as soon as there is one.
pub async fn throughout<F, Fut>(what: &str, time: Duration, mut look: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<(), String>>,
{
    let start = Instant::now();
    while start.elapsed() < time.min(LONGEST) {
        if let Err(seen) = look().await {
            panic!("{what} did not hold after {:?}: {seen}", start.elapsed());
        }
        tokio::time::sleep(PAUSE).await;
    }
}
