//! Keys that wait for a resource.

use super::*;

const PARKED: [(u32, Lane); 3] = [(1, Lane::Sweep), (2, Lane::Interactive), (3, Lane::Changed)];

#[tokio::test(start_paused = true)]
async fn parked_keys_leave_one_by_one_the_interactive_first() {
    let queue = queue(3, 0);
    park(&queue, &PARKED);
    queue.unpark_one(&ParkKey::new("another"));
    assert_eq!(queue.depths().parked, 3);
    let mut running = Vec::new();
    for left in [2, 1, 0] {
        queue.unpark_one(&server());
        running.push(poll(&queue).unwrap());
        assert!(poll(&queue).is_none());
        assert_eq!(queue.depths().parked, left);
    }
    let order: Vec<_> = running.iter().map(|run| (*run.key(), run.lane())).collect();
    let [sweep, interactive, changed] = PARKED;
    assert_eq!(order, [interactive, changed, sweep]);
}

#[tokio::test(start_paused = true)]
async fn parked_keys_leave_all_at_once_each_to_its_lane() {
    let queue = queue(1, 0);
    park(&queue, &PARKED);
    queue.unpark_all(&server());
    assert_eq!(run_all(&queue), [2, 3, 1]);
    assert_eq!(queue.depths(), Depths::default());
}

#[tokio::test(start_paused = true)]
async fn an_addition_queues_a_parked_key() {
    let queue = queue(1, 0);
    park(&queue, &PARKED[..1]);
    queue.add(1, Lane::Changed);
    assert_eq!(poll(&queue).unwrap().lane(), Lane::Changed);
    assert_eq!(queue.depths().parked, 0);
}

#[tokio::test(start_paused = true)]
async fn a_key_moved_in_vain_keeps_its_place_among_the_parked() {
    let queue = queue(1, 0);
    park(&queue, &PARKED[1..]);
    for _ in 0..3 {
        queue.unpark_one(&server());
        assert_eq!(run(&queue, Next::Park(server())), Some(2));
    }
    assert_eq!(queue.depths().parked, 2);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_no_longer_wants_the_resource_hands_it_on() {
    let queue = queue(1, 0);
    park(&queue, &PARKED);
    queue.unpark_one(&server());
    assert_eq!(run(&queue, Next::Forget), Some(2));
    assert_eq!(run(&queue, Next::Park(server())), Some(3));
    assert!(poll(&queue).is_none());
}

#[tokio::test(start_paused = true)]
async fn unparking_between_the_look_and_the_parking_is_not_lost() {
    for all in [false, true] {
        let queue = queue(2, 0);
        queue.add(1, Lane::Changed);
        let running = poll(&queue).unwrap();
        if all {
            queue.unpark_all(&server());
        } else {
            queue.unpark_one(&server());
        }
        running.finish(Next::Park(server()));
        assert_eq!(run(&queue, Next::Park(server())), Some(1));
        assert_eq!(queue.depths().parked, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_resource_is_shared_by_the_flows_that_are_parked_on_it() {
    let queue = queue(16, 0);
    let (noisy, quiet) = (0, 1);
    let parked: Vec<_> = (0..100).map(|n| ((noisy, n), Lane::Interactive)).collect();
    park(&queue, &parked);
    park(&queue, &[((quiet, 0), Lane::Interactive), ((quiet, 1), Lane::Sweep)]);
    let mut woken = Vec::new();
    for _ in 0..8 {
        queue.unpark_one(&server());
        woken.push(poll(&queue).unwrap());
    }
    let keys: Vec<_> = woken.iter().map(|run| *run.key()).collect();
    assert!(keys[..2].contains(&(quiet, 0)), "{keys:?}");
    assert!(keys.contains(&(quiet, 1)), "{keys:?}");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_woken_goes_before_those_that_would_take_its_resource() {
    let queue = queue(1, 0);
    park(&queue, &[((0, 0), Lane::Sweep)]);
    for n in 0..100 {
        queue.add((1, n), Lane::Interactive);
    }
    queue.unpark_one(&server());
    let woken = poll(&queue).unwrap();
    assert_eq!((*woken.key(), woken.lane()), ((0, 0), Lane::Sweep));
}

#[tokio::test(start_paused = true)]
async fn words_without_end_leave_the_other_keys_a_dispatch_of_four() {
    let queue = queue(1, 0);
    let parked: Vec<_> = (0..100).map(|n| ((0, n), Lane::Interactive)).collect();
    park(&queue, &parked);
    for n in 0..10 {
        queue.add((1, n), Lane::Sweep);
    }
    queue.unpark_one(&server());
    // Each run hands the word on.
    let flows: Vec<u32> = (0..40).map(|_| run(&queue, Next::Done).unwrap().0).collect();
    for four in flows.chunks(4) {
        assert_eq!(four, [0, 0, 0, 1]);
    }
}

/// What it costs is paid for by its flow all the same, and its urgency and the limits count.
#[tokio::test(start_paused = true)]
async fn a_key_that_was_woken_keeps_to_the_rules_of_its_lane_and_flow() {
    let queue = Queue::new(&QueueConfig { flow_workers: 1, ..config(3, 2) });
    park(&queue, &[((0, 0), Lane::Sweep), ((1, 0), Lane::Changed)]);
    queue.add((0, 1), Lane::Interactive);
    let other = poll(&queue).unwrap();
    queue.unpark_one(&server());
    queue.unpark_one(&server());
    // The one worker that takes every lane is for the first; the other one's flow has its run.
    let woken = poll(&queue).unwrap();
    assert_eq!(*woken.key(), (1, 0));
    queue.add((0, 0), Lane::Interactive);
    assert!(poll(&queue).is_none());
    other.finish(Next::Done);
    let urgent = poll(&queue).unwrap();
    assert_eq!((*urgent.key(), urgent.lane()), ((0, 0), Lane::Interactive));
    urgent.finish(Next::Done);
    queue.add((1, 1), Lane::Changed);
    woken.worker().charge(3);
    woken.finish(Next::Done);
    queue.add((0, 2), Lane::Changed);
    queue.add((0, 3), Lane::Changed);
    let flows: Vec<u32> = run_all(&queue).iter().map(|(flow, _)| *flow).collect();
    assert_eq!(flows, [0, 0, 1]);
}
