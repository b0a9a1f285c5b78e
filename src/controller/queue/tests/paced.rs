//! Keys that would run all the time.

use super::*;

fn paced() -> Queue<u32> {
    Queue::new(&QueueConfig { object_burst: 5, object_interval: SECOND, ..config(4, 0) })
}

fn use_up(queue: &Queue<u32>, key: u32) {
    for _ in 0..5 {
        queue.add(key, Lane::Interactive);
        assert_eq!(run(queue, Next::Done), Some(key));
    }
}

#[tokio::test(start_paused = true)]
async fn a_few_changes_in_a_row_are_served_without_delay() {
    let queue = paced();
    use_up(&queue, 1);
    advance(5 * SECOND).await;
    use_up(&queue, 1);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_changed_all_the_time_runs_once_an_interval() {
    let queue = paced();
    use_up(&queue, 1);
    let before = Instant::now();
    let mut runs = 0;
    while before.elapsed() < 30 * SECOND {
        queue.add(1, Lane::Interactive);
        runs += run_all(&queue).len();
        advance(SECOND / 10).await;
    }
    assert!((29..=30).contains(&runs), "{runs}");
}

#[tokio::test(start_paused = true)]
async fn additions_while_a_key_is_held_back_become_one_run_in_the_most_urgent_lane() {
    let queue = paced();
    use_up(&queue, 1);
    for lane in [Lane::Sweep, Lane::Interactive, Lane::Changed] {
        queue.add(1, lane);
        assert!(poll(&queue).is_none());
    }
    assert_eq!(queue.depths(), Depths { waiting: 1, ..Depths::default() });
    let before = Instant::now();
    let running = queue.next().await.unwrap();
    // A timer of tokio's has a grain of a millisecond.
    assert!(before.elapsed() >= SECOND && before.elapsed() < SECOND + SECOND / 100);
    assert_eq!(running.lane(), Lane::Interactive);
    running.finish(Next::Done);
    assert_eq!(queue.depths(), Depths::default());
}

#[tokio::test(start_paused = true)]
async fn a_change_during_a_run_is_held_back_like_any_other() {
    let queue = paced();
    queue.add(1, Lane::Interactive);
    for runs in 1.. {
        let Some(running) = poll(&queue) else {
            assert_eq!(runs, 6);
            break;
        };
        queue.add(1, Lane::Interactive);
        running.finish(Next::Done);
    }
    assert_eq!(queue.depths().waiting, 1);
}

#[tokio::test(start_paused = true)]
async fn deleting_and_creating_does_not_get_round_the_pace() {
    let queue = paced();
    for _ in 0..5 {
        queue.add(1, Lane::Interactive);
        assert_eq!(run(&queue, Next::Forget), Some(1));
    }
    queue.add(1, Lane::Interactive);
    assert!(poll(&queue).is_none());
}

#[tokio::test(start_paused = true)]
async fn one_key_held_back_holds_up_no_other() {
    let queue = paced();
    use_up(&queue, 1);
    queue.add(1, Lane::Interactive);
    queue.add(2, Lane::Sweep);
    assert_eq!(run_all(&queue), [2]);
}

#[tokio::test(start_paused = true)]
async fn a_word_for_a_parked_key_does_not_wait_for_its_pace() {
    let queue = paced();
    queue.add(1, Lane::Changed);
    for _ in 0..20 {
        assert_eq!(run(&queue, Next::Park(server())), Some(1));
        queue.unpark_one(&server());
    }
    // It has gone into no debt by that.
    run(&queue, Next::Done);
    advance(SECOND).await;
    queue.add(1, Lane::Changed);
    assert_eq!(run(&queue, Next::Done), Some(1));
}
