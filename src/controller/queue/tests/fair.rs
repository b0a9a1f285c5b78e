//! Who shares the workers with whom.

use super::*;

/// Two flows, of which one has far more to do.
const NOISY: u32 = 0;
const QUIET: u32 = 1;

fn add_all(queue: &Queue<(u32, u32)>, flow: u32, count: u32, lane: Lane) {
    for n in 0..count {
        queue.add((flow, n), lane);
    }
}

/// Runs one after the other until the key has run; how many that took.
fn dispatches_until(queue: &Queue<(u32, u32)>, key: (u32, u32)) -> usize {
    let mut runs = std::iter::from_fn(|| run(queue, Next::Done));
    1 + runs.position(|ran| ran == key).unwrap()
}

#[tokio::test(start_paused = true)]
async fn flows_take_turns_in_a_lane_however_many_keys_each_has() {
    let queue = queue(1, 0);
    add_all(&queue, 0, 4, Lane::Changed);
    add_all(&queue, 1, 2, Lane::Changed);
    add_all(&queue, 2, 1, Lane::Changed);
    let order = [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (0, 2), (0, 3)];
    assert_eq!(run_all(&queue), order);
}

#[tokio::test(start_paused = true)]
async fn a_flow_that_comes_anew_waits_for_one_key_of_each_other() {
    let queue = queue(1, 0);
    add_all(&queue, NOISY, 5000, Lane::Interactive);
    for _ in 0..1000 {
        run(&queue, Next::Done);
    }
    for n in 0..3 {
        queue.add((QUIET, n), Lane::Interactive);
        assert!(dispatches_until(&queue, (QUIET, n)) <= 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_costly_run_is_paid_for_in_turns_when_it_ends() {
    let queue = queue(1, 0);
    add_all(&queue, 0, 10, Lane::Changed);
    add_all(&queue, 1, 10, Lane::Changed);
    let costly = poll(&queue).unwrap();
    costly.worker().charge(99);
    costly.worker().charge(4);
    costly.finish(Next::Done);
    let flows: Vec<u32> = run_all(&queue).iter().map(|(flow, _)| *flow).collect();
    // One turn is paid for at the start, and three are sat out.
    assert_eq!(flows[..6], [1, 1, 1, 1, 0, 1]);
}

#[tokio::test(start_paused = true)]
async fn no_run_costs_so_much_that_its_flow_is_not_served_again_within_a_bound() {
    let queue = queue(1, 0);
    add_all(&queue, 0, 2, Lane::Changed);
    let costly = poll(&queue).unwrap();
    costly.worker().charge(u32::MAX);
    costly.finish(Next::Done);
    add_all(&queue, 1, 1000, Lane::Changed);
    // Sixty-three rounds are sat out.
    assert_eq!(dispatches_until(&queue, (0, 1)), 64);
}

#[tokio::test(start_paused = true)]
async fn a_flow_in_debt_runs_when_no_other_wants_to() {
    let queue = queue(1, 0);
    add_all(&queue, 0, 3, Lane::Changed);
    for n in 0..3 {
        let running = poll(&queue).unwrap();
        assert_eq!(*running.key(), (0, n));
        running.worker().charge(50);
        running.finish(Next::Done);
    }
}

#[tokio::test(start_paused = true)]
async fn a_flow_that_was_held_back_does_not_make_up_for_it() {
    let queue = Queue::new(&QueueConfig { flow_workers: 1, ..config(2, 0) });
    add_all(&queue, 0, 100, Lane::Changed);
    add_all(&queue, 1, 200, Lane::Changed);
    let long = poll(&queue).unwrap();
    assert_eq!(*long.key(), (0, 0));
    for n in 0..50 {
        assert_eq!(run(&queue, Next::Done), Some((1, n)));
    }
    long.finish(Next::Done);
    let flows: Vec<u32> = (0..10).map(|_| run(&queue, Next::Done).unwrap().0).collect();
    assert_eq!(flows, [0, 1, 0, 1, 0, 1, 0, 1, 0, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_flow_holds_no_more_workers_than_it_may_in_all_lanes_together() {
    let queue = Queue::new(&QueueConfig { flow_workers: 4, ..config(8, 2) });
    for (n, lane) in (0..).zip(Lane::ALL.into_iter().cycle().take(30)) {
        queue.add((NOISY, n), lane);
    }
    let mut noisy: Vec<_> = std::iter::from_fn(|| poll(&queue)).collect();
    assert_eq!(noisy.len(), 4);
    add_all(&queue, QUIET, 3, Lane::Sweep);
    let quiet: Vec<_> = std::iter::from_fn(|| poll(&queue)).collect();
    assert_eq!(quiet.len(), 3);
    assert!(quiet.iter().all(|run| run.key().0 == QUIET));
    noisy.pop().unwrap().finish(Next::Done);
    assert_eq!(poll(&queue).unwrap().key().0, NOISY);
}

/// One dispatch of eight is the changed lane's and one the sweep lane's, and two may be due at once; in a
/// lane of two flows, each gets every second.
#[tokio::test(start_paused = true)]
async fn a_flood_of_interactive_keys_leaves_the_other_lanes_their_share() {
    let queue = queue(1, 0);
    for round in 0..20 {
        let lane = if round % 2 == 0 { Lane::Changed } else { Lane::Sweep };
        for n in 0..5000 {
            queue.add((NOISY, n), Lane::Interactive);
            queue.add((NOISY, 10_000 + n), Lane::Changed);
            queue.add((NOISY, 20_000 + n), Lane::Sweep);
        }
        queue.add((QUIET, round), lane);
        let took = dispatches_until(&queue, (QUIET, round));
        assert!(took <= 18, "{took} in round {round}");
    }
}

#[tokio::test(start_paused = true)]
async fn with_only_interactive_keys_beside_it_a_changed_key_is_at_most_the_eighth() {
    let queue = queue(1, 0);
    add_all(&queue, NOISY, 5000, Lane::Interactive);
    queue.add((QUIET, 0), Lane::Changed);
    assert_eq!(dispatches_until(&queue, (QUIET, 0)), 8);
}

/// The one worker that takes them is held for so long each time that both lanes are due when it is free.
#[tokio::test(start_paused = true)]
async fn two_lanes_that_are_due_whenever_a_worker_is_free_take_turns() {
    let queue = queue(2, 1);
    for n in 0..10 {
        queue.add((1, n), Lane::Changed);
        queue.add((2, n), Lane::Sweep);
    }
    let mut long = poll(&queue).unwrap();
    add_all(&queue, 0, 100, Lane::Interactive);
    let mut flows = vec![long.key().0];
    for _ in 0..7 {
        for _ in 0..10 {
            assert_eq!(run(&queue, Next::Done).unwrap().0, 0);
        }
        long.finish(Next::Done);
        long = poll(&queue).unwrap();
        flows.push(long.key().0);
    }
    assert_eq!(flows, [1, 2, 1, 2, 1, 2, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn flows_that_come_anew_do_not_cut_in_before_one_that_waits() {
    let queue = queue(1, 0);
    add_all(&queue, NOISY, 2, Lane::Changed);
    assert_eq!(run(&queue, Next::Done), Some((NOISY, 0)));
    for n in 0..10 {
        queue.add((QUIET + n, n), Lane::Changed);
        if n > 0 {
            run(&queue, Next::Done);
        }
    }
    assert_eq!(queue.depths().changed, 2);
    assert!(run_all(&queue).iter().all(|(flow, _)| *flow != NOISY));
}

#[tokio::test(start_paused = true)]
async fn flows_that_wait_are_counted_once() {
    let queue = queue(1, 0);
    for (n, lane) in (0..).zip(Lane::ALL) {
        queue.add((0, n), lane);
        queue.add((1, n), lane);
    }
    assert_eq!(queue.depths().flows, 2);
    run_all(&queue);
    assert_eq!(queue.depths().flows, 0);
}
