//! Runs that wait for something slow.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_run_that_waits_for_something_slow_holds_no_worker() {
    let queue = queue(1, 0);
    for key in 0..3 {
        queue.add(key, Lane::Sweep);
    }
    let slow = poll(&queue).unwrap();
    assert!(poll(&queue).is_none());
    let lent = slow.worker().lend();
    let other = poll(&queue).unwrap();
    assert!(poll(&queue).is_none());
    let depths = queue.depths();
    assert_eq!([depths.running, depths.lent, depths.sweep], [1, 1, 1]);
    // Taken back at once, and nothing starts until the workers suffice again.
    drop(lent);
    let depths = queue.depths();
    assert_eq!([depths.running, depths.lent], [2, 0]);
    other.finish(Next::Done);
    assert!(poll(&queue).is_none());
    slow.finish(Next::Done);
    assert!(poll(&queue).is_some());
}

#[tokio::test(start_paused = true)]
async fn lending_wakes_who_waits_for_a_worker() {
    let queue = queue(1, 0);
    queue.add(1, Lane::Sweep);
    queue.add(2, Lane::Sweep);
    let slow = poll(&queue).unwrap();
    let (next, lent) = tokio::join!(queue.next(), async {
        sleep(SECOND).await;
        slow.worker().lend()
    });
    assert_eq!(*next.unwrap().key(), 2);
    drop(lent);
}

/// All of a flow's runs but one hang at one server, in as many places as it has; its run for another
/// server, and what others want, go on.
#[tokio::test(start_paused = true)]
async fn a_hung_server_holds_up_neither_its_flow_elsewhere_nor_others() {
    let queue = Queue::new(&QueueConfig { flow_workers: 2, ..config(4, 1) });
    let (mine, another) = (0, 1);
    for n in 0..20 {
        queue.add((mine, n), Lane::Changed);
    }
    let mut hung = Vec::new();
    for _ in 0..20 {
        let running = poll(&queue).unwrap();
        let lent = running.worker().lend();
        hung.push((running, lent));
    }
    assert_eq!(queue.depths().lent, 20);
    for lane in Lane::ALL {
        queue.add((mine, 100), lane);
        assert_eq!(run(&queue, Next::Done), Some((mine, 100)));
        queue.add((another, 0), lane);
        assert_eq!(run(&queue, Next::Done), Some((another, 0)));
    }
    // What comes back from there counts again, and holds up its own flow alone.
    let back: Vec<_> = hung.into_iter().take(2).map(|(running, _)| running).collect();
    queue.add((mine, 100), Lane::Interactive);
    queue.add((another, 0), Lane::Changed);
    assert_eq!(run_all(&queue), [(another, 0)]);
    drop(back);
    assert_eq!(run_all(&queue), [(mine, 100)]);
}

#[tokio::test(start_paused = true)]
async fn a_lent_key_does_not_run_twice_at_once() {
    let queue = queue(2, 0);
    queue.add(1, Lane::Sweep);
    let slow = poll(&queue).unwrap();
    let _lent = slow.worker().lend();
    queue.add(1, Lane::Interactive);
    assert!(poll(&queue).is_none());
    slow.finish(Next::Done);
    assert!(poll(&queue).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_worker_lent_twice_is_taken_back_once() {
    let queue = queue(1, 0);
    queue.add(1, Lane::Sweep);
    let slow = poll(&queue).unwrap();
    let (first, second) = (slow.worker().lend(), slow.worker().clone().lend());
    drop(first);
    assert_eq!(queue.depths().lent, 1);
    drop(second);
    let depths = queue.depths();
    assert_eq!([depths.running, depths.lent], [1, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_loan_and_a_charge_that_outlive_the_run_change_nothing() {
    let queue = queue(1, 0);
    queue.add(1, Lane::Sweep);
    let slow = poll(&queue).unwrap();
    let worker = slow.worker().clone();
    let lent = worker.lend();
    slow.finish(Next::Done);
    assert_eq!(queue.depths(), Depths::default());
    worker.charge(9);
    drop(worker.lend());
    drop(lent);
    assert_eq!(queue.depths(), Depths::default());
    queue.add(2, Lane::Sweep);
    assert_eq!(run_all(&queue), [2]);
}
