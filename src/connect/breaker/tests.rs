use proptest::prelude::*;

use super::*;

const LEASE: Duration = Duration::from_secs(3);
const COOL_DOWN: CoolDown =
    CoolDown { first: Duration::from_secs(5), max: Duration::from_secs(60) };

fn breaker() -> Breaker {
    Breaker::new(COOL_DOWN, LEASE)
}

fn subject(number: u8) -> Arc<str> {
    format!("/v1/vaults/{number}").into()
}

fn fails(breaker: &mut Breaker, subjects: impl IntoIterator<Item = u8>, now: Instant) -> Suspicion {
    let mut last = Suspicion::None;
    for number in subjects {
        last = breaker.failed(&subject(number), now);
    }
    last
}

fn opened(now: Instant) -> Breaker {
    let mut breaker = breaker();
    assert_eq!(fails(&mut breaker, 0..3, now), Suspicion::Test);
    breaker.tested(Pulse::Missed, now, Utc::now(), 0.5);
    assert_eq!(breaker.state(), BreakerState::Open);
    breaker
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Wait(u64),
    Failed(u8),
    Succeeded,
    Tested(Pulse),
    Admit,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => (0_u64..40).prop_map(Step::Wait),
        6 => (0_u8..5).prop_map(Step::Failed),
        1 => Just(Step::Succeeded),
        3 => prop::bool::ANY.prop_map(|felt| Step::Tested(if felt { Pulse::Felt } else { Pulse::Missed })),
        4 => Just(Step::Admit),
    ];
    prop::collection::vec(step, 0..80)
}

proptest! {
    #[test]
    fn it_opens_only_after_three_subjects_without_an_answer_and_a_missed_pulse(steps in steps()) {
        let (mut breaker, mut now) = (breaker(), Instant::now());
        let mut failed = BTreeSet::new();
        for step in steps {
            let before = breaker.state();
            match step {
                Step::Wait(seconds) => now += Duration::from_secs(seconds),
                Step::Failed(number) => {
                    failed.insert(number);
                    let _ = breaker.failed(&subject(number), now);
                }
                Step::Succeeded => breaker.succeeded(),
                Step::Tested(pulse) => breaker.tested(pulse, now, Utc::now(), 0.5),
                Step::Admit => { let _ = breaker.admit(now); }
            }
            if matches!(step, Step::Succeeded | Step::Tested(Pulse::Felt)) {
                failed.clear();
                prop_assert_eq!(breaker.state(), BreakerState::Closed);
            }
            if before == BreakerState::Closed && breaker.state() != BreakerState::Closed {
                prop_assert!(matches!(step, Step::Tested(Pulse::Missed)));
                prop_assert!(failed.len() >= SUBJECTS);
            }
        }
    }

    #[test]
    fn a_failing_item_or_two_never_open_it(steps in steps()) {
        let (mut breaker, mut now) = (breaker(), Instant::now());
        for step in steps {
            match step {
                Step::Wait(seconds) => now += Duration::from_secs(seconds),
                Step::Failed(number) => {
                    prop_assert_eq!(breaker.failed(&subject(number % 2), now), Suspicion::None);
                }
                Step::Succeeded => breaker.succeeded(),
                Step::Tested(pulse) => breaker.tested(pulse, now, Utc::now(), 0.5),
                Step::Admit => prop_assert_eq!(breaker.admit(now), Admission::Call),
            }
            prop_assert_eq!(breaker.state(), BreakerState::Closed);
        }
    }

    #[test]
    fn while_open_it_lets_one_heartbeat_through_at_a_time_and_waits_between_them(
        waits in prop::collection::vec((0_u64..20_000, any::<bool>()), 0..60), jitter in 0.0..1.0_f64,
    ) {
        let mut now = Instant::now();
        let mut breaker = opened(now);
        let (mut probed, mut missed) = (None::<Instant>, now);
        for (wait, answers) in waits {
            now += Duration::from_millis(wait);
            prop_assert_eq!(breaker.would_admit(now), !matches!(breaker.clone().admit(now), Admission::Skip { .. }));
            match breaker.admit(now) {
                Admission::Call => prop_assert!(false, "a call passed"),
                Admission::Probe { .. } => {
                    prop_assert!(probed.is_none_or(|at| now >= at + LEASE));
                    prop_assert!(now >= missed + COOL_DOWN.first.mul_f64(0.8));
                    probed = Some(now);
                }
                Admission::Skip { .. } => {
                    let under_way = probed.is_some_and(|at| now < at + LEASE);
                    prop_assert!(under_way || now < missed + COOL_DOWN.max.mul_f64(1.2));
                }
            }
            if answers && probed.take().is_some() {
                breaker.tested(Pulse::Missed, now, Utc::now(), jitter);
                missed = now;
            }
        }
    }
}

#[test]
fn a_heartbeat_that_is_answered_clears_the_suspicion() {
    let (mut breaker, now) = (breaker(), Instant::now());
    assert_eq!(fails(&mut breaker, 0..3, now), Suspicion::Test);
    breaker.tested(Pulse::Felt, now, Utc::now(), 0.5);
    assert_eq!(fails(&mut breaker, [0, 1, 0, 1], now), Suspicion::None);
    assert_eq!(fails(&mut breaker, [2], now), Suspicion::Test);
}

#[test]
fn one_heartbeat_at_a_time_tests_a_suspect_and_one_that_got_lost_is_sent_again() {
    let (mut breaker, now) = (breaker(), Instant::now());
    assert_eq!(fails(&mut breaker, 0..3, now), Suspicion::Test);
    assert_eq!(fails(&mut breaker, 3..6, now), Suspicion::None);
    assert_eq!(fails(&mut breaker, 6..7, now + LEASE), Suspicion::Test);
}

#[test]
fn an_answer_between_suspicion_and_heartbeat_keeps_it_closed() {
    let (mut breaker, now) = (breaker(), Instant::now());
    assert_eq!(fails(&mut breaker, 0..3, now), Suspicion::Test);
    breaker.succeeded();
    breaker.tested(Pulse::Missed, now, Utc::now(), 0.5);
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[test]
fn the_cool_down_doubles_to_its_longest_and_says_since_when() {
    let mut now = Instant::now();
    let mut breaker = opened(now);
    let Admission::Skip { since } = breaker.admit(now) else { panic!() };
    for seconds in [5, 10, 20, 40, 60, 60] {
        assert_eq!(
            breaker.admit(now + Duration::from_secs(seconds - 1)),
            Admission::Skip { since }
        );
        now += Duration::from_secs(seconds);
        assert_eq!(breaker.admit(now), Admission::Probe { since });
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        assert_eq!(breaker.admit(now), Admission::Skip { since });
        breaker.tested(Pulse::Missed, now, Utc::now(), 0.5);
    }
    breaker.tested(Pulse::Felt, now, Utc::now(), 0.5);
    assert_eq!(breaker.admit(now), Admission::Call);
}
