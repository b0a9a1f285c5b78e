mod fair;
mod lent;
mod paced;
mod parked;

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use tokio::time::{advance, sleep, timeout};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// All of one flow.
impl Key for u32 {
    type Flow = ();

    fn flow(&self) -> Self::Flow {}
}

/// The flow, and a number.
impl Key for (u32, u32) {
    type Flow = u32;

    fn flow(&self) -> Self::Flow {
        self.0
    }
}

fn config(workers: usize, interactive_workers: usize) -> QueueConfig {
    QueueConfig {
        workers,
        interactive_workers,
        flow_workers: workers,
        object_burst: 1,
        object_interval: Duration::ZERO,
        retry_first: 2 * SECOND,
        retry_max: 60 * SECOND,
    }
}

fn queue<K: Key>(workers: usize, interactive_workers: usize) -> Queue<K> {
    Queue::new(&config(workers, interactive_workers))
}

fn server() -> ParkKey {
    ParkKey::new("default")
}

/// What may run now, without waiting.
fn poll<K: Key>(queue: &Queue<K>) -> Option<Running<K>> {
    queue.next().now_or_never().flatten()
}

fn run<K: Key>(queue: &Queue<K>, next: Next) -> Option<K> {
    let running = poll(queue)?;
    let key = running.key().clone();
    running.finish(next);
    Some(key)
}

fn park<K: Key>(queue: &Queue<K>, keys: &[(K, Lane)]) {
    for (key, lane) in keys {
        queue.add(key.clone(), *lane);
        run(queue, Next::Park(server()));
    }
}

fn run_all<K: Key>(queue: &Queue<K>) -> Vec<K> {
    std::iter::from_fn(|| run(queue, Next::Done)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_flow_is_first_in_first_out_in_its_lane_and_a_key_is_in_it_once() {
    let queue = queue(1, 0);
    for key in [3, 1, 2, 1, 3] {
        queue.add(key, Lane::Sweep);
    }
    assert_eq!(queue.depths().sweep, 3);
    assert_eq!(run_all(&queue), [3, 1, 2]);
    assert_eq!(queue.depths(), Depths::default());
}

#[tokio::test(start_paused = true)]
async fn adding_a_queued_key_moves_it_to_a_more_urgent_lane_only() {
    let queue = queue(1, 0);
    queue.add(1, Lane::Changed);
    queue.add(2, Lane::Sweep);
    queue.add(3, Lane::Interactive);
    queue.add(2, Lane::Interactive);
    queue.add(3, Lane::Sweep);
    let depths = queue.depths();
    assert_eq!([depths.interactive, depths.changed, depths.sweep], [2, 1, 0]);
    assert_eq!(run_all(&queue), [3, 2, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_new_interactive_key_is_next_before_5000_old_ones() {
    let queue = queue(16, 4);
    for key in 0..5000 {
        queue.add(key, Lane::Sweep);
    }
    let mut running: VecDeque<_> = std::iter::from_fn(|| poll(&queue)).collect();
    assert_eq!(running.len(), 12);
    for _ in 0..100 {
        running.pop_front().unwrap().finish(Next::Done);
        running.push_back(poll(&queue).unwrap());
    }
    queue.add(9999, Lane::Interactive);
    assert_eq!(*poll(&queue).unwrap().key(), 9999);
}

#[tokio::test(start_paused = true)]
async fn of_eight_dispatches_each_lower_lane_gets_one() {
    let queue = queue(1, 0);
    for key in 0..100 {
        queue.add(key, Lane::Interactive);
        queue.add(1000 + key, Lane::Changed);
        queue.add(2000 + key, Lane::Sweep);
    }
    let lanes: Vec<u32> = run_all(&queue).iter().map(|key| key / 1000).collect();
    for window in lanes[..80].windows(9) {
        assert!(window.contains(&1) && window.contains(&2), "{window:?}");
        assert!(window.iter().filter(|lane| **lane == 0).count() >= 6);
    }
}

#[tokio::test(start_paused = true)]
async fn at_least_one_worker_takes_every_lane() {
    let queue = queue(0, 5);
    queue.add(1, Lane::Sweep);
    assert_eq!(run_all(&queue), [1]);
}

#[tokio::test(start_paused = true)]
async fn other_lanes_leave_the_reserved_workers_to_the_interactive_one() {
    let queue = queue(4, 2);
    for key in 0..10 {
        queue.add(key, Lane::Changed);
    }
    let changed: Vec<_> = std::iter::from_fn(|| poll(&queue)).collect();
    assert_eq!(changed.len(), 2);
    for key in 10..20 {
        queue.add(key, Lane::Interactive);
    }
    let interactive: Vec<_> = std::iter::from_fn(|| poll(&queue)).collect();
    assert_eq!(interactive.len(), 2);
    assert_eq!(queue.depths().running, 4);
}

#[tokio::test(start_paused = true)]
async fn a_key_added_while_it_runs_runs_again_afterwards_whatever_its_end() {
    let (at, park) = (Next::At(SECOND), Next::Park(server()));
    for next in [Next::Done, at, Next::Retry, park, Next::Forget] {
        let queue = queue(4, 0);
        queue.add(1, Lane::Sweep);
        let running = poll(&queue).unwrap();
        queue.add(1, Lane::Changed);
        queue.add(1, Lane::Interactive);
        queue.add(1, Lane::Sweep);
        assert!(poll(&queue).is_none());
        running.finish(next.clone());
        let again = poll(&queue).unwrap();
        assert_eq!(again.lane(), Lane::Interactive);
        assert_eq!(again.failures(), u32::from(next == Next::Retry));
        again.finish(Next::Done);
        assert_eq!(queue.depths(), Depths::default());
    }
}

#[tokio::test(start_paused = true)]
async fn failures_back_off_with_jitter_up_to_the_bound_and_later_in_the_sweep_lane() {
    let queue = queue(1, 0);
    queue.add(1, Lane::Interactive);
    run(&queue, Next::Retry);
    for (failures, whole) in (1..).zip([2, 4, 8, 16, 32, 60, 60]) {
        let before = Instant::now();
        let running = queue.next().await.unwrap();
        let waited = before.elapsed();
        // A timer of tokio's has a grain of a millisecond.
        let most = SECOND * whole + Duration::from_millis(2);
        assert!(waited >= SECOND * whole / 2 && waited <= most, "{waited:?}");
        assert_eq!(running.failures(), failures);
        let kept = running.lane() == Lane::Interactive;
        assert_eq!(kept, failures <= 3);
        running.finish(Next::Retry);
    }
}

#[tokio::test(start_paused = true)]
async fn success_forgets_the_failures_and_an_addition_does_not() {
    let queue = queue(1, 0);
    for (next, failures) in [
        (Next::Retry, 0),
        (Next::Retry, 1),
        (Next::Park(server()), 2),
        (Next::At(SECOND), 2),
        (Next::Retry, 0),
        (Next::Done, 1),
        (Next::Retry, 0),
        (Next::Forget, 1),
        (Next::Done, 0),
    ] {
        queue.add(1, Lane::Interactive);
        let running = poll(&queue).unwrap();
        assert_eq!(running.failures(), failures);
        running.finish(next);
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_is_looked_at_again_when_its_time_has_come() {
    let queue = queue(1, 0);
    queue.add(1, Lane::Interactive);
    run(&queue, Next::At(30 * SECOND));
    assert_eq!(queue.depths().waiting, 1);
    let before = Instant::now();
    let running = queue.next().await.unwrap();
    assert_eq!(running.lane(), Lane::Sweep);
    assert!(before.elapsed() >= 30 * SECOND && before.elapsed() < 31 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn an_addition_ends_the_waiting_of_a_key_and_its_timer() {
    let queue = queue(1, 0);
    for next in [Next::At(30 * SECOND), Next::Retry] {
        queue.add(1, Lane::Sweep);
        run(&queue, next);
        queue.add(1, Lane::Sweep);
        assert_eq!(run_all(&queue), [1]);
        assert_eq!(queue.depths(), Depths::default());
        advance(100 * SECOND).await;
        assert!(run_all(&queue).is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn timers_without_end_do_not_overflow() {
    let queue = queue(1, 0);
    queue.add(1, Lane::Sweep);
    run(&queue, Next::At(Duration::MAX));
    assert_eq!(queue.depths().waiting, 1);
}

#[tokio::test(start_paused = true)]
async fn a_panic_counts_as_a_failure_and_frees_the_worker() {
    let queue = queue(1, 0);
    queue.add(1, Lane::Interactive);
    let running = poll(&queue).unwrap();
    let task = tokio::spawn(async move {
        let _running = running;
        panic!("a test's panic");
    });
    assert!(task.await.unwrap_err().is_panic());
    queue.add(2, Lane::Interactive);
    assert_eq!(run_all(&queue), [2]);
    assert_eq!(queue.next().await.unwrap().failures(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_poisoned_lock_stops_nothing() {
    let queue = queue(1, 0);
    let poison = AssertUnwindSafe(|| queue.shared.change(|_, _| panic!("a test's panic")));
    assert!(std::panic::catch_unwind(poison).is_err());
    queue.add(1, Lane::Sweep);
    assert_eq!(run_all(&queue), [1]);
}

#[tokio::test(start_paused = true)]
async fn all_that_wait_are_served_and_let_go_when_the_queue_closes() {
    let queue = queue(8, 0);
    let waiting = [(); 4].map(|()| {
        let queue = queue.clone();
        tokio::spawn(async move {
            let running = queue.next().await?;
            let key = *running.key();
            running.finish(Next::Done);
            Some(key)
        })
    });
    sleep(SECOND).await;
    queue.add(2, Lane::Sweep);
    assert_eq!(run(&queue, Next::At(SECOND)), Some(2));
    queue.add(1, Lane::Sweep);
    queue.add(3, Lane::Interactive);
    sleep(2 * SECOND).await;
    queue.close();
    let mut served = Vec::new();
    for task in waiting {
        served.push(task.await.unwrap());
    }
    served.sort_unstable();
    assert_eq!(served, [None, Some(1), Some(2), Some(3)]);
    queue.add(4, Lane::Interactive);
    assert!(queue.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_dropped_loses_nothing() {
    let queue = queue(1, 0);
    for _ in 0..5 {
        assert!(timeout(SECOND, queue.next()).await.is_err());
    }
    queue.add(1, Lane::Sweep);
    run(&queue, Next::At(SECOND));
    drop(timeout(SECOND / 2, queue.next()).await);
    assert_eq!(*queue.next().await.unwrap().key(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_free_worker_wakes_who_waits() {
    let queue = queue(1, 0);
    queue.add(1, Lane::Sweep);
    queue.add(2, Lane::Sweep);
    let running = poll(&queue).unwrap();
    let (next, ()) = tokio::join!(queue.next(), async {
        sleep(SECOND).await;
        running.finish(Next::Done);
    });
    assert_eq!(*next.unwrap().key(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_oldest_wait_counts_from_when_a_key_was_queued_first() {
    let queue = queue(1, 0);
    assert_eq!(queue.oldest_wait(), None);
    queue.add(1, Lane::Sweep);
    advance(5 * SECOND).await;
    queue.add(2, Lane::Sweep);
    queue.add(1, Lane::Interactive);
    assert_eq!(queue.oldest_wait(), Some(5 * SECOND));
    run(&queue, Next::Done);
    assert_eq!(queue.oldest_wait(), Some(Duration::ZERO));
}
